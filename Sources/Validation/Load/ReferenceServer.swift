internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// A small HTTP server whose delays are known: what the load generator is measured against.
///
/// It reads whole requests, answers each with a receipt that stores everything, and stores nothing.
package struct ReferenceServer: Sendable {
    /// How answers are held back.
    package enum Delay: Sendable, Hashable {
        /// Answers at once: the null server.
        case none
        case fixed(milliseconds: Int64)
        /// Everything that arrives in this span after the first request waits for its end.
        case freeze(afterMilliseconds: Int64, milliseconds: Int64)
        /// Every `each`-th request waits.
        case share(each: Int, milliseconds: Int64)
    }

    private let channel: any Channel
    private let group: MultiThreadedEventLoopGroup
    package let port: Int

    package var url: String { "http://127.0.0.1:\(port)" }

    /// - Parameters:
    ///   - itemsPerRequest: what its receipts claim to have stored.
    ///   - closesSilentAfter: milliseconds from the begin of a connection within which its first byte has to come.
    package static func start(
        delay: Delay, itemsPerRequest: Int = 1, closesSilentAfter: Int64? = nil
    ) async throws -> ReferenceServer {
        let pace = ReferencePace(delay)
        let receipt =
            #"{"receipt":"rcp_reference","final":true,"received":\#(itemsPerRequest),"stored":\#(itemsPerRequest),"#
            + #""duplicate":0,"quarantined":0,"bot":0,"late":0,"problems":[]}"#
        let answer = ByteBuffer(
            string:
                "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n"
                + "Content-Length: \(receipt.utf8.count)\r\n\r\n\(receipt)"
        )
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let channel = try await ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 512)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelOption(
                .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 1024, initial: 4096, maximum: 98_304)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        ReferenceHandler(pace: pace, answer: answer, closesSilentAfter: closesSilentAfter))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        return ReferenceServer(channel: channel, group: group, port: channel.localAddress?.port ?? 0)
    }

    /// Closes it and ends its thread.
    package func stop() async {
        try? await channel.close()
        try? await group.shutdownGracefully()
    }
}

/// When each answer is due.
private final class ReferencePace: Sendable {
    private let delay: ReferenceServer.Delay
    private struct State {
        var first: UInt64?
        var count = 0
    }

    private let state = Mutex(State())

    init(_ delay: ReferenceServer.Delay) { self.delay = delay }

    /// Nanoseconds from `now` until the answer.
    func wait(now: UInt64) -> Int64 {
        switch delay {
        case .none: return 0
        case .fixed(let milliseconds): return milliseconds * 1_000_000
        case .share(let each, let milliseconds):
            let number = state.withLock { state in
                state.count += 1
                return state.count
            }
            return number.isMultiple(of: each) ? milliseconds * 1_000_000 : 0
        case .freeze(let after, let milliseconds):
            let first = state.withLock { state in
                state.first = state.first ?? now
                return state.first ?? now
            }
            let since = Int64(now - first)
            let end = (after + milliseconds) * 1_000_000
            return since >= after * 1_000_000 && since < end ? end - since : 0
        }
    }
}

/// Counts the bytes of a request by its Content-Length and answers.
private final class ReferenceHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let pace: ReferencePace
    private let answer: ByteBuffer
    private var head: ByteBuffer?
    private let closesSilentAfter: Int64?
    private var silence: Scheduled<Void>?
    private var missing = 0

    init(pace: ReferencePace, answer: ByteBuffer, closesSilentAfter: Int64?) {
        self.pace = pace
        self.answer = answer
        self.closesSilentAfter = closesSilentAfter
    }

    func channelActive(context: ChannelHandlerContext) {
        let channel = context.channel
        silence = closesSilentAfter.map {
            context.eventLoop.scheduleTask(in: .milliseconds($0)) { channel.close(promise: nil) }
        }
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        silence?.cancel()
        var buffer = unwrapInboundIn(data)
        while buffer.readableBytes > 0 {
            if missing > 0 {
                let taken = min(missing, buffer.readableBytes)
                buffer.moveReaderIndex(forwardBy: taken)
                missing -= taken
                if missing == 0 { reply(context) }
                continue
            }
            if var earlier = head {
                earlier.writeBuffer(&buffer)
                buffer = earlier
                head = nil
            }
            guard let (headBytes, length) = ReferenceHandler.measure(buffer) else {
                head = buffer
                return
            }
            buffer.moveReaderIndex(forwardBy: headBytes)
            missing = length
            if length == 0 { reply(context) }
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    private func reply(_ context: ChannelHandlerContext) {
        let wait = pace.wait(now: NIODeadline.now().uptimeNanoseconds)
        guard wait > 0 else {
            context.writeAndFlush(wrapOutboundOut(answer), promise: nil)
            return
        }
        let channel = context.channel
        let answer = answer
        context.eventLoop.scheduleTask(in: .nanoseconds(wait)) { channel.writeAndFlush(answer, promise: nil) }
    }

    /// Bytes of the head, blank line included, and the length of the body; nil while the head is incomplete.
    private static func measure(_ buffer: ByteBuffer) -> (head: Int, body: Int)? {
        let view = buffer.readableBytesView
        let limit = view.prefix(16_384)
        let blank: [UInt8] = [13, 10, 13, 10]
        var index = limit.startIndex
        while index + 4 <= limit.endIndex {
            if limit[index] == 13, limit[index..<(index + 4)].elementsEqual(blank) {
                let text = String(decoding: limit[limit.startIndex..<index], as: UTF8.self).lowercased()
                let line = text.split(separator: "\r\n").first { $0.hasPrefix("content-length:") }
                let length = line?.split(separator: ":").last.flatMap { Int($0.filter(\.isNumber)) } ?? 0
                return (index + 4 - limit.startIndex, length)
            }
            index += 1
        }
        return nil
    }
}
