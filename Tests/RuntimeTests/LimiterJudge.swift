import AurumCore
import Runtime

/// Judges every decision of simulated limiters against counts that are too simple to be wrong: each keeps all that ever
/// passed, with its time by the clock of whoever counted.
struct LimiterJudge {
    /// One limit asked for one subject.
    struct Ask: Equatable {
        let limit: Int
        let subject: Int
        let cost: Int64
    }

    /// What is counted against somewhere: units in microseconds of `window`, `burst` at once.
    private struct Bound {
        let limit: Int64
        let window: Int64
        let burst: Int64
        /// The same, or more where the share of a node changed on the way.
        let burstMost: Int64
    }

    /// All that passed for one limit and subject in one place.
    fileprivate struct Count {
        var passed: [(at: Int64, cost: Int64)] = []
        /// Of the steady rate: units times window that have not drained yet, as of `at`.
        var level: Int64 = 0
        var at: Int64 = 0
    }

    private struct Place: Hashable {
        let number: Int
        let limit: Int
        let subject: Int
    }

    /// What passed, at the time of nobody's clock.
    private struct Passed {
        let at: Int64
        let cost: Int64
        let place: Int
    }

    let limits: [RateLimit]
    /// Nodes that the fleet has and every node sees; nil where what they see changes.
    let nodesSeen: Int?
    /// Whether verdicts are compared one by one, beside what passes in windows.
    let comparesEach: Bool
    private var counts: [Place: Count] = [:]
    private var bookings: [Int: Int] = [:]
    /// Of the whole fleet, by limit and subject (of place 0).
    private var fleet: [Place: [Passed]] = [:]
    private var shared: Set<Int> = []
    private(set) var wrong: [String] = []

    init(limits: [RateLimit], nodesSeen: Int?, comparesEach: Bool) {
        self.limits = limits
        self.nodesSeen = nodesSeen
        self.comparesEach = comparesEach
    }

    static func part(_ whole: Int64, of nodes: Int64) -> Int64 { (whole + nodes - 1) / nodes }

    private func bound(_ limit: RateLimit, isShared: Bool) -> Bound {
        let (units, burst, window) = (Int64(limit.limit), Int64(limit.burst), limit.window.microseconds)
        if isShared || limit.degradedMode != .localShare {
            return Bound(limit: units, window: window, burst: burst, burstMost: burst)
        }
        if let nodesSeen {
            let (share, atOnce) = (Self.part(units, of: Int64(nodesSeen)), Self.part(burst, of: Int64(nodesSeen)))
            return Bound(limit: share, window: window, burst: atOnce, burstMost: atOnce)
        }
        // Shares are rounded up, so a small one may have more burst for its rate; and one unit for the rounding of
        // what was booked under another share.
        let most = (1...LimiterSimulation.nodesMost).map { nodes in
            Self.part(Self.part(burst, of: nodes) * units, of: Self.part(units, of: nodes))
        }
        return Bound(limit: units, window: window, burst: burst, burstMost: (most.max() ?? burst) + 1)
    }

    /// Whether `cost` more fits by the rule of the limit.
    private func fits(_ count: Count, _ algorithm: RateLimit.Algorithm, _ bound: Bound, _ cost: Int64, _ now: Int64)
        -> Bool
    {
        switch algorithm {
        case .gcra:
            let level = max(0, count.level - (now - count.at) * bound.limit)
            // What costs more than the burst passes when nothing is owed, and is owed afterwards.
            return level + min(cost, bound.burst) * bound.window <= bound.burst * bound.window
        case .slidingLog: return count.units(since: now - bound.window) + cost <= bound.limit
        case .slidingCounter:
            let index = now / bound.window
            let current = count.units(inWindow: index, of: bound.window)
            let previous = count.units(inWindow: index - 1, of: bound.window)
            let used = previous * (bound.window - now % bound.window) + current * bound.window
            return used + cost * bound.window <= bound.limit * bound.window
        }
    }

    /// A decision where it was made.
    /// - Parameters:
    ///   - place: the server since it last lost its data, or a node since it started.
    ///   - now: by the clock of that place.
    ///   - time: by nobody's clock.
    mutating func decided(
        call: Int, _ asks: [Ask], place: Int, isShared: Bool, at now: Int64, time: Int64, isAllowed: Bool,
        isOwed: Bool
    ) {
        if isShared { shared.insert(place) }
        let isExact = comparesEach && (isShared || nodesSeen != nil)
        let mustFit = asks.allSatisfy { ask in
            let limit = limits[ask.limit]
            let count = counts[Place(number: place, limit: ask.limit, subject: ask.subject)] ?? Count()
            return fits(count, limit.algorithm, bound(limit, isShared: isShared), ask.cost, now)
        }
        if isExact, !isOwed, mustFit != isAllowed {
            let names = asks.map { "\(limits[$0.limit].name)\($0.subject) by \($0.cost)" }.joined(separator: ", ")
            wrong.append(
                "call \(call) (\(names)) in place \(place) at \(now): \(isAllowed ? "allowed" : "refused"), "
                    + "by all that passed it had to be \(mustFit ? "allowed" : "refused")")
        }
        guard isAllowed || isOwed else { return }
        bookings[call, default: 0] += 1
        for ask in asks {
            let limit = limits[ask.limit]
            let bound = bound(limit, isShared: isShared)
            let key = Place(number: place, limit: ask.limit, subject: ask.subject)
            counts[key, default: Count()].add(ask.cost, at: now, limit: bound.limit, window: bound.window)
            guard !isOwed, let count = counts[key] else { continue }
            checkWindows(count, limit, bound, key, now)
            fleet[Place(number: 0, limit: ask.limit, subject: ask.subject), default: []]
                .append(Passed(at: time, cost: ask.cost, place: place))
        }
    }

