internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOWebSocket
internal import Synchronization

/// What arrived on a WebSocket, and when (nanoseconds on the machine's monotonic clock).
package enum WebSocketEvent: Sendable, Equatable {
    case text(String, at: UInt64)
    case binary([UInt8], at: UInt64)
    case pong([UInt8], at: UInt64)
    /// The socket is gone; 1006 when no close frame came.
    case closed(code: UInt16)
}

package enum WebSocketError: Error, Equatable {
    /// The server answered the upgrade with this status.
    case refused(status: Int)
    case timedOut
    case closed
    case badURL(String)
    case unreachable(String)
}

/// One client WebSocket. Server pings are answered by itself; everything else waits in a queue until `next` takes it.
///
/// One task may wait in `next` at a time. More than `queuedMax` unread events close the socket: a reader that has
/// forgotten it must not fill the memory.
package final class WebSocketConnection: Sendable {
    static let queuedMax = 4096
    private static let frameBytesMax = 1 << 20

    private let channel: any Channel
    private let mailbox: WebSocketMailbox

    private init(channel: any Channel, mailbox: WebSocketMailbox) {
        self.channel = channel
        self.mailbox = mailbox
    }

    private enum Upgrade: Sendable {
        case open(any Channel)
        case refused
    }

    /// Opens `ws://host:port/path`. Throws `refused` with the status when the server does not upgrade.
    package static func connect(
        to url: String, headers: [(String, String)] = [], within: Duration = .seconds(5)
    ) async throws -> WebSocketConnection {
        guard let endpoint = try? HTTPEndpoint(url), !endpoint.isTLS else { throw WebSocketError.badURL(url) }
        let mailbox = WebSocketMailbox()
        let status = Mutex(0)
        let watch = StatusWatch { code in status.withLock { $0 = code } }
        let future: EventLoopFuture<Upgrade>
        do {
            future = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .connectTimeout(.nanoseconds(within.nanoseconds))
                .connect(host: endpoint.host, port: endpoint.port) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try prepare(channel, endpoint, headers, mailbox, watch)
                    }
                }
        } catch { throw WebSocketError.unreachable("\(error)") }
        let deadline = future.eventLoop.scheduleTask(in: .nanoseconds(within.nanoseconds)) { watch.abort() }
        defer { deadline.cancel() }
        do {
            if case .open(let channel) = try await future.get() {
                return WebSocketConnection(channel: channel, mailbox: mailbox)
            }
        } catch { if status.withLock({ $0 }) == 0 { throw WebSocketError.timedOut } }
        watch.abort()
        throw WebSocketError.refused(status: status.withLock { $0 })
    }

    private static func prepare(
        _ channel: any Channel, _ endpoint: HTTPEndpoint, _ headers: [(String, String)], _ mailbox: WebSocketMailbox,
        _ watch: StatusWatch
    ) throws -> EventLoopFuture<Upgrade> {
        let upgrader = NIOTypedWebSocketClientUpgrader<Upgrade>(maxFrameSize: frameBytesMax) { channel, _ in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(
                    NIOWebSocketFrameAggregator(
                        minNonFinalFragmentSize: 0, maxAccumulatedFrameCount: 256,
                        maxAccumulatedFrameSize: frameBytesMax))
                try channel.pipeline.syncOperations.addHandler(WebSocketInbound(mailbox: mailbox))
                // The server may be gone already: its last frames are then lost with the decoder of the answer.
                if !channel.isActive { _ = mailbox.put(.closed(code: 1006)) }
                return .open(channel)
            }
        }
        var fields = HTTPHeaders([("Host", endpoint.authority)])
        for (name, value) in headers { fields.add(name: name, value: value) }
        let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: endpoint.path, headers: fields)
        let upgrade = NIOTypedHTTPClientUpgradeConfiguration<Upgrade>(
            upgradeRequestHead: head, upgraders: [upgrader],
            notUpgradingCompletionHandler: { $0.eventLoop.makeSucceededFuture(.refused) })
        watch.channel.withLock { $0 = channel }
        var configuration = NIOUpgradableHTTPClientPipelineConfiguration<Upgrade>(upgradeConfiguration: upgrade)
        // A server may send its first frames along with the answer.
        configuration.leftOverBytesStrategy = .forwardBytes
        let result = try channel.pipeline.syncOperations.configureUpgradableHTTPClientPipeline(
            configuration: configuration)
        let upgradeHandler = try channel.pipeline.syncOperations.handler(
            type: NIOTypedHTTPClientUpgradeHandler<Upgrade>.self)
        try channel.pipeline.syncOperations.addHandler(
            StatusHandler(watch: watch), position: .before(upgradeHandler))
        return result
    }

    package func send(text: String) async throws {
        try await write(.text, ByteBuffer(string: text))
    }

    package func ping(_ data: [UInt8]) async throws { try await write(.ping, ByteBuffer(bytes: data)) }

    /// The next event in arrival order. Throws `timedOut` after `within`; the socket stays usable.
    package func next(within: Duration) async throws -> WebSocketEvent {
        try await mailbox.next(within: within, on: channel.eventLoop)
    }

    /// Sends a close frame and shuts the socket.
    package func close(code: UInt16 = 1000) async {
        var data = ByteBuffer()
        data.write(webSocketErrorCode: WebSocketErrorCode(codeNumber: Int(code)))
        try? await write(.connectionClose, data)
        try? await channel.close()
    }

    /// Cuts the line without a close frame, as a lost network does.
    package func abort() async { try? await channel.close() }

    private func write(_ opcode: WebSocketOpcode, _ data: ByteBuffer) async throws {
        let frame = WebSocketFrame(fin: true, opcode: opcode, maskKey: .random(), data: data)
        do { try await channel.writeAndFlush(frame) } catch { throw WebSocketError.closed }
    }
}

