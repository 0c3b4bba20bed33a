internal import Logging
internal import NIOCore
internal import Synchronization
internal import Telemetry

/// What can be listened to.
struct RedisTarget: Hashable, Sendable {
    enum Kind: String, Sendable, CaseIterable {
        case channel = "SUBSCRIBE"
        case pattern = "PSUBSCRIBE"
        case shard = "SSUBSCRIBE"

        var leaving: String {
            switch self {
            case .channel: "UNSUBSCRIBE"
            case .pattern: "PUNSUBSCRIBE"
            case .shard: "SUNSUBSCRIBE"
            }
        }
    }

    let kind: Kind
    let name: String
}

/// One subscriber of ours, wherever its messages come from at the moment.
struct RedisListener: Sendable {
    let id: UInt64
    let targets: Set<RedisTarget>
    let continuation: AsyncStream<RedisMessage>.Continuation
    let activity: RedisActivity
    /// Targets that the server has not confirmed on this connection.
    var unconfirmed: Set<RedisTarget> = []
    /// Whether all were confirmed once: a gap is one only after that.
    var wasActive = false
    /// What it has to be told before the next message.
    var gap: RedisGap?
}

/// Whoever places listeners on subscribers.
protocol RedisSubscriberObserver: AnyObject, Sendable {
    /// These listeners cannot stay where they were, because a slot moved or the node does not answer.
    func misplaced(_ listeners: [RedisListener], from subscriber: RedisSubscriber)
}

/// The one connection to a node over which messages come.
final class RedisSubscriber: Sendable, RedisLinkOwner {
    private struct State: Sendable {
        var listeners: [UInt64: RedisListener] = [:]
        var byTarget: [RedisTarget: Set<UInt64>] = [:]
        var confirmed: Set<RedisTarget> = []
        /// Subscriptions that were sent and not answered: a target is live when the last one is.
        var awaited: [RedisTarget: Int] = [:]
        /// Our own `SUNSUBSCRIBE`s: any other is the cluster's doing.
        var leaving: [RedisTarget: Int] = [:]
        var isReady = false
        var hasEnded = false
        var failures = 0
        var outbox = ByteBuffer()
    }

    /// Attempts to connect after which another node of a cluster is asked.
    private static let failuresMax = 3
    private static let targetsPerCommand = 500

    let address: RedisConfiguration.Address
    private let state = Mutex(State())
    private let link: RedisLink
    private let logger: Logger
    private let gaps: [RedisGap: Counter]
    private let observer: (any RedisSubscriberObserver)?

    /// - Parameter observer: nil where there is one node only, on which everything stays.
    init(
        eventLoop: any EventLoop, address: RedisConfiguration.Address, settings: RedisLinkSettings,
        registry: MetricRegistry, observer: (any RedisSubscriberObserver)?
    ) {
        self.address = address
        link = RedisLink(eventLoop: eventLoop, address: address, settings: settings)
        logger = settings.logger
        gaps = Dictionary(
            uniqueKeysWithValues: RedisGap.allCases.map {
                ($0, registry.counter(.redisSubscriptionGaps, $0.rawValue))
            })
        self.observer = observer
    }

    var eventLoop: any EventLoop { link.eventLoop }

    func start() { link.start(self) }

    func stop() async {
        let listeners = state.withLock { state in
            state.hasEnded = true
            state.isReady = false
            defer {
                state.listeners = [:]
                state.byTarget = [:]
            }
            return Array(state.listeners.values)
        }
        for listener in listeners {
            listener.continuation.finish()
            listener.activity.end()
        }
        let link = link
        try? await eventLoop.flatSubmit { link.stop() }.get()
    }

    // MARK: listeners, from any thread

    func add(_ listener: RedisListener) {
        let hasEnded = state.withLock { state in
            guard !state.hasEnded else { return true }
            var listener = listener
            listener.unconfirmed = listener.targets.filter { !state.confirmed.contains($0) }
            state.listeners[listener.id] = listener
            var fresh: [RedisTarget] = []
            for target in listener.targets {
                if state.byTarget[target, default: []].isEmpty { fresh.append(target) }
                state.byTarget[target, default: []].insert(listener.id)
            }
            if state.isReady { Self.say(fresh, joining: true, &state) }
            return false
        }
        if hasEnded {
            listener.continuation.finish()
            return listener.activity.end()
        }
        eventLoop.execute {
            self.flush()
            self.settle()
        }
    }

