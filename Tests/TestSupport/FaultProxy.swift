internal import NIOCore
internal import NIOPosix
internal import Synchronization

#if canImport(Glibc)
    internal import Glibc
#endif

/// A TCP relay on loopback that does to bytes what networks do to them. A fault strikes `strikes` times, on one
/// connection each, and then the way is clear.
package final class FaultProxy: Sendable {
    package enum Direction: Sendable { case toServer, toClient }

    package enum Kind: Sendable {
        /// Closes after so many bytes of this direction.
        case cut(after: Int)
        /// The same by RST: what the peer has not read is lost too.
        case reset(after: Int)
        /// Drops every byte after so many, and stays connected.
        case swallow(after: Int)
        /// Passes every piece on so much later.
        case delay(milliseconds: Int)
        /// Passes byte by byte.
        case chop
        /// Puts these bytes in after so many.
        case insert([UInt8], after: Int)
        /// Passes the piece with this text on to the server, and ends the connection by RST in place of the answer.
        case loseAnswer(to: String)
        /// Ends the connection by RST in place of passing the piece with this text on.
        case loseRequest(with: String)
    }

    package struct Fault: Sendable {
        package var kind: Kind
        package var direction: Direction
        package var strikes: Int

        package init(_ kind: Kind, _ direction: Direction, strikes: Int = 3) {
            self.kind = kind
            self.direction = direction
            self.strikes = strikes
        }
    }

    /// What the whole way is like, beside the faults of single connections.
    package enum Weather: Sendable, Equatable {
        case clear
        /// Connections stay, new ones are taken, and nothing arrives, no end of a connection either. What was sent
        /// arrives when it is clear again.
        case dark
        /// The same, and what was sent is lost: a connection that sent in the dark is silent for good.
        case darkAndLossy
        /// Every connection was ended by RST, and new ones are ended at once.
        case severed

        var isDark: Bool { self == .dark || self == .darkAndLossy }
    }

    private struct State: Sendable {
        var fault: Fault?
        var struck = 0
        var weather = Weather.clear
        /// What it turns to with the next answer that is lost.
        var next: Weather?
        var open: [ObjectIdentifier: Relay] = [:]
        /// Texts that are looked for on the way to the server, and how often each passed.
        var seen: [String: Int] = [:]
    }

    private struct Relay: Sendable {
        let client: any Channel
        let pipes: [FaultyPipe]
    }

    private enum Upstream: Sendable {
        case port(Int)
        case socket(String)
    }

    private let state = Mutex(State())
    private let listener: any Channel
    private let upstream: Upstream

    /// Relays to `port` of this machine.
    package convenience init(to port: Int) async throws { try await self.init(.port(port)) }

    /// Relays to the Unix socket `path`.
    package convenience init(toSocket path: String) async throws { try await self.init(.socket(path)) }

    private init(_ upstream: Upstream) async throws {
        self.upstream = upstream
        let box = Mutex<FaultProxy?>(nil)
        let holder = Holder(box)
        listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                guard let proxy = holder.box.withLock({ $0 }) else { return channel.close() }
                return proxy.accept(channel)
            }
            .bind(host: "127.0.0.1", port: 0).get()
        holder.box.withLock { $0 = self }
    }

    private final class Holder: Sendable {
        let box: Mutex<FaultProxy?>
        init(_ box: consuming Mutex<FaultProxy?>) { self.box = box }
    }

    package var port: Int { listener.localAddress?.port ?? 0 }
    package var url: String { "redis://127.0.0.1:\(port)" }
    /// How often the fault struck.
    package var struck: Int { state.withLock { $0.struck } }

    /// From now on; connections that are open too.
    /// - Parameter weather: what it turns to when `loseAnswer` has struck.
    package func set(_ fault: Fault?, thenTurning weather: Weather? = nil) {
        state.withLock { state in
            state.fault = fault
            state.next = weather
            state.struck = 0
        }
    }

    /// Changes the weather, for connections that are open too.
    package func turn(_ weather: Weather) {
        let relays = state.withLock { state in
            state.weather = weather
            defer { if !weather.isDark { state.open = state.open.filter { $0.value.client.isActive } } }
            return Array(state.open.values)
        }
        for relay in relays {
            relay.client.eventLoop.execute {
                if weather == .severed { FaultyPipe.reset(relay.client) }
                for pipe in relay.pipes { pipe.weatherChanged(weather) }
            }
        }
    }

    fileprivate func turnNext() {
        let next = state.withLock { state in
            defer { state.next = nil }
            return state.next
        }
        if let next { turn(next) }
    }

    /// Counts pieces with this text on their way to the server from now on.
    package func watch(for text: String) { state.withLock { $0.seen[text] = 0 } }
    /// How often a text that is watched for passed.
    package func count(of text: String) -> Int { state.withLock { $0.seen[text] ?? 0 } }

    /// Closes everything.
    package func stop() async {
        let open = state.withLock { Array($0.open.values) }
        try? await listener.close()
        for relay in open { try? await relay.client.close() }
    }

    private func accept(_ client: any Channel) -> EventLoopFuture<Void> {
        let toServer = FaultyPipe(self, .toServer)
        let toClient = FaultyPipe(self, .toClient)
        toServer.other = toClient
        let relay = Relay(client: client, pipes: [toServer, toClient])
        let isSevered = state.withLock { state in
            state.open[ObjectIdentifier(client)] = relay
            return state.weather == .severed
        }
        client.closeFuture.whenComplete { _ in
            self.state.withLock { state in
                // What it sent in the dark is still to arrive.
                if !state.weather.isDark { state.open[ObjectIdentifier(client)] = nil }
            }
        }
        if isSevered {
            FaultyPipe.reset(client)
            return client.eventLoop.makeSucceededVoidFuture()
        }
        let bootstrap = ClientBootstrap(group: client.eventLoop)
            .channelInitializer { server in
                toServer.peer = server
                toClient.peer = client
                return server.pipeline.addHandler(toClient)
            }
        let connected =
            switch upstream {
            case .port(let port):
                bootstrap.channelOption(.tcpOption(.tcp_nodelay), value: 1).connect(host: "127.0.0.1", port: port)
            case .socket(let path): bootstrap.connect(unixDomainSocketPath: path)
            }
        return connected.flatMap { _ in client.pipeline.addHandler(toServer) }
    }

    fileprivate var weather: Weather { state.withLock { $0.weather } }

    /// Counts the texts of a piece.
    fileprivate func look(at bytes: ByteBuffer) {
        state.withLock { state in
            for text in state.seen.keys where bytes.holds(text) { state.seen[text, default: 0] += 1 }
        }
    }

    /// The fault for a pipe, if there is one that it has not been through.
    fileprivate func fault(_ direction: Direction) -> Kind? {
        state.withLock { state in
            guard let fault = state.fault, fault.direction == direction, state.struck < fault.strikes else {
                return nil
            }
            return fault.kind
        }
    }

    fileprivate func strike() -> Bool {
        state.withLock { state in
            guard let fault = state.fault, state.struck < fault.strikes else { return false }
            state.struck += 1
            return true
        }
    }
}

