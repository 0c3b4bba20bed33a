internal import Logging
internal import NIOCore
internal import Synchronization
internal import Telemetry

/// The nodes of a cluster, and which of them has what. Follows `MOVED` and `ASK`, waits where the cluster asks for it,
/// at most `RedisLimits.redirectsMax` times for one command, and asks for the map anew whenever something points at a
/// change.
final class RedisRouter: Sendable {
    typealias Address = RedisConfiguration.Address

    struct State: Sendable {
        var map = RedisSlotMap()
        var hasMap = false
        var nodes: [Address: RedisNode] = [:]
        var hasEnded = false
        /// Nodes that answered that their cluster is down, until they say that it is whole.
        var doubted: Set<Address> = []
        /// Where channels and patterns of this process are listened to.
        var subscribers: [Address: RedisSubscriber] = [:]
        var places: [UInt64: Address] = [:]
        /// Listeners that wait for the next map; with the node that they left.
        var homeless: [UInt64: (listener: RedisListener, from: Address)] = [:]
    }

    let state = Mutex(State())
    let settings: RedisLinkSettings
    let group: any EventLoopGroup
    let registry: MetricRegistry
    let status: RedisStatus
    private let inFlight: Gauge
    private let ids: RedisIDs
    private let signals: AsyncStream<Void>
    private let signal: AsyncStream<Void>.Continuation

    init(
        settings: RedisLinkSettings, group: any EventLoopGroup, registry: MetricRegistry, status: RedisStatus,
        ids: RedisIDs
    ) {
        self.settings = settings
        self.group = group
        self.registry = registry
        self.status = status
        self.ids = ids
        inFlight = registry.gauge(.redisInFlight)
        (signals, signal) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    }

    /// Asks the nodes for the map until cancelled: at once, on every hint of a change, and now and then.
    func run() async {
        for address in settings.configuration.addresses { _ = node(address) }
        let timer = group.next().scheduleRepeatedTask(
            initialDelay: .zero, delay: TimeAmount(settings.configuration.mapRefresh)
        ) { _ in self.needsMap() }
        for await _ in signals {
            var backoff = backoff()
            var random = SystemRandomNumberGenerator()
            while !Task.isCancelled, await !isInOrder() {
                try? await Task.sleep(for: backoff.next(using: &random))
            }
        }
        timer.cancel()
    }

    func needsMap() { signal.yield() }

    func stop() async {
        let (nodes, subscribers, homeless) = state.withLock { state in
            state.hasEnded = true
            defer { state.homeless = [:] }
            return (Array(state.nodes.values), Array(state.subscribers.values), Array(state.homeless.values))
        }
        for one in homeless {
            one.listener.continuation.finish()
            one.listener.activity.end()
        }
        for subscriber in subscribers { await subscriber.stop() }
        await withTaskGroup(of: Void.self) { group in
            for node in nodes { group.addTask { await node.stop(within: self.settings.configuration.drainTimeout) } }
        }
    }

    // MARK: the map

    /// Whether a node gave the map, and no node says that the cluster is down.
    private func isInOrder() async -> Bool {
        let hasMap = await refresh()
        let isWhole = await isWhole()
        return hasMap && isWhole
    }

    /// Asks the nodes that are doubted how their cluster is, and says what they say.
    private func isWhole() async -> Bool {
        let doubted = state.withLock { state in
            // What is no master any more says nothing about those that are.
            state.doubted.formIntersection(state.nodes.keys)
            return state.doubted
        }
        var down: String?
        for address in doubted.sorted(by: { "\($0)" < "\($1)" }) {
            let deadline = NIODeadline.now() + TimeAmount(settings.configuration.commandTimeout)
            guard let connection = node(address)?.pick(),
                case .success(let answer) = await connection.call(
                    RedisCommand("CLUSTER", "INFO", isRead: true), id: ids.next(), deadline: deadline)
            else { continue }
            if answer.string?.contains("cluster_state:fail") == true {
                down = down ?? "\(address) says that the cluster is down"
            } else {
                state.withLock { _ = $0.doubted.remove(address) }
            }
        }
        status.clusterIsDown(down)
        return state.withLock { $0.doubted.isEmpty }
    }

