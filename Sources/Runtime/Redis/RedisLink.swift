internal import Logging
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

/// Whoever uses a link. Everything here is called on the link's event loop.
protocol RedisLinkOwner: AnyObject, Sendable {
    /// Signed in: commands may be written.
    func linkIsReady()
    /// Values in the order of the wire. Throwing closes the connection.
    func linkReceived(_ values: [RESPValue]) throws(RedisError)
    /// The socket takes bytes again.
    func linkIsWritable()
    /// A connection that was ready is gone; another one is being made.
    func linkWasLost(_ reason: RedisError)
    /// No connection could be made: why, in a sentence. Another attempt follows.
    func linkFailed(_ sentence: String)
    /// Nothing has come for a while: write a PING.
    func linkNeedsProbe()
    /// The PING has had no answer for a while, though the connection stands; or it is over with that, in whatever way.
    func linkIsSilent(_ isSilent: Bool)
}

/// What every link of one client shares.
struct RedisLinkSettings: Sendable {
    let configuration: RedisConfiguration
    let tls: NIOSSLContext?
    let logger: Logger
}

/// One connection to one server that is made again whenever it breaks: TCP, TLS, sign-in, signs of life, back-off.
/// It never repeats a command; what was lost is its owner's business.
///
/// `@unchecked Sendable`: all state is touched on `eventLoop` only.
final class RedisLink: @unchecked Sendable {
    private enum Stage { case stopped, resting, connecting, greeting, ready }

    let eventLoop: any EventLoop
    let address: RedisConfiguration.Address
    private let settings: RedisLinkSettings
    private weak var owner: (any RedisLinkOwner)?
    private var stage = Stage.stopped
    private var handler: RedisChannelHandler?
    private var handshake: RedisHandshake
    private var backoff: ReconnectBackoff
    private var random = SystemRandomNumberGenerator()
    private var timer: Scheduled<Void>?
    private var lastRead = NIODeadline.now()
    private var probedAt: NIODeadline?
    private var silence: Scheduled<Void>?
    private var isSilent = false
    private var stopping: [EventLoopPromise<Void>] = []

    private var configuration: RedisConfiguration { settings.configuration }

    init(eventLoop: any EventLoop, address: RedisConfiguration.Address, settings: RedisLinkSettings) {
        self.eventLoop = eventLoop
        self.address = address
        self.settings = settings
        let configuration = settings.configuration
        handshake = Self.handshake(configuration)
        backoff = ReconnectBackoff(first: configuration.reconnectFirst, limit: configuration.reconnectMax)
    }

    private static func handshake(_ configuration: RedisConfiguration) -> RedisHandshake {
        RedisHandshake(
            user: configuration.user, password: configuration.password, database: configuration.database,
            expectsCluster: configuration.isCluster)
    }

    // MARK: for the owner

    /// Begins to connect; from any thread.
    func start(_ owner: any RedisLinkOwner) {
        eventLoop.execute {
            guard self.stage == .stopped else { return }
            self.owner = owner
            self.connect()
        }
    }

    /// Ends the connection and makes no other.
    func stop() -> EventLoopFuture<Void> {
        eventLoop.preconditionInEventLoop()
        stage = .stopped
        timer?.cancel()
        endSilence()
        guard let handler else { return eventLoop.makeSucceededVoidFuture() }
        let promise = eventLoop.makePromise(of: Void.self)
        stopping.append(promise)
        handler.close()
        return promise.futureResult
    }

    /// Writes and flushes.
    func write(_ bytes: ByteBuffer, promise: EventLoopPromise<Void>? = nil) {
        guard let handler else {
            promise?.fail(RedisError.unavailable)
            return
        }
        handler.write(bytes, promise: promise)
    }

    /// A way to the connection's bytes for other threads; nil where TLS stands between, or the socket cannot be copied.
    func makeSocket() -> RedisSocket? { settings.tls == nil ? handler?.makeSocket() : nil }

    var isWritable: Bool { stage == .ready && handler?.isWritable == true }

