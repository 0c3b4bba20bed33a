import AurumCore
import Runtime

/// Judges what simulated caches answer. It knows of every value when its factory began, of every tag when it was raised
/// on the server, and of every node which of these it has heard of.
struct CacheJudge {
    /// One run of a factory.
    struct Value {
        let key: Int
        let node: Int
        /// By the time of nobody's clock: what was raised later, it did not see.
        let begun: Int64
        let isAbsent: Bool
        var ended: Int64?
        /// When a life of it began last: stored on the server, or kept by the node that made it.
        var keptAt: Int64 = .min
        /// When each node had it last, from its factory or from the server.
        var reached: [Int64]
        var isRunning = true
        /// Another may run beside it: without a lease, or with one that could not be renewed.
        var isExcused: Bool
    }

    /// One question of a caller.
    struct Get {
        let number: Int
        let node: Int
        let key: Int
        let begun: Int64
        /// By tag: raises up to then were known to the node.
        let heard: [Int64]
        /// When the node learned that the server is away.
        let awaySince: Int64?
    }

    /// Tags of each key.
    static let tags = [[0, 1], [0, 1, 2]]
    /// How far from what it says a life may be.
    private static let slack: Int64 = 1000
    private static let negative = CacheLimits.negativeFor.microseconds * 6 / 5

    let policy: CachePolicy
    private let nodes: Int
    private(set) var values: [Value] = []
    /// Times of each tag, rising.
    private var raises: [[Int64]] = [[], [], []]
    private(set) var wrong: [String] = []

    init(policy: CachePolicy, nodes: Int) {
        self.policy = policy
        self.nodes = nodes
    }

    // MARK: what happens

    mutating func raised(_ tag: Int, at now: Int64) { raises[tag].append(now) }

    /// - Returns: the number of the value.
    mutating func begin(key: Int, node: Int, isAbsent: Bool, isExcused: Bool, at now: Int64) -> Int {
        if !isExcused, let other = values.firstIndex(where: { $0.key == key && $0.isRunning && !$0.isExcused }) {
            wrong.append(
                "value \(values.count) of key \(key) is made on node \(node) while node \(values[other].node) makes "
                    + "value \(other), and has its lease")
        }
        values.append(
            Value(
                key: key, node: node, begun: now, isAbsent: isAbsent, reached: Array(repeating: .min, count: nodes),
                isExcused: isExcused))
        return values.count - 1
    }

    mutating func end(_ value: Int, at now: Int64) {
        values[value].isRunning = false
        values[value].ended = now
    }

    mutating func excuse(_ value: Int) { values[value].isExcused = true }

    mutating func crashed(node: Int) {
        for index in values.indices where values[index].node == node { values[index].isRunning = false }
    }

    /// Its life begins on the server or on the node that made it.
    mutating func kept(_ value: Int, at now: Int64) { values[value].keptAt = max(values[value].keptAt, now) }

    mutating func reached(_ value: Int, node: Int, at now: Int64) { values[value].reached[node] = now }

    /// What the server hands out was not raised since its factory began: no late maker overwrote an invalidation.
    mutating func handedOut(_ value: Int, at now: Int64) {
        for tag in Self.tags[values[value].key] {
            guard let raise = raises[tag].last, raise > values[value].begun, raise <= now else { continue }
            wrong.append(
                "the server hands out value \(value), begun at \(values[value].begun), whose tag \(tag) was raised "
                    + "at \(raise)")
            return
        }
    }

    /// A holder died at `crash`, and who waited unharmed has waited too long.
    mutating func notReplaced(key: Int, since crash: Int64, at now: Int64) {
        wrong.append("nobody makes key \(key) at \(now), whose maker died at \(crash), though somebody waits for it")
    }

    mutating func unanswered(_ get: Int) { wrong.append("get \(get) has no value although everything is healed") }

    // MARK: answers

    /// - Parameter value: nil for an absence, which may be that of any making that found nothing.
    mutating func answered(_ get: Get, _ value: Int?, isStale: Bool, at now: Int64) {
        var faults: [String] = []
        if let value {
            if let fault = fault(get, value, isStale, now) { faults = [fault] }
        } else {
            for index in values.indices.reversed() where values[index].key == get.key && values[index].isAbsent {
                guard let fault = fault(get, index, isStale, now) else { return }
                faults.append(fault)
            }
            if faults.isEmpty { faults = ["no making ever found nothing"] }
        }
        guard let first = faults.first else { return }
        wrong.append("get \(get.number) of key \(get.key) on node \(get.node), asked at \(get.begun): \(first)")
    }

    private func fault(_ get: Get, _ number: Int, _ isStale: Bool, _ now: Int64) -> String? {
        let value = values[number]
        if value.key != get.key { return "value \(number) is of another key" }
        if let fault = tooOld(value, isStale, now) { return "value \(number) \(fault)" }
        for tag in Self.tags[value.key] {
            guard let raise = raises[tag].first(where: { $0 > value.begun }) else { continue }
            let text = "value \(number) was begun at \(value.begun), tag \(tag) was raised at \(raise)"
            if raise <= get.heard[tag] { return "\(text), the node had heard of it" }
            // Nobody told the node: it may go on with what it has for a while.
            let since = max(raise, value.ended ?? now, value.reached[get.node])
            let news = FleetMaking.localFor.microseconds * 11 / 10 + Self.slack
            if get.begun > since + news { return "\(text) and it had it at \(since): too long ago for any node" }
            let alone = FleetMaking.localAloneFor.microseconds * 11 / 10 + Self.slack
            if let away = get.awaySince, away <= raise, get.begun > since + alone {
                return "\(text) and it had it at \(since): too long ago for a node that knows it hears nothing"
            }
        }
        return nil
    }

    private func tooOld(_ value: Value, _ isStale: Bool, _ now: Int64) -> String? {
        guard value.ended != nil, value.keptAt > .min else { return "was never kept" }
        let age = now - value.keptAt
        if value.isAbsent {
            return age > Self.negative + Self.slack ? "is an absence of \(age) µs ago" : nil
        }
        let fresh = policy.freshFor.microseconds * 11 / 10
        if age > fresh + policy.staleFor.microseconds + Self.slack { return "is \(age) µs old: past being stale" }
        // What is nearly stale on the server is fresh for a tenth of a second more.
        if !isStale, age > fresh + 100_000 + Self.slack { return "is \(age) µs old and not called stale" }
        return nil
    }
}
