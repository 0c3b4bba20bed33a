internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// Many connections that hold a server up: some send a body byte by byte, some ask and never read.
package final class SlowClients: Sendable {
    /// What became of them so far.
    package struct Count: Sendable, Equatable {
        package var open = 0
        package var refused = 0
        /// Closed by the server.
        package var closed = 0
    }

    private let group: MultiThreadedEventLoopGroup
    private let state = Mutex((count: Count(), channels: [any Channel](), isOver: false))
    /// Connections that are being opened at once.
    private static let wave = 200

    package init() { group = MultiThreadedEventLoopGroup(numberOfThreads: 1) }

    package var count: Count { state.withLock { $0.count } }

    /// Opens `count` connections that say they will send `length` bytes and send `piece` of them each second.
    package func trickle(_ count: Int, to target: String, key: String, length: Int = 200_000, piece: Int = 16)
        async throws
    {
        let endpoint = try HTTPEndpoint(target)
        let head =
            "POST /v1/events HTTP/1.1\r\nHost: \(endpoint.authority)\r\nAuthorization: Bearer \(key)\r\n"
            + "Content-Type: application/x-ndjson\r\nContent-Length: \(length)\r\n\r\n"
        try await open(count, endpoint, first: head)
        let bytes = ByteBuffer(repeating: UInt8(ascii: " "), count: piece)
        let trickling = state.withLock { Array($0.channels) }
        group.next().scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { [self] task in
            guard !state.withLock({ $0.isOver }) else { return task.cancel() }
            for channel in trickling where channel.isActive { channel.writeAndFlush(bytes, promise: nil) }
        }
    }

    /// Opens `count` connections that ask for `path` again and again and read no answer.
    package func ignoreAnswers(_ count: Int, to target: String, key: String, path: String, times: Int = 64) async throws
    {
        let endpoint = try HTTPEndpoint(target)
        let request = "GET \(path) HTTP/1.1\r\nHost: \(endpoint.authority)\r\nAuthorization: Bearer \(key)\r\n\r\n"
        try await open(count, endpoint, first: String(repeating: request, count: times), reads: false)
    }

    private func open(_ count: Int, _ endpoint: HTTPEndpoint, first: String, reads: Bool = true) async throws {
        let address = try SocketAddress.makeAddressResolvingHost(endpoint.host, port: endpoint.port)
        let buffer = ByteBuffer(string: first)
        var left = count
        while left > 0 {
            let now = min(left, Self.wave)
            left -= now
            await withTaskGroup(of: Void.self) { tasks in
                for _ in 0..<now { tasks.addTask { await self.connect(address, buffer, reads: reads) } }
            }
        }
    }

    private func connect(_ address: SocketAddress, _ first: ByteBuffer, reads: Bool) async {
        let bootstrap = ClientBootstrap(group: group)
            .channelOption(.autoRead, value: reads)
            .channelOption(.socketOption(.so_rcvbuf), value: 8192)
            .connectTimeout(.seconds(20))
        guard let channel = try? await bootstrap.connect(to: address).get() else {
            return state.withLock { $0.count.refused += 1 }
        }
        state.withLock { state in
            state.count.open += 1
            state.channels.append(channel)
        }
        channel.closeFuture.whenComplete { [self] _ in
            state.withLock { state in
                guard !state.isOver else { return }
                state.count.open -= 1
                state.count.closed += 1
            }
        }
        channel.writeAndFlush(first, promise: nil)
    }

    /// Closes all of them.
    package func stop() async {
        let channels = state.withLock { state in
            state.isOver = true
            return state.channels
        }
        for channel in channels { channel.close(promise: nil) }
        try? await group.shutdownGracefully()
    }
}