    /// Asks for a sign of life at once, because an answer is overdue.
    func suspect() {
        guard stage == .ready, probedAt == nil else { return }
        probe(now: .now())
    }

    /// Breaks a connection whose server cannot be trusted any more.
    func fail(_ reason: RedisError) {
        guard let handler else { return }
        lost(handler, reason, "broken off: \(reason)")
    }

    // MARK: connecting

    private func connect() {
        guard owner != nil else { return stage = .stopped }
        stage = .connecting
        handshake = Self.handshake(configuration)
        let handler = RedisChannelHandler(link: self)
        self.handler = handler
        let limit = TimeAmount(configuration.connectTimeout)
        timer = eventLoop.scheduleTask(in: limit) {
            self.lost(handler, .timeout, "no connection within \(self.configuration.connectTimeout)")
        }
        ClientBootstrap(group: eventLoop)
            .connectTimeout(limit)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelOption(.recvAllocator, value: Self.receiving)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try self.addHandlers(channel, handler) }
            }
            .connect(host: address.host, port: address.port)
            .whenFailure { self.lost(handler, .unavailable, "cannot connect: \($0)") }
    }

    private static var receiving: AdaptiveRecvByteBufferAllocator {
        AdaptiveRecvByteBufferAllocator(minimum: 4096, initial: 16_384, maximum: 65_536)
    }

    private func addHandlers(_ channel: any Channel, _ handler: RedisChannelHandler) throws {
        if let tls = settings.tls {
            // A certificate for an address is checked against the address; only names are sent ahead.
            let isAddress = (try? SocketAddress(ipAddress: address.host, port: address.port)) != nil
            let secured = try NIOSSLClientHandler(context: tls, serverHostname: isAddress ? nil : address.host)
            try channel.pipeline.syncOperations.addHandler(secured)
        }
        try channel.pipeline.syncOperations.addHandler(handler)
    }

    func active(_ handler: RedisChannelHandler) {
        guard self.handler === handler, stage == .connecting else { return handler.close() }
        stage = .greeting
        act(handshake.start(), handler)
    }

    private func act(_ action: RedisHandshake.Action, _ handler: RedisChannelHandler) {
        switch action {
        case .send(let name, let arguments):
            handler.write(ByteBuffer(bytes: RedisCommand(name, arguments: arguments).encoded))
        case .refused(let refusal): lost(handler, .unavailable, refusal.sentence)
        case .ready:
            stage = .ready
            backoff.reset()
            lastRead = .now()
            probedAt = nil
            timer?.cancel()
            watch(in: configuration.keepAliveAfter)
            owner?.linkIsReady()
        }
    }

    // MARK: events of the channel

    /// Bytes came, whether or not they end a value: a long answer is no silence.
    func heard(_ handler: RedisChannelHandler) {
        guard self.handler === handler else { return }
        lastRead = .now()
        endSilence()
    }

    func received(_ values: [RESPValue], _ handler: RedisChannelHandler) throws(RedisError) {
        guard self.handler === handler else { return }
        guard stage == .greeting else {
            if stage == .ready || stage == .stopped { try owner?.linkReceived(values) }
            return
        }
        // Each word of ours has one answer, and the next word waits for it.
        for value in values {
            if case .push = value { continue }
            guard stage == .greeting else { throw .protocolError("an answer after the sign-in") }
            act(handshake.received(value), handler)
        }
    }

    func writabilityChanged(_ handler: RedisChannelHandler) {
        if self.handler === handler, stage == .ready, handler.isWritable { owner?.linkIsWritable() }
    }

    /// The channel is gone, or has to go.
    func lost(_ handler: RedisChannelHandler, _ reason: RedisError, _ sentence: String) {
        guard self.handler === handler else { return }
        let before = stage
        self.handler = nil
        timer?.cancel()
        handler.close()
        if before != .stopped { rest() }
        if before == .ready || (before == .stopped && !stopping.isEmpty) {
            owner?.linkWasLost(reason)
        }
        endSilence()
        if before != .stopped { owner?.linkFailed(sentence) }
        for promise in stopping { promise.succeed() }
        stopping = []
    }

    private func rest() {
        stage = .resting
        timer = eventLoop.scheduleTask(in: TimeAmount(backoff.next(using: &random))) {
            if self.stage == .resting { self.connect() }
        }
    }

    // MARK: signs of life

    private func watch(in delay: Duration) {
        timer = eventLoop.scheduleTask(in: TimeAmount(delay)) { self.watch() }
    }

    private func watch() {
        guard stage == .ready else { return }
        let now = NIODeadline.now()
        if let asked = probedAt {
            if lastRead > asked {
                probedAt = nil
            } else {
                return fail(.unavailable)
            }
        }
        let silence = Duration(now - lastRead)
        if silence >= configuration.keepAliveAfter {
            probe(now: now)
        } else {
            watch(in: configuration.keepAliveAfter - silence)
        }
    }

    private func probe(now: NIODeadline) {
        probedAt = now
        timer?.cancel()
        watch(in: configuration.keepAliveTimeout)
        silence = eventLoop.scheduleTask(in: TimeAmount(configuration.silenceShownAfter)) { self.beginSilence() }
        owner?.linkNeedsProbe()
    }

    /// No byte came since the PING: any would have cancelled this.
    private func beginSilence() {
        guard stage == .ready, !isSilent else { return }
        isSilent = true
        owner?.linkIsSilent(true)
    }

    private func endSilence() {
        silence?.cancel()
        silence = nil
        guard isSilent else { return }
        isSilent = false
        owner?.linkIsSilent(false)
    }
}