    /// A node answered that its cluster is down: it is asked until it says that it is whole.
    func doubt(_ address: Address) {
        state.withLock { _ = $0.doubted.insert(address) }
        needsMap()
    }

    /// Whether a node gave the map.
    private func refresh() async -> Bool {
        for node in state.withLock({ Array($0.nodes.values) }).shuffled() {
            let deadline = NIODeadline.now() + TimeAmount(settings.configuration.commandTimeout)
            let ask = RedisCommand("CLUSTER", "SLOTS", isRead: true)
            guard let connection = node.pick(),
                case .success(let answer) = await connection.call(ask, id: ids.next(), deadline: deadline),
                let map = RedisSlotMap(answer, asked: node.address)
            else { continue }
            adopt(map)
            return true
        }
        // Nobody answers: those of the configuration may have come back.
        for address in settings.configuration.addresses { _ = node(address) }
        return false
    }

    private func adopt(_ map: RedisSlotMap) {
        let (left, deaf) = state.withLock { state in
            state.map = map
            state.hasMap = true
            let left = state.nodes.values.filter { !map.masters.contains($0.address) }
            for node in left { state.nodes[node.address] = nil }
            // One that was forgotten keeps its connections, and hears nothing of what the others publish.
            let deaf = state.subscribers.values.filter { !map.masters.contains($0.address) }
            for subscriber in deaf { state.subscribers[subscriber.address] = nil }
            return (left, deaf)
        }
        for address in map.masters { _ = node(address) }
        status.need(map.masters)
        for node in left { node.leave(within: settings.configuration.drainTimeout) }
        for subscriber in deaf { subscriber.leave() }
        placeHomeless()
    }

    /// The node at an address, connected to from now on; nil beyond `RedisLimits.nodesMax` and after the end.
    private func node(_ address: Address) -> RedisNode? {
        let (node, isNew) = state.withLock { state -> (RedisNode?, Bool) in
            if let node = state.nodes[address] { return (node, false) }
            guard !state.hasEnded, state.nodes.count < RedisLimits.nodesMax else { return (nil, false) }
            let node = RedisNode(
                address: address, settings: settings, group: group, observer: status, inFlight: inFlight)
            state.nodes[address] = node
            return (node, true)
        }
        if isNew { node?.start() }
        return node
    }

    private func owner(_ route: RedisRoute) -> RedisNode? {
        state.withLock { state in
            switch route {
            case .slot(let slot): state.map.owner(of: slot).flatMap { state.nodes[$0] }
            default: state.nodes.values.first { $0.pick() != nil }
            }
        }
    }

    // MARK: commands

    func call(_ command: RedisCommand, deadline: NIODeadline) async -> RedisConnection.Answer {
        let route = command.route
        guard route != .crossSlot else { return .failure(.crossSlot) }
        var node = owner(route)
        var isAsking = false
        var backoff = backoff()
        var last = RedisConnection.Answer.failure(.unavailable)
        for _ in 0...RedisLimits.redirectsMax {
            if let node {
                last = await isAsking ? ask(command, node, deadline) : node.call(command, ids, deadline)
            } else {
                last = .failure(.unavailable)
            }
            isAsking = false
            switch (last, node.flatMap { node in Self.redirection(last, node) }) {
            case (_, .moved(let slot, let address)):
                state.withLock { $0.map.move(slot, to: address) }
                needsMap()
                node = self.node(address)
                if node?.pick() == nil, await !pause(&backoff, until: deadline) { return last }
            case (_, .ask(let address)):
                node = self.node(address)
                isAsking = true
                if node?.pick() == nil, await !pause(&backoff, until: deadline) { return last }
            case (_, .tryAgain), (.failure(.unavailable), _):
                last = outage(last, of: node) ?? last
                needsMap()
                guard await pause(&backoff, until: deadline) else { return last }
                node = owner(route)
            default: return last
            }
        }
        if case .failure = last { return last }
        return .failure(.tooManyRedirects)
    }

