internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import Synchronization

/// An HTTP server that takes every request whole, sends the head of an answer, and then nothing more.
package enum SilentServer {
    /// How many heads were sent.
    package final class Heads: Sendable {
        private let sent = Atomic<Int>(0)
        package var count: Int { sent.load(ordering: .acquiring) }
        fileprivate func add() { sent.add(1, ordering: .acquiringAndReleasing) }
    }

    /// Runs `body` with the address of one that answers with `status`.
    package static func run<Value>(
        _ status: Int, _ body: (_ url: String, _ heads: Heads) async throws -> Value
    ) async throws -> Value {
        let heads = Heads()
        let channel = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Responder(status: status, heads: heads))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let result: Result<Value, any Error>
        do { result = .success(try await body("http://127.0.0.1:\(channel.localAddress?.port ?? 0)", heads)) } catch {
            result = .failure(error)
        }
        try await channel.close().get()
        return try result.get()
    }

    private final class Responder: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart
        let status: Int
        let heads: Heads

        init(status: Int, heads: Heads) { (self.status, self.heads) = (status, heads) }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .end = unwrapInboundIn(data) else { return }
            let head = HTTPResponseHead(
                version: .http1_1, status: .init(statusCode: status), headers: ["content-length": "10"])
            heads.add()
            context.writeAndFlush(wrapOutboundOut(.head(head)), promise: nil)
        }
    }
}