/// Bytes to values on one channel; lives and dies with it.
///
/// `@unchecked Sendable`: all state is touched on the channel's event loop only.
final class RedisChannelHandler: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let link: RedisLink
    private var context: ChannelHandlerContext?
    private var parser = RESPParser()
    private var received = ByteBuffer()
    private var isClosed = false

    init(link: RedisLink) { self.link = link }

    /// Read bytes that stay before the rest of an unfinished value are dropped beyond this.
    private static let keptBytesMax = 64 << 10

    var isWritable: Bool { context?.channel.isWritable ?? false }

    func write(_ bytes: ByteBuffer, promise: EventLoopPromise<Void>? = nil) {
        guard let context else {
            promise?.fail(RedisError.unavailable)
            return
        }
        context.writeAndFlush(wrapOutboundOut(bytes), promise: promise)
    }

    func makeSocket() -> RedisSocket? {
        let copy: RedisSocket?? = try? context?.pipeline.syncOperations.withUnsafeTransportIfAvailable {
            (socket: NIOBSDSocket.Handle) in RedisSocket(copying: socket)
        }
        return copy ?? nil
    }

    func close() {
        isClosed = true
        context?.close(promise: nil)
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }
    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelActive(context: ChannelHandlerContext) {
        if isClosed { return context.close(promise: nil) }
        link.active(self)
    }

    func channelInactive(context: ChannelHandlerContext) {
        link.lost(self, .unavailable, "the server closed the connection")
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) { link.writabilityChanged(self) }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        link.lost(self, .unavailable, "\(error)")
        context.close(promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !isClosed else { return }
        var bytes = unwrapInboundIn(data)
        link.heard(self)
        if received.readableBytes == 0 { received = bytes } else { received.writeBuffer(&bytes) }
        do throws(RedisError) {
            var failure: RedisError?
            var values: [RESPValue] = []
            do throws(RedisError) { try parser.parse(&received, into: &values) } catch { failure = error }
            if !values.isEmpty { try link.received(values, self) }
            if let failure { throw failure }
        } catch {
            return link.lost(self, error, "\(error)")
        }
        if received.readerIndex > Self.keptBytesMax { received.discardReadBytes() }
    }
}

extension TimeAmount {
    init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        self = .nanoseconds(seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}

extension Duration {
    init(_ amount: TimeAmount) { self = .nanoseconds(amount.nanoseconds) }
}