    /// What passed in windows that end with something that was asked for now, by the clock of the place. What was owed
    /// in them counts as well.
    private mutating func checkWindows(
        _ count: Count, _ limit: RateLimit, _ bound: Bound, _ key: Place, _ now: Int64
    ) {
        func tooMuch(_ sum: Int64, _ allowed: Int64, _ span: String) {
            wrong.append(
                "\(limit.name)\(key.subject) in place \(key.number): \(sum) passed in \(span) up to \(now), "
                    + "where \(allowed) may")
        }
        switch limit.algorithm {
        case .gcra:
            var sum: Int64 = 0
            let burst = max(bound.burstMost, count.passed.last?.cost ?? 0)
            for (at, cost) in count.passed.reversed() {
                sum += cost
                let allowed = burst * bound.window + (now - at) * bound.limit
                if sum * bound.window > allowed { return tooMuch(sum, allowed / bound.window, "\(now - at) µs") }
            }
        case .slidingLog:
            let sum = count.units(since: now - bound.window)
            if sum > bound.limit { tooMuch(sum, bound.limit, "a window") }
        case .slidingCounter:
            let current = count.units(inWindow: now / bound.window, of: bound.window)
            if current > bound.limit { tooMuch(current, bound.limit, "one window of the counter") }
            // Approximate: at its worst a window's units at its end, and what they have made room for since.
            let sum = count.units(since: now - bound.window)
            if sum > 2 * bound.limit { tooMuch(sum, 2 * bound.limit, "a window") }
        }
    }

    /// What a caller was told.
    mutating func answered(call: Int, _ asks: [Ask], _ verdict: RateVerdict, at now: Int64) {
        guard verdict.isAllowed else { return }
        if bookings[call] ?? 0 < 1 { wrong.append("call \(call) was allowed at \(now) and is counted nowhere") }
        if verdict.mode != .shared, asks.contains(where: { limits[$0.limit].degradedMode == .closed }) {
            wrong.append("call \(call) was allowed at \(now) by a limit that is closed")
        }
    }

    /// Counted at least once, unless nothing passes at all.
    mutating func owed(call: Int, _ asks: [Ask], at now: Int64) {
        let isClosed = asks.contains { limits[$0.limit].degradedMode == .closed }
        if !isClosed, bookings[call] ?? 0 < 1 { wrong.append("call \(call), owed at \(now), is counted nowhere") }
    }

    /// The whole fleet in any window: what the server lets pass, and each node that decided alone its own part. To be
    /// called where clocks keep their distance and nodes know how many they are.
    mutating func checkFleet() {
        for limit in limits.indices {
            for subject in 0..<LimiterSimulation.subjects {
                let passed = fleet[Place(number: 0, limit: limit, subject: subject)] ?? []
                checkFleet(passed, limits[limit], subject)
            }
        }
    }

    private mutating func checkFleet(_ passed: [Passed], _ limit: RateLimit, _ subject: Int) {
        var first = 0
        for (index, last) in passed.enumerated() {
            while passed[first].at <= last.at - limit.window.microseconds { first += 1 }
            var (sum, dearest): (Int64, Int64) = (0, 0)
            var places: [Int] = []
            for one in passed[first...index] {
                sum += one.cost
                dearest = max(dearest, one.cost)
                if !places.contains(one.place) { places.append(one.place) }
            }
            var allowed: Int64 = 0
            for place in places {
                let bound = bound(limit, isShared: shared.contains(place))
                switch limit.algorithm {
                case .gcra: allowed += max(bound.burst, dearest) + bound.limit
                case .slidingLog: allowed += bound.limit
                case .slidingCounter: allowed += 2 * bound.limit
                }
            }
            guard sum > allowed else { continue }
            wrong.append(
                "\(limit.name)\(subject): the fleet let \(sum) pass in a window up to \(last.at), where places "
                    + "\(places) may \(allowed)")
            return
        }
    }
}

extension LimiterJudge.Count {
    fileprivate func units(since start: Int64) -> Int64 {
        var sum: Int64 = 0
        for (at, cost) in passed.reversed() {
            if at <= start { break }
            sum += cost
        }
        return sum
    }

    fileprivate func units(inWindow index: Int64, of window: Int64) -> Int64 {
        var sum: Int64 = 0
        for (at, cost) in passed.reversed() {
            if at / window < index { break }
            if at / window == index { sum += cost }
        }
        return sum
    }

    fileprivate mutating func add(_ cost: Int64, at now: Int64, limit: Int64, window: Int64) {
        level = max(0, level - (now - at) * limit) + cost * window
        at = now
        passed.append((now, cost))
    }
}
