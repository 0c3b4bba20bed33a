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

    private struct State: Sendable {
        var fault: Fault?
        var struck = 0
        var open: [ObjectIdentifier: any Channel] = [:]
    }

    private let state = Mutex(State())
    private let listener: any Channel
    private let upstream: Int

    /// Relays to `port` of this machine.
    package init(to port: Int) async throws {
        upstream = port
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
    package func set(_ fault: Fault?) {
        state.withLock { state in
            state.fault = fault
            state.struck = 0
        }
    }

    /// Closes everything.
    package func stop() async {
        let open = state.withLock { Array($0.open.values) }
        try? await listener.close()
        for channel in open { try? await channel.close() }
    }

    private func accept(_ client: any Channel) -> EventLoopFuture<Void> {
        let toServer = FaultyPipe(self, .toServer)
        let toClient = FaultyPipe(self, .toClient)
        state.withLock { $0.open[ObjectIdentifier(client)] = client }
        client.closeFuture.whenComplete { _ in
            _ = self.state.withLock { $0.open.removeValue(forKey: ObjectIdentifier(client)) }
        }
        return ClientBootstrap(group: client.eventLoop)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { server in
                toServer.peer = server
                toClient.peer = client
                return server.pipeline.addHandler(toClient)
            }
            .connect(host: "127.0.0.1", port: upstream)
            .flatMap { _ in client.pipeline.addHandler(toServer) }
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
            reset(peer)
            reset(context.channel)
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

    private func reset(_ channel: (any Channel)?) {
        guard let channel else { return }
        guard let options = channel as? any SocketOptionProvider else { return }
        options.setSoLinger(linger(l_onoff: 1, l_linger: 0)).whenComplete { _ in channel.close(promise: nil) }
    }

    func channelInactive(context: ChannelHandlerContext) { peer?.close(promise: nil) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
