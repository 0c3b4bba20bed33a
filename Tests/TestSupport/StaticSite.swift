internal import Foundation
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import Synchronization

/// A website of another origin that serves one page at every path.
package final class StaticSite: Sendable {
    private let html = Mutex("")
    private let channel = Mutex<(any Channel)?>(nil)
    private let port = Mutex(0)

    package init() throws {}

    package var page: String {
        get { html.withLock { $0 } }
        set { html.withLock { $0 = newValue } }
    }

    package var origin: String { "http://127.0.0.1:\(port.withLock { $0 })" }

    package func start() async throws {
        let bound = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .childChannelInitializer { [self] channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Responder(site: self))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        port.withLock { $0 = bound.localAddress?.port ?? 0 }
        channel.withLock { $0 = bound }
    }

    package func stop() { channel.withLock { $0 }?.close(promise: nil) }

    private final class Responder: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart
        let site: StaticSite

        init(site: StaticSite) { self.site = site }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .end = unwrapInboundIn(data) else { return }
            let body = ByteBuffer(string: site.page)
            let headers: HTTPHeaders = [
                "content-type": "text/html; charset=utf-8", "content-length": "\(body.readableBytes)",
            ]
            context.write(
                wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .ok, headers: headers))), promise: nil
            )
            context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
    }
}