    func remove(_ id: UInt64) {
        state.withLock { state in
            guard let listener = state.listeners.removeValue(forKey: id) else { return }
            listener.activity.end()
            Self.forget(listener, &state)
        }
        eventLoop.execute { self.flush() }
    }

    private static func forget(_ listener: RedisListener, _ state: inout State) {
        var unused: [RedisTarget] = []
        for target in listener.targets {
            state.byTarget[target]?.remove(listener.id)
            guard state.byTarget[target]?.isEmpty == true else { continue }
            state.byTarget[target] = nil
            state.confirmed.remove(target)
            unused.append(target)
        }
        if state.isReady { say(unused, joining: false, &state) }
    }

    /// Writes the commands that join or leave; those of shards one by one, because their slots differ.
    private static func say(_ targets: [RedisTarget], joining: Bool, _ state: inout State) {
        for kind in RedisTarget.Kind.allCases {
            let names = targets.filter { $0.kind == kind }
            let size = kind == .shard ? 1 : targetsPerCommand
            for start in stride(from: 0, to: names.count, by: size) {
                let part = names[start..<min(names.count, start + size)]
                let command = RedisCommand(joining ? kind.rawValue : kind.leaving, arguments: part.map(\.name))
                state.outbox.writeBytes(command.encoded)
                for target in part {
                    if joining {
                        state.awaited[target, default: 0] += 1
                    } else if kind == .shard {
                        state.leaving[target, default: 0] += 1
                    }
                }
            }
        }
    }

    // MARK: on the event loop

    private func flush() {
        guard link.isWritable else { return }
        let bytes = state.withLock { state in
            defer { state.outbox = ByteBuffer() }
            return state.outbox
        }
        if bytes.readableBytes > 0 { link.write(bytes) }
    }

    func linkIsWritable() { flush() }

    func linkIsReady() {
        state.withLock { state in
            state.isReady = true
            state.failures = 0
            Self.say(Array(state.byTarget.keys), joining: true, &state)
        }
        flush()
    }

    func linkWasLost(_ reason: RedisError) {
        let listeners = state.withLock { state in
            state.isReady = false
            state.outbox = ByteBuffer()
            state.confirmed = []
            state.awaited = [:]
            state.leaving = [:]
            for var listener in state.listeners.values {
                listener.unconfirmed = listener.targets
                if listener.wasActive { listener.gap = .reconnected }
                state.listeners[listener.id] = listener
            }
            return Array(state.listeners.values)
        }
        for listener in listeners { listener.activity.deactivate() }
    }

    func linkFailed(_ sentence: String) {
        logger.debug("no messages from redis for now", metadata: ["reason": "\(sentence)", "node": "\(address)"])
        let listeners: [RedisListener] = state.withLock { state in
            state.failures += 1
            guard observer != nil, state.failures >= Self.failuresMax else { return [] }
            state.failures = 0
            defer {
                state.listeners = [:]
                state.byTarget = [:]
            }
            return Array(state.listeners.values)
        }
        if !listeners.isEmpty { observer?.misplaced(listeners, from: self) }
    }

    func linkNeedsProbe() {
        link.write(ByteBuffer(bytes: RedisCommand("PING").encoded))
    }

    func linkReceived(_ values: [RESPValue]) throws(RedisError) {
        for value in values {
            switch value {
            case .push(let elements), .array(let elements): try received(elements)
            case .error(let error): refused(error)
            default: break
            }
        }
    }

    private func received(_ elements: [RESPValue]) throws(RedisError) {
        guard let kind = elements.first?.string else { throw .protocolError("a message without a kind") }
        switch (kind, elements.count) {
        case ("message", 3): deliver(.channel, elements[1], elements[1], elements[2])
        case ("smessage", 3): deliver(.shard, elements[1], elements[1], elements[2])
        case ("pmessage", 4): deliver(.pattern, elements[1], elements[2], elements[3])
        case ("subscribe", 3): confirmed(.channel, elements[1])
        case ("psubscribe", 3): confirmed(.pattern, elements[1])
        case ("ssubscribe", 3): confirmed(.shard, elements[1])
        case ("sunsubscribe", 3): left(elements[1])
        default: break
        }
    }

