internal import Hummingbird
package import HummingbirdCore
package import Logging
package import NIOCore
package import NIOHTTP1
internal import NIOHTTPCompression
package import NIOHTTPTypes
internal import NIOHTTPTypesHTTP1
package import NIOWebSocket

/// Hides an `Upgrade` header that we refuse from NIO's upgrade handler, which would otherwise swallow the request:
/// such a request is answered by the router like any other.
private final class UnwantedUpgradeFilter: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    private let wanted: @Sendable (HTTPRequestHead) -> Bool
    private let peer: SlowPeerGuard
    /// What stands guard before the first head.
    private let broken: BrokenRequestGuard

    init(wanted: @escaping @Sendable (HTTPRequestHead) -> Bool, peer: SlowPeerGuard, broken: BrokenRequestGuard) {
        self.wanted = wanted
        self.peer = peer
        self.broken = broken
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(var head) = unwrapInboundIn(data) else { return context.fireChannelRead(data) }
        peer.headArrived()
        context.pipeline.syncOperations.removeHandler(broken, promise: nil)
        if head.headers["upgrade"].map({ $0.lowercased() }) != ["websocket"] || !wanted(head) {
            head.headers.remove(name: "upgrade")
        }
        context.fireChannelRead(wrapInboundOut(.head(head)))
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }
}

