internal import AurumCore
internal import Logging
internal import NIOCore
internal import NIOWebSocket
internal import ServiceLifecycle
internal import Synchronization
internal import Telemetry

/// What the two kinds of socket have in common: frames in and out, pings, close codes, the end of the server.
struct SocketLoop: Sendable {
    /// What a socket talks to. `receive` is called for every text frame, one after another.
    struct Peer: Sendable {
        var receive: @Sendable (String) async -> Void
        var shutDown: @Sendable () -> Void
        var disconnect: @Sendable () -> Void
    }

    enum Output: Sendable {
        case text(String)
        case close(code: UInt16, reason: String)
    }

    static let pingInterval: Duration = .seconds(30)
    static let missedPongsMax = 2

    let open: Gauge

    /// Serves one socket until either side closes it. What comes out of `outgoing` is sent in order; it is pulled
    /// only as fast as the client reads, so its own bound is the bound.
    func run<Outgoing: AsyncSequence & Sendable>(
        _ socket: UpgradeChannel.Socket, _ peer: Peer, outgoing: Outgoing
    ) async where Outgoing.Element == Output, Outgoing.Failure == Never {
        open.add(1)
        defer { open.add(-1) }
        let silence = Silence()
        try? await socket.executeThenClose { inbound, outbound in
            await withGracefulShutdownHandler {
                await withTaskGroup(of: Void.self) { group in
                    group.addTask { await send(outgoing, outbound) }
                    group.addTask { await read(inbound, outbound, peer, silence) }
                    group.addTask { await ping(outbound, silence) }
                    await group.next()
                    group.cancelAll()
                }
            } onGracefulShutdown: {
                peer.shutDown()
            }
        }
        peer.disconnect()
    }

    /// Closes the socket of a client that was let in while the last place was free or its key was good, and came too
    /// late. A socket that nobody serves must be closed this way: to let go of it ends the process.
    func turnAway(_ socket: UpgradeChannel.Socket) async {
        let (outgoing, send) = AsyncStream<Output>.makeStream()
        send.yield(.close(code: 1013, reason: "not served now; come back later"))
        send.finish()
        await run(socket, Peer(receive: { _ in }, shutDown: {}, disconnect: {}), outgoing: outgoing)
    }

    private func send<Outgoing: AsyncSequence & Sendable>(
        _ outgoing: Outgoing, _ outbound: NIOAsyncChannelOutboundWriter<WebSocketFrame>
    ) async where Outgoing.Element == Output, Outgoing.Failure == Never {
        for await output in outgoing {
            switch output {
            case .text(let text):
                let frame = WebSocketFrame(fin: true, opcode: .text, data: ByteBuffer(string: text))
                guard (try? await outbound.write(frame)) != nil else { return }
            case .close(let code, let reason):
                try? await outbound.write(Self.closing(code, reason))
                return
            }
        }
        // The queue ended by itself: the reader was too slow for it and may come back.
        if !Task.isCancelled { try? await outbound.write(Self.closing(1013, "too slow")) }
    }

    private func read(
        _ inbound: NIOAsyncChannelInboundStream<WebSocketFrame>,
        _ outbound: NIOAsyncChannelOutboundWriter<WebSocketFrame>, _ peer: Peer, _ silence: Silence
    ) async {
        do {
            for try await frame in inbound {
                silence.heard()
                switch frame.opcode {
                case .text:
                    guard let text = String(validating: frame.unmaskedData.readableBytesView, as: UTF8.self) else {
                        return try await outbound.write(Self.closing(1007, "not UTF-8"))
                    }
                    await peer.receive(text)
                case .binary: return try await outbound.write(Self.closing(1003, "text frames only"))
                case .ping:
                    try await outbound.write(WebSocketFrame(fin: true, opcode: .pong, data: frame.unmaskedData))
                case .connectionClose:
                    return try await outbound.write(
                        WebSocketFrame(fin: true, opcode: .connectionClose, data: frame.unmaskedData))
                default: break
                }
            }
        } catch { return }
    }

    private func ping(_ outbound: NIOAsyncChannelOutboundWriter<WebSocketFrame>, _ silence: Silence) async {
        while (try? await Task.sleep(for: Self.pingInterval)) != nil {
            if silence.grow() > Self.missedPongsMax { return }
            let frame = WebSocketFrame(fin: true, opcode: .ping, data: ByteBuffer())
            guard (try? await outbound.write(frame)) != nil else { return }
        }
    }

    private static func closing(_ code: UInt16, _ reason: String) -> WebSocketFrame {
        var data = ByteBuffer()
        data.write(webSocketErrorCode: WebSocketErrorCode(codeNumber: Int(code)))
        data.writeString(String(reason.prefix(100)))
        return WebSocketFrame(fin: true, opcode: .connectionClose, data: data)
    }
}

/// Pings sent since the peer was last heard.
private final class Silence: Sendable {
    private let pings = Atomic(0)

    func heard() { pings.store(0, ordering: .relaxed) }

    func grow() -> Int { pings.wrappingAdd(1, ordering: .relaxed).newValue }
}