/// Queue between the socket's event loop and the one task that reads.
final class WebSocketMailbox: Sendable {
    fileprivate struct State {
        var queue: [WebSocketEvent] = []
        var taken = 0
        var closed: UInt16?
        var waiter: (id: Int, continuation: CheckedContinuation<WebSocketEvent, any Error>)?
        var waits = 0
    }

    private let state = Mutex(State())

    /// False when the queue is full.
    func put(_ event: WebSocketEvent) -> Bool {
        let waiter: CheckedContinuation<WebSocketEvent, any Error>?
        let fits: Bool
        (waiter, fits) = state.withLock { state in
            if case .closed(let code) = event {
                guard state.closed == nil else { return (nil, true) }
                state.closed = code
            }
            if let waiting = state.waiter {
                state.waiter = nil
                return (waiting.continuation, true)
            }
            guard state.queue.count - state.taken < WebSocketConnection.queuedMax else { return (nil, false) }
            state.queue.append(event)
            return (nil, true)
        }
        waiter?.resume(returning: event)
        return fits
    }

    func next(within: Duration, on loop: any EventLoop) async throws -> WebSocketEvent {
        let id = state.withLock { state in
            state.waits += 1
            return state.waits
        }
        let timeout = loop.scheduleTask(in: .nanoseconds(within.nanoseconds)) {
            self.give(up: id, WebSocketError.timedOut)
        }
        defer { timeout.cancel() }
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let ready: Result<WebSocketEvent, any Error>? = state.withLock { state in
                    if state.taken < state.queue.count { return .success(State.take(&state)) }
                    if state.closed != nil { return .failure(WebSocketError.closed) }
                    if Task.isCancelled { return .failure(CancellationError()) }
                    state.waiter = (id, continuation)
                    return nil
                }
                if let ready { continuation.resume(with: ready) }
            }
        } onCancel: {
            give(up: id, CancellationError())
        }
    }

    private func give(up id: Int, _ error: any Error) {
        let waiter = state.withLock { state -> CheckedContinuation<WebSocketEvent, any Error>? in
            guard let waiting = state.waiter, waiting.id == id else { return nil }
            state.waiter = nil
            return waiting.continuation
        }
        waiter?.resume(throwing: error)
    }
}

extension WebSocketMailbox.State {
    /// Takes the oldest event; the array is cut back when half of it has been read.
    fileprivate static func take(_ state: inout WebSocketMailbox.State) -> WebSocketEvent {
        let event = state.queue[state.taken]
        state.taken += 1
        if state.taken > 64, state.taken * 2 > state.queue.count {
            state.queue.removeFirst(state.taken)
            state.taken = 0
        }
        return event
    }
}

extension Duration {
    /// Whole nanoseconds, at most 292 years.
    var nanoseconds: Int64 {
        let (seconds, overflow) = components.seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? .max : seconds &+ components.attoseconds / 1_000_000_000
    }
}