    /// The error for the answer of a node that carries out nothing at the moment, so nothing was changed; else nil.
    private func outage(_ answer: RedisConnection.Answer, of node: RedisNode?) -> RedisConnection.Answer? {
        guard case .success(.error(let error)) = answer, error.isOutage else { return nil }
        if error.code == "CLUSTERDOWN", let node { doubt(node.address) }
        return .failure(.unavailable)
    }

    private static func redirection(_ answer: RedisConnection.Answer, _ node: RedisNode) -> RedisRedirection? {
        guard case .success(let value) = answer else { return nil }
        return RedisRedirection(value, asked: node.address)
    }

    /// A key that is on its way is at its new node only for those who say so first.
    private func ask(_ command: RedisCommand, _ node: RedisNode, _ deadline: NIODeadline) async
        -> RedisConnection.Answer
    {
        let commands = [RedisCommand("ASKING", isRead: true), command]
        return await node.batch(commands, ids, deadline).map { $0[1] }
    }

    private func backoff() -> ReconnectBackoff {
        ReconnectBackoff(first: settings.configuration.reconnectFirst, limit: settings.configuration.reconnectMax)
    }

    /// Waits a little; false when the deadline would pass or the task was cancelled.
    private func pause(_ backoff: inout ReconnectBackoff, until deadline: NIODeadline) async -> Bool {
        var random = SystemRandomNumberGenerator()
        let delay = backoff.next(using: &random)
        guard NIODeadline.now() + TimeAmount(delay) < deadline else { return false }
        return (try? await Task.sleep(for: delay)) != nil
    }

    /// One write for each node; commands that were redirected are sent again one by one, in their order.
    func batch(_ commands: [RedisCommand], deadline: NIODeadline) async -> RedisConnection.Answers {
        var parts: [Address?: [Int]] = [:]
        for (index, command) in commands.enumerated() {
            let route = command.route
            guard route != .crossSlot else { return .failure(.crossSlot) }
            parts[owner(route)?.address, default: []].append(index)
        }
        var answers = [RESPValue](repeating: .null, count: commands.count)
        var again = parts.removeValue(forKey: nil) ?? []
        let ids = ids
        let results = await withTaskGroup(of: (Address, [Int], RedisConnection.Answers).self) { group in
            for case (let address?, let indices) in parts {
                let node = node(address)
                group.addTask {
                    let part = indices.map { commands[$0] }
                    return (address, indices, await node?.batch(part, ids, deadline) ?? .failure(.unavailable))
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        var ran: [RedisCommand] = []
        var failures: [RedisError] = []
        for (address, indices, result) in results {
            switch result {
            case .failure(.unavailable): again += indices
            case .failure(let error): failures.append(error)
            case .success(let values):
                for (index, value) in zip(indices, values) {
                    answers[index] = value
                    let isElsewhere = RedisRedirection(value, asked: address) != nil
                    if isElsewhere { again.append(index) } else { ran.append(commands[index]) }
                }
            }
        }
        if let error = Self.failure(failures, beside: ran) { return .failure(error) }
        for index in again.sorted() {
            switch await call(commands[index], deadline: deadline) {
            case .success(let value):
                answers[index] = value
                ran.append(commands[index])
            case .failure(let error): return .failure(Self.failure([error], beside: ran) ?? error)
            }
        }
        return .success(answers)
    }

    /// One error for a batch of which parts failed. Where something was carried out, or may have been, that must not be
    /// sent twice, none may say that nothing was.
    private static func failure(_ errors: [RedisError], beside ran: [RedisCommand]) -> RedisError? {
        // A cancellation never says so.
        guard let first = errors.first, first != .cancelled else { return errors.first }
        let isUnsafe = errors.contains(.outcomeUnknown) || !ran.allSatisfy(\.isRepeatable)
        return isUnsafe ? .outcomeUnknown : first
    }
}
