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

/// A command that joins or leaves, and those of its targets that the server has not answered yet.
struct RedisQuestion: Sendable {
    let isJoining: Bool
    var open: Set<RedisTarget>
}

/// Whoever places listeners on subscribers.
protocol RedisSubscriberObserver: AnyObject, Sendable {
    /// These listeners cannot stay where they were, because a slot moved or the node does not answer.
    func misplaced(_ listeners: [RedisListener], from subscriber: RedisSubscriber)
    /// The node answered that its cluster is down.
    func clusterIsDown(at address: RedisConfiguration.Address)
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
        /// What was sent and not answered in full, in its order: an error is the answer to the first of them.
        var asked: [RedisQuestion] = []
        /// Targets that the server does not let us listen to.
        var refused: Set<RedisTarget> = []
        /// Targets that the server could not take for now, because its cluster is down.
        var postponed: Set<RedisTarget> = []
        /// Health says so.
        var isRefusalTold = false
        var isRetryDue = false
        var isPostponedDue = false
        var isReady = false
        var hasEnded = false
        /// Its node is none of the cluster's any more.
        var hasLeft = false
        var failures = 0
        var outbox = ByteBuffer()
    }

    /// Attempts to connect after which another node of a cluster is asked.
    private static let failuresMax = 3
    private static let targetsPerCommand = 500
    /// Between attempts to subscribe while the cluster is down.
    private static let outageRetry = TimeAmount.milliseconds(250)

    let address: RedisConfiguration.Address
    private let state = Mutex(State())
    private let link: RedisLink
    private let logger: Logger
    private let status: RedisStatus
    /// Between attempts to subscribe to what was refused.
    private let retryAfter: TimeAmount
    private let gaps: [RedisGap: Counter]
    private let observer: (any RedisSubscriberObserver)?

    /// - Parameter observer: nil where there is one node only, on which everything stays.
    init(
        eventLoop: any EventLoop, address: RedisConfiguration.Address, settings: RedisLinkSettings,
        registry: MetricRegistry, status: RedisStatus, observer: (any RedisSubscriberObserver)?
    ) {
        self.address = address
        self.status = status
        retryAfter = TimeAmount(settings.configuration.reconnectMax)
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

    /// Ends the connection to a node that left the cluster; who listened there is given back to be placed again.
    func leave() {
        let listeners = state.withLock { state in
            (state.hasLeft, state.isReady) = (true, false)
            return Self.takeOut(Set(state.listeners.keys), &state)
        }
        status.subscriptionsAccepted(address)
        if !listeners.isEmpty { observer?.misplaced(listeners, from: self) }
        eventLoop.execute { _ = self.link.stop() }
    }

    // MARK: listeners, from any thread

    func add(_ listener: RedisListener) {
        let (hasEnded, hasLeft) = state.withLock { state in
            guard !state.hasEnded, !state.hasLeft else { return (state.hasEnded, state.hasLeft) }
            var listener = listener
            listener.unconfirmed = listener.targets.filter { !state.confirmed.contains($0) }
            state.listeners[listener.id] = listener
            var fresh: [RedisTarget] = []
            for target in listener.targets {
                if state.byTarget[target, default: []].isEmpty { fresh.append(target) }
                state.byTarget[target, default: []].insert(listener.id)
            }
            if state.isReady { Self.say(fresh, joining: true, &state) }
            return (false, false)
        }
        if hasEnded {
            listener.continuation.finish()
            return listener.activity.end()
        }
        // It was on its way here when the node left.
        if hasLeft {
            observer?.misplaced([listener], from: self)
            return
        }
        eventLoop.execute {
            self.flush()
            self.settle()
        }
    }

    func remove(_ id: UInt64) {
        let listener: RedisListener? = state.withLock { state in
            guard let listener = state.listeners.removeValue(forKey: id) else { return nil }
            Self.forget(listener, &state)
            return listener
        }
        listener?.activity.end()
        eventLoop.execute {
            self.flush()
            self.judge()
        }
    }

    private static func forget(_ listener: RedisListener, _ state: inout State) {
        var unused: [RedisTarget] = []
        for target in listener.targets {
            state.byTarget[target]?.remove(listener.id)
            guard state.byTarget[target]?.isEmpty == true else { continue }
            state.byTarget[target] = nil
            state.confirmed.remove(target)
            state.refused.remove(target)
            state.postponed.remove(target)
            unused.append(target)
        }
        if state.isReady { say(unused, joining: false, &state) }
    }

    /// Writes the commands that join or leave; those of shards one by one, because their slots differ, as are those
    /// that were refused, because one that must not be heard has all of its command refused.
    private static func say(
        _ targets: [RedisTarget], joining: Bool, oneByOne: Bool = false, _ state: inout State
    ) {
        for kind in RedisTarget.Kind.allCases {
            let names = targets.filter { $0.kind == kind }
            let size = kind == .shard || oneByOne ? 1 : targetsPerCommand
            for start in stride(from: 0, to: names.count, by: size) {
                let part = names[start..<min(names.count, start + size)]
                let command = RedisCommand(joining ? kind.rawValue : kind.leaving, arguments: part.map(\.name))
                state.outbox.writeBytes(command.encoded)
                state.asked.append(RedisQuestion(isJoining: joining, open: Set(part)))
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
        judge()
    }

    func linkWasLost(_ reason: RedisError) {
        let listeners = state.withLock { state in
            state.isReady = false
            state.outbox = ByteBuffer()
            state.confirmed = []
            state.awaited = [:]
            state.leaving = [:]
            state.asked = []
            (state.refused, state.postponed) = ([], [])
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

    func linkIsSilent(_ isSilent: Bool) {
        status.connectionChanged(address, isSilent ? .silent : .heard)
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
        case ("unsubscribe", 3): answered(.channel, elements[1], isJoining: false)
        case ("punsubscribe", 3): answered(.pattern, elements[1], isJoining: false)
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

    /// One of the answers to what was asked for.
    private func answered(_ kind: RedisTarget.Kind, _ name: RESPValue, isJoining: Bool) {
        guard let name = name.string else { return }
        let target = RedisTarget(kind: kind, name: name)
        state.withLock { Self.settle(target, isJoining: isJoining, &$0) }
    }

    private static func settle(_ target: RedisTarget, isJoining: Bool, _ state: inout State) {
        let first = state.asked.firstIndex { $0.isJoining == isJoining && $0.open.contains(target) }
        guard let first else { return }
        state.asked[first].open.remove(target)
        if state.asked[first].open.isEmpty { state.asked.remove(at: first) }
    }

    private func confirmed(_ kind: RedisTarget.Kind, _ name: RESPValue) {
        guard let name = name.string else { return }
        let target = RedisTarget(kind: kind, name: name)
        state.withLock { state in
            Self.settle(target, isJoining: true, &state)
            state.refused.remove(target)
            state.postponed.remove(target)
            let left = (state.awaited[target] ?? 1) - 1
            state.awaited[target] = left > 0 ? left : nil
            guard left <= 0, let ids = state.byTarget[target] else { return }
            state.confirmed.insert(target)
            for id in ids { state.listeners[id]?.unconfirmed.remove(target) }
        }
        settle()
        judge()
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
                Self.settle(target, isJoining: false, &state)
                return []
            }
            return Self.takeOut(state.byTarget[target] ?? [], &state)
        }
        guard !moved.isEmpty else { return }
        observer?.misplaced(moved, from: self)
        judge()
    }

    /// What follows from a command that the server did not carry out.
    private enum Refusal: Sendable {
        case moved([RedisListener])
        /// The cluster is down: asked again soon.
        case postponed
        /// Several targets of one command, of which one may be enough to have all refused: each is asked for alone.
        case divided
        case refused
        /// Nobody wants any more to hear what was asked for.
        case pointless
    }

    private func refused(_ error: RedisServerError) {
        let refusal = state.withLock { state in
            let question = state.asked.isEmpty ? nil : state.asked.removeFirst()
            let open = question?.isJoining == true ? question?.open ?? [] : []
            for target in open {
                let left = (state.awaited[target] ?? 1) - 1
                state.awaited[target] = left > 0 ? left : nil
            }
            return Self.judge(error, open.filter { state.byTarget[$0] != nil }, isCluster: observer != nil, &state)
        }
        switch refusal {
        case .moved(let listeners):
            if !listeners.isEmpty { observer?.misplaced(listeners, from: self) }
            judge()
        case .postponed:
            observer?.clusterIsDown(at: address)
            postpone()
        case .divided: flush()
        case .refused:
            status.subscriptionRefused(address, error.text)
            retryLater()
        case .pointless: judge()
        }
    }

    /// - Parameter wanted: what the command was to join and somebody still wants to hear.
    private static func judge(
        _ error: RedisServerError, _ wanted: Set<RedisTarget>, isCluster: Bool, _ state: inout State
    ) -> Refusal {
        if error.code == "MOVED", isCluster {
            let shards = state.listeners.values.filter { listener in
                listener.unconfirmed.contains { $0.kind == .shard }
            }
            return .moved(takeOut(Set(shards.map(\.id)), &state))
        }
        guard !wanted.isEmpty else { return .pointless }
        if error.isOutage {
            state.postponed.formUnion(wanted)
            return .postponed
        }
        if wanted.count > 1 {
            say(Array(wanted), joining: true, oneByOne: true, &state)
            return .divided
        }
        state.refused.formUnion(wanted)
        state.isRefusalTold = true
        return .refused
    }

    /// Asks soon again for what the server could not take.
    private func postpone() {
        let isFirst = state.withLock { state in
            defer { state.isPostponedDue = true }
            return !state.isPostponedDue
        }
        guard isFirst else { return }
        eventLoop.scheduleTask(in: Self.outageRetry) { [weak self] in self?.askPostponed() }
    }

    private func askPostponed() {
        state.withLock { state in
            state.isPostponedDue = false
            guard state.isReady else { return }
            Self.say(Array(state.postponed), joining: true, oneByOne: true, &state)
            state.postponed = []
        }
        flush()
    }

    /// Asks once more for what was refused: rights may be given while a connection stands.
    private func retryLater() {
        let isFirst = state.withLock { state in
            defer { state.isRetryDue = true }
            return !state.isRetryDue
        }
        guard isFirst else { return }
        eventLoop.scheduleTask(in: retryAfter) { [weak self] in self?.retry() }
    }

    private func retry() {
        state.withLock { state in
            state.isRetryDue = false
            guard state.isReady else { return }
            Self.say(Array(state.refused), joining: true, oneByOne: true, &state)
        }
        flush()
    }

    /// Takes back that something is refused, once everything that is wanted was confirmed.
    private func judge() {
        let isOver = state.withLock { state in
            guard state.isRefusalTold, state.refused.isEmpty, state.isReady,
                state.byTarget.keys.allSatisfy(state.confirmed.contains)
            else { return false }
            state.isRefusalTold = false
            return true
        }
        if isOver { status.subscriptionsAccepted(address) }
    }

    private static func takeOut(_ ids: Set<UInt64>, _ state: inout State) -> [RedisListener] {
        let listeners = ids.compactMap { state.listeners.removeValue(forKey: $0) }
        for listener in listeners {
            for target in listener.targets {
                state.byTarget[target]?.remove(listener.id)
                guard state.byTarget[target]?.isEmpty == true else { continue }
                state.byTarget[target] = nil
                state.confirmed.remove(target)
                state.refused.remove(target)
                state.postponed.remove(target)
                state.awaited[target] = nil
            }
        }
        return listeners
    }
}
