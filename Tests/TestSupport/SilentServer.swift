internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// An HTTP server that takes every request whole, sends the head of an answer, and then nothing more.
package enum SilentServer {
    /// Runs `body` with the address of one that answers with `status`.
    package static func run<Value>(_ status: Int, _ body: (_ url: String) async throws -> Value) async throws -> Value {
        let channel = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Responder(status: status))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let result: Result<Value, any Error>
        do { result = .success(try await body("http://127.0.0.1:\(channel.localAddress?.port ?? 0)")) } catch {
            result = .failure(error)
        }
        try await channel.close().get()
        return try result.get()
    }

    private final class Responder: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart
        let status: Int

        init(status: Int) { self.status = status }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .end = unwrapInboundIn(data) else { return }
            let head = HTTPResponseHead(
                version: .http1_1, status: .init(statusCode: status), headers: ["content-length": "10"])
            context.writeAndFlush(wrapOutboundOut(.head(head)), promise: nil)
        }
    }
}