/// One connection: HTTP/1.1 through Hummingbird, or a WebSocket on the paths that want one.
package struct UpgradeChannel: HTTPChannelHandler {
    package typealias Socket = NIOAsyncChannel<WebSocketFrame, WebSocketFrame>
    package typealias HTTP = NIOAsyncChannel<HTTPRequestPart, HTTPResponsePart>

    package enum Upgraded: Sendable {
        case socket(Socket, HTTPRequestHead)
        case http(HTTP)
    }

    package struct Value: ServerChildChannelValue {
        let upgraded: EventLoopFuture<Upgraded>
        package let channel: any Channel
    }

    /// What is allowed of one connection.
    package struct Bounds: Sendable {
        package var idle: Duration = .seconds(75)
        package var bodyReadSeconds: Int64 = 30
        package var headReadSeconds: Int64 = 20
        /// How long a peer may leave its answers unread.
        package var writeSeconds: Int64 = 60
        /// Connections open at once; more wait in the listener's queue.
        package var connectionsMax = 16_384
        package var headerBytesMax = 16_384
        package var frameBytesMax = 65_536
        /// What one read takes from a socket at most.
        package var readBytesMax = 524_288
        package init() {}
    }

    package let responder: HTTPChannelHandler.Responder
    let bounds: Bounds
    let refusals: EdgeRefusals
    /// Whether this request may become a socket; refused ones are answered as HTTP.
    let wantsSocket: @Sendable (HTTPRequestHead) -> Bool
    let onSocket: @Sendable (Socket, HTTPRequestHead) async -> Void
    /// Makes what stands directly before the web framework, one a connection.
    let lane: (@Sendable () -> any ChannelHandler)?

    package init(
        responder: @escaping HTTPChannelHandler.Responder, bounds: Bounds, refusals: EdgeRefusals,
        lane: (@Sendable () -> any ChannelHandler)? = nil,
        wantsSocket: @escaping @Sendable (HTTPRequestHead) -> Bool,
        onSocket: @escaping @Sendable (Socket, HTTPRequestHead) async -> Void
    ) {
        self.responder = responder
        self.lane = lane
        self.bounds = bounds
        self.refusals = refusals
        self.wantsSocket = wantsSocket
        self.onSocket = onSocket
    }

    package func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        channel.eventLoop.makeCompletedFuture {
            var limits = NIOHTTPDecoderLimitConfiguration()
            limits.maxHeaderListSize = bounds.headerBytesMax
            limits.maxHeaderFieldSize = bounds.headerBytesMax
            limits.maxHeaderFieldCount = 100
            var configuration = NIOUpgradableHTTPServerPipelineConfiguration<Upgraded>(
                upgradeConfiguration: upgrades(logger: logger))
            configuration.enablePipelining = false
            configuration.enableErrorHandling = false
            configuration.decoderConfiguration = limits
            // A body of hundreds of kilobytes comes in a few reads; small requests never grow past the first size.
            try channel.syncOptions?.setOption(
                .recvAllocator,
                value: AdaptiveRecvByteBufferAllocator(minimum: 64, initial: 2048, maximum: bounds.readBytesMax))
            let pipeline = channel.pipeline.syncOperations
            let peer = SlowPeerGuard(
                head: .seconds(bounds.headReadSeconds), write: .seconds(bounds.writeSeconds))
            try pipeline.addHandler(peer)
            let upgraded = try pipeline.configureUpgradableHTTPServerPipeline(configuration: configuration)
            let upgrader = try pipeline.handler(type: NIOTypedHTTPServerUpgradeHandler<Upgraded>.self)
            let broken = BrokenRequestGuard(refusals: refusals, peer: peer)
            try pipeline.addHandler(broken, position: .before(upgrader))
            try pipeline.addHandler(
                UnwantedUpgradeFilter(wanted: wantsSocket, peer: peer, broken: broken), position: .before(upgrader))
            return Value(upgraded: upgraded, channel: channel)
        }
    }

    private func upgrades(logger: Logger) -> NIOTypedHTTPServerUpgradeConfiguration<Upgraded> {
        let upgrader = NIOTypedWebSocketServerUpgrader<Upgraded>(
            maxFrameSize: bounds.frameBytesMax,
            // The filter before it has decided: of a request that is no socket the header is gone.
            shouldUpgrade: { channel, _ in channel.eventLoop.makeSucceededFuture(HTTPHeaders()) },
            upgradePipelineHandler: { channel, head in
                channel.eventLoop.makeCompletedFuture {
                    let aggregator = NIOWebSocketFrameAggregator(
                        minNonFinalFragmentSize: 0, maxAccumulatedFrameCount: 64,
                        maxAccumulatedFrameSize: bounds.frameBytesMax)
                    try channel.pipeline.syncOperations.addHandler(aggregator)
                    return .socket(try Socket(wrappingChannelSynchronously: channel, configuration: .init()), head)
                }
            })
        return NIOTypedHTTPServerUpgradeConfiguration<Upgraded>(upgraders: [upgrader]) { channel in
            channel.eventLoop.makeCompletedFuture {
                let pipeline = channel.pipeline.syncOperations
                let peer = try pipeline.handler(type: SlowPeerGuard.self)
                try pipeline.addHandler(
                    HTTPResponseCompressor(initialByteBufferCapacity: 4096, responseCompressionPredicate: Self.compress)
                )
                try pipeline.addHandler(BrokenRequestGuard(refusals: refusals, peer: peer))
                try pipeline.addHandler(HTTP1ToHTTPServerCodec(secure: false))
                try pipeline.addHandler(ReadDeadline(body: .seconds(bounds.bodyReadSeconds)))
                try pipeline.addHandler(HTTPConnectionStateHandler(idleTimeout: bounds.idle, logger: logger))
                if let lane { try pipeline.addHandler(lane()) }
                return .http(
                    try HTTP(
                        wrappingChannelSynchronously: channel,
                        configuration: .init(isOutboundHalfClosureEnabled: true)))
            }
        }
    }

    /// Text of more than a kilobyte is worth compressing.
    private static func compress(
        _ head: inout HTTPResponseHead, _ supported: Bool
    ) -> HTTPResponseCompressor.CompressionIntent {
        if head.headers.contains(name: "aurum-bodyless") {
            head.headers.remove(name: "aurum-bodyless")
            return .doNotCompress
        }
        guard supported, let type = head.headers.first(name: "content-type"),
            ["text/", "application/json", "application/problem", "image/svg"].contains(where: { type.hasPrefix($0) })
        else { return .doNotCompress }
        let length = head.headers.first(name: "content-length").flatMap { Int($0) } ?? 0
        return length >= 1024 ? .compressIfPossible : .doNotCompress
    }

    package func handle(value: Value, logger: Logger) async {
        do {
            switch try await value.upgraded.get() {
            case .http(let channel): await handleHTTP(asyncChannel: channel, logger: logger)
            case .socket(let channel, let head): await onSocket(channel, head)
            }
        } catch {
            logger.debug("connection ended before its first request", metadata: ["error": "\(type(of: error))"])
            value.channel.close(promise: nil)
        }
    }
}