    private func deliver(_ kind: RedisTarget.Kind, _ name: RESPValue, _ channel: RESPValue, _ payload: RESPValue) {
        guard let name = name.string, let channel = channel.string, let payload = payload.bytes else { return }
        let target = RedisTarget(kind: kind, name: name)
        let listeners = state.withLock { state in
            (state.byTarget[target] ?? []).compactMap { state.listeners[$0] }
        }
        let message = RedisMessage.message(
            channel: channel, pattern: kind == .pattern ? name : nil, payload: payload)
        for listener in listeners {
            // What comes before a reconnection is confirmed belongs to its gap. One of too much is told as soon as
            // there is room.
            if let gap = listener.gap, gap != .overflow { continue }
            if listener.gap == .overflow, !tellGap(listener) { continue }
            switch listener.continuation.yield(message) {
            case .dropped: mark(listener.id, .overflow)
            case .terminated: remove(listener.id)
            default: break
            }
        }
    }

    /// False when there is no room: the gap is then one of too much, and told later.
    @discardableResult
    private func tellGap(_ listener: RedisListener) -> Bool {
        guard let gap = listener.gap else { return true }
        if case .dropped = listener.continuation.yield(.gap(gap)) {
            mark(listener.id, .overflow)
            return false
        }
        gaps[gap]?.increment()
        mark(listener.id, nil)
        return true
    }

    private func mark(_ id: UInt64, _ gap: RedisGap?) { state.withLock { $0.listeners[id]?.gap = gap } }

    private func confirmed(_ kind: RedisTarget.Kind, _ name: RESPValue) {
        guard let name = name.string else { return }
        let target = RedisTarget(kind: kind, name: name)
        state.withLock { state in
            let left = (state.awaited[target] ?? 1) - 1
            state.awaited[target] = left > 0 ? left : nil
            guard left <= 0, let ids = state.byTarget[target] else { return }
            state.confirmed.insert(target)
            for id in ids { state.listeners[id]?.unconfirmed.remove(target) }
        }
        settle()
    }

    /// Switches on those whose every target is confirmed.
    private func settle() {
        let active: [RedisListener] = state.withLock { state in
            guard state.isReady else { return [] }
            let complete = state.listeners.values.filter { $0.unconfirmed.isEmpty }
            for listener in complete { state.listeners[listener.id]?.wasActive = true }
            return complete
        }
        for listener in active {
            if listener.gap != .overflow { tellGap(listener) }
            listener.activity.activate()
        }
    }

    /// The server ended a shard's subscription: its slot is elsewhere now.
    private func left(_ name: RESPValue) {
        guard let name = name.string else { return }
        let target = RedisTarget(kind: .shard, name: name)
        let moved: [RedisListener] = state.withLock { state in
            if let own = state.leaving[target] {
                state.leaving[target] = own > 1 ? own - 1 : nil
                return []
            }
            return Self.takeOut(state.byTarget[target] ?? [], &state)
        }
        if !moved.isEmpty { observer?.misplaced(moved, from: self) }
    }

    private func refused(_ error: RedisServerError) {
        let moved: [RedisListener] = state.withLock { state in
            guard error.code == "MOVED", observer != nil else { return [] }
            let shards = state.listeners.values.filter { listener in
                listener.unconfirmed.contains { $0.kind == .shard }
            }
            return Self.takeOut(Set(shards.map(\.id)), &state)
        }
        guard moved.isEmpty else { observer?.misplaced(moved, from: self); return }
        logger.warning("redis refused a subscription", metadata: ["error": "\(error.text)", "node": "\(address)"])
    }

    private static func takeOut(_ ids: Set<UInt64>, _ state: inout State) -> [RedisListener] {
        let listeners = ids.compactMap { state.listeners.removeValue(forKey: $0) }
        for listener in listeners {
            for target in listener.targets {
                state.byTarget[target]?.remove(listener.id)
                guard state.byTarget[target]?.isEmpty == true else { continue }
                state.byTarget[target] = nil
                state.confirmed.remove(target)
                state.awaited[target] = nil
            }
        }
        return listeners
    }
}
