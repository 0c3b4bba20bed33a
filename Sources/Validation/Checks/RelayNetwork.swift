internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// A network between Aurum and a Redis: a TCP relay on loopback that is clear, slow or silent. `kill` makes it silent:
/// connections stay, new ones are taken, and nothing arrives.
final class RelayNetwork: OutsideServer {
    private let redis: KillableRedis
    private let relay: Relay
    private let listener: any Channel
    private let isStarted = Atomic<Bool>(false)

    init(to redis: KillableRedis) async throws {
        let relay = Relay(port: redis.port)
        (self.redis, self.relay) = (redis, relay)
        listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { relay.accept($0) }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    var settings: [String: String] { ["AURUM_REDIS_URL": "redis://127.0.0.1:\(listener.localAddress?.port ?? 0)"] }

    /// Starts the server the first time; the network is clear.
    func start() throws {
        if !isStarted.exchange(true, ordering: .relaxed) { try redis.start() }
        relay.turn(.clear)
    }

    /// The server goes on; nobody hears of it.
    func kill() { relay.turn(.silent) }

    /// Every piece comes a tenth of a second later, each way.
    func slowDown() { relay.turn(.slow) }

    func end() async {
        try? await listener.close()
        relay.turn(.clear)
        relay.forget()
        await redis.end()
    }
}

/// The connections of a network.
private final class Relay: Sendable {
    enum Weather { case clear, slow, silent }

    private struct State {
        var weather = Weather.clear
        /// Of every connection there was: a check makes few.
        var pipes: [RelayPipe] = []
    }

    private let port: Int
    private let state = Mutex(State())

    init(port: Int) { self.port = port }

    var weather: Weather { state.withLock { $0.weather } }

    func turn(_ weather: Weather) {
        let pipes = state.withLock { state in
            state.weather = weather
            return state.pipes
        }
        for pipe in pipes { pipe.loop.execute { pipe.weatherChanged() } }
    }

    /// Its connections end by themselves, with the server.
    func forget() { state.withLock { $0.pipes = [] } }

    func accept(_ client: any Channel) -> EventLoopFuture<Void> {
        let (there, back) = (RelayPipe(self, client.eventLoop), RelayPipe(self, client.eventLoop))
        back.peer = client
        state.withLock { $0.pipes += [there, back] }
        return ClientBootstrap(group: client.eventLoop)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { server in
                there.peer = server
                return server.pipeline.addHandler(back)
            }
            .connect(host: "127.0.0.1", port: port)
            .flatMap { _ in client.pipeline.addHandler(there) }
    }
}

/// One direction of one connection.
///
/// `@unchecked Sendable`: all state is touched on the event loop that both channels share.
private final class RelayPipe: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = ByteBuffer

    private static let slowness: TimeAmount = .milliseconds(100)

    let loop: any EventLoop
    private let relay: Relay
    var peer: (any Channel)?
    /// What waits for the silence to end, and whether the end of the connection does.
    private var kept = ByteBuffer()
    private var hasEnded = false
    /// Pieces that are under way: none may overtake them.
    private var underWay = 0

    init(_ relay: Relay, _ loop: any EventLoop) { (self.relay, self.loop) = (relay, loop) }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        switch relay.weather {
        case .silent: kept.writeBuffer(&bytes)
        case .clear where underWay == 0: peer?.writeAndFlush(bytes, promise: nil)
        case .clear, .slow: delay(bytes)
        }
    }

    private func delay(_ bytes: ByteBuffer) {
        underWay += 1
        loop.scheduleTask(in: Self.slowness) {
            self.underWay -= 1
            self.peer?.writeAndFlush(bytes, promise: nil)
        }
    }

    func weatherChanged() {
        guard relay.weather != .silent else { return }
        if kept.readableBytes > 0 { peer?.writeAndFlush(kept, promise: nil) }
        kept = ByteBuffer()
        if hasEnded { peer?.close(promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        if relay.weather == .silent { hasEnded = true } else { peer?.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
