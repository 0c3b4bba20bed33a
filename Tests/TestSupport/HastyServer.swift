internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// An HTTP server that answers a request once it has its head, whatever of the body is still to come.
package enum HastyServer {
    /// What it does with the rest of the request.
    package enum Rest: Sendable, Equatable {
        case leftUnread
        case read
        /// The connection ends after so many bytes.
        case cutOff(after: Int)
    }

    /// Runs `body` with the address of one that sends `answer` as it stands.
    package static func run<Value>(
        _ answer: String, _ rest: Rest, _ body: (_ url: String) async throws -> Value
    ) async throws -> Value {
        let open = Mutex<[any Channel]>([])
        let server = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            // What is not read stays with the sender.
            .serverChannelOption(.socketOption(.so_rcvbuf), value: 65_536)
            .childChannelInitializer { channel in
                open.withLock { $0.append(channel) }
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Responder(answer: answer, rest: rest))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let result: Result<Value, any Error>
        do { result = .success(try await body("http://127.0.0.1:\(server.localAddress?.port ?? 0)")) } catch {
            result = .failure(error)
        }
        try await server.close().get()
        for channel in open.withLock({ $0 }) { try? await channel.close().get() }
        return try result.get()
    }

    private final class Responder: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        let answer: String
        let rest: Rest
        private var head: [UInt8] = []
        private var bytes = 0
        private var hasAnswered = false

        init(answer: String, rest: Rest) { (self.answer, self.rest) = (answer, rest) }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let piece = unwrapInboundIn(data)
            bytes += piece.readableBytes
            if !hasAnswered {
                head += piece.readableBytesView
                hasAnswered = String(decoding: head, as: UTF8.self).contains("\r\n\r\n")
                guard hasAnswered else { return }
                if rest == .leftUnread {
                    try? context.channel.syncOptions?.setOption(.autoRead, value: false)
                }
                context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: answer)), promise: nil)
            }
            if case .cutOff(let limit) = rest, bytes >= limit { context.close(promise: nil) }
        }
    }
}