/// One direction of one connection.
///
/// `@unchecked Sendable`: all state is touched on the event loop that both channels share.
private final class FaultyPipe: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = ByteBuffer

    private let proxy: FaultProxy
    private let direction: FaultProxy.Direction
    var peer: (any Channel)?
    /// The other direction of the connection.
    var other: FaultyPipe?
    /// The next piece is not passed on: the connection ends by RST.
    private var isDoomed = false
    /// What waits for the dark to end, and whether the end of the connection does.
    private var kept = ByteBuffer()
    private var hasEnded = false
    private var passed = 0
    private var isSwallowing = false
    /// Pieces that are held back, and for how long: none may overtake them.
    private var held = 0
    private var heldFor = 0

    init(_ proxy: FaultProxy, _ direction: FaultProxy.Direction) {
        self.proxy = proxy
        self.direction = direction
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        guard !isSwallowing else { return }
        switch proxy.weather {
        case .clear, .severed: weatherChanged(.clear)
        case .dark:
            kept.writeBuffer(&bytes)
            return
        case .darkAndLossy:
            isSwallowing = true
            return
        }
        if direction == .toServer { proxy.look(at: bytes) }
        if isDoomed {
            proxy.turnNext()
            return resetBoth(context)
        }
        if held > 0 { return hold(bytes, context) }
        switch proxy.fault(direction) {
        case .cut(let after) where passed + bytes.readableBytes >= after:
            guard proxy.strike() else { return pass(bytes) }
            pass(first(after, &bytes))
            peer?.close(promise: nil)
            context.close(promise: nil)
        case .reset(let after) where passed + bytes.readableBytes >= after:
            guard proxy.strike() else { return pass(bytes) }
            pass(first(after, &bytes))
            resetBoth(context)
        case .swallow(let after) where passed + bytes.readableBytes >= after:
            guard proxy.strike() else { return pass(bytes) }
            pass(first(after, &bytes))
            isSwallowing = true
        case .insert(let extra, let after) where passed <= after && passed + bytes.readableBytes >= after:
            guard proxy.strike() else { return pass(bytes) }
            pass(first(after, &bytes))
            pass(ByteBuffer(bytes: extra))
            pass(bytes)
        case .delay(let milliseconds):
            _ = proxy.strike()
            heldFor = milliseconds
            hold(bytes, context)
        case .loseAnswer(let text) where bytes.holds(text):
            if proxy.strike() { other?.isDoomed = true }
            pass(bytes)
        case .loseRequest(let text) where bytes.holds(text):
            guard proxy.strike() else { return pass(bytes) }
            resetBoth(context)
        case .chop:
            _ = proxy.strike()
            while let byte = bytes.readSlice(length: 1) { pass(byte) }
        default: pass(bytes)
        }
    }

    private func hold(_ bytes: ByteBuffer, _ context: ChannelHandlerContext) {
        held += 1
        context.eventLoop.scheduleTask(in: .milliseconds(Int64(heldFor))) {
            self.held -= 1
            self.pass(bytes)
        }
    }

    private func first(_ after: Int, _ bytes: inout ByteBuffer) -> ByteBuffer {
        bytes.readSlice(length: min(bytes.readableBytes, max(0, after - passed))) ?? ByteBuffer()
    }

    private func pass(_ bytes: ByteBuffer) {
        passed += bytes.readableBytes
        if bytes.readableBytes > 0 { peer?.writeAndFlush(bytes, promise: nil) }
    }

    private func resetBoth(_ context: ChannelHandlerContext) {
        Self.reset(peer)
        Self.reset(context.channel)
    }

    static func reset(_ channel: (any Channel)?) {
        guard let channel else { return }
        // A Unix socket has no RST; its peer sees an end.
        guard let options = channel as? any SocketOptionProvider, channel.localAddress?.port != nil else {
            return channel.close(promise: nil)
        }
        options.setSoLinger(linger(l_onoff: 1, l_linger: 0)).whenComplete { _ in channel.close(promise: nil) }
    }

    /// On the event loop.
    func weatherChanged(_ weather: FaultProxy.Weather) {
        guard weather == .clear, hasEnded || kept.readableBytes > 0 else { return }
        let bytes = kept
        kept = ByteBuffer()
        pass(bytes)
        if hasEnded { peer?.close(promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        switch proxy.weather {
        case .clear, .severed: peer?.close(promise: nil)
        case .dark, .darkAndLossy: hasEnded = true
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

extension ByteBuffer {
    /// Whether these bytes hold those of `text` one after another.
    fileprivate func holds(_ text: String) -> Bool {
        let (bytes, wanted) = (Array(readableBytesView), Array(text.utf8))
        guard !wanted.isEmpty, bytes.count >= wanted.count else { return false }
        return (0...bytes.count - wanted.count).contains { bytes[$0..<$0 + wanted.count].elementsEqual(wanted) }
    }
}
