/// The arithmetic of one algorithm for one key. Pure: times come in, in microseconds since 1970, and whole numbers are
/// all it knows, so that the script on a Redis server decides exactly alike.
protocol RateMachine: Sendable {
    init()

    /// What a call at `now` would be told. Changes nothing.
    func verdict(_ limit: RateLimit, cost: Int64, now: Int64) -> RateVerdict

    /// Books `cost` at `now`, whether it is there or not.
    mutating func book(_ limit: RateLimit, cost: Int64, now: Int64)
}

/// Generic cell rate algorithm: the time at which the key will be at rest again (theoretical arrival time), in
/// microseconds and in parts of `1 / limit` of one.
struct GCRA: RateMachine {
    private var whole: Int64 = 0
    private var part: Int64 = 0

    init() {}

    private init(whole: Int64, part: Int64) {
        self.whole = whole
        self.part = part
    }

    /// `cost` intervals of `window / limit` later; earlier where it is negative.
    private func plus(_ cost: Int64, _ limit: RateLimit) -> GCRA {
        let units = Int64(limit.limit)
        let costMax = RateLimit.exactMax / limit.windowMicroseconds
        let product = max(-costMax, min(cost, costMax)) * limit.windowMicroseconds
        var sum = GCRA(whole: whole + product / units, part: part + product % units)
        if sum.part >= units {
            sum.part -= units
            sum.whole += 1
        } else if sum.part < 0 {
            sum.part += units
            sum.whole -= 1
        }
        return sum
    }

    /// Microseconds that a key is from rest at most: the burst of every limit fits, and what is owed stays exact.
    private static func debtMax(_ limit: RateLimit) -> Int64 { RateLimit.exactMax / Int64(limit.limit) }

    /// At `now` after `cost`, which is negative for what is given back.
    private func booked(_ cost: Int64, _ limit: RateLimit, _ now: Int64) -> GCRA {
        let sum = base(now).plus(cost, limit)
        let most = now + Self.debtMax(limit)
        return sum.whole > most ? GCRA(whole: most, part: 0) : sum.base(now)
    }

    private func base(_ now: Int64) -> GCRA { whole < now ? GCRA(whole: now, part: 0) : self }

    /// Units that pass at `now` when the key will be at rest at `self`.
    private func left(_ limit: RateLimit, _ now: Int64) -> Int {
        // It may have been booked under a lower limit: then it is more than a product can hold.
        guard whole - now <= Self.debtMax(limit) else { return 0 }
        let debt = (whole - now) * Int64(limit.limit) + part
        let window = limit.windowMicroseconds
        return Int(max(0, (Int64(limit.burst) * window - debt) / window))
    }

    func verdict(_ limit: RateLimit, cost: Int64, now: Int64) -> RateVerdict {
        let base = base(now)
        // What costs more than the burst passes when nothing is owed, and is owed afterwards.
        let costNow = min(cost, Int64(limit.burst))
        let needed = base.plus(costNow, limit)
        let rest = GCRA(whole: now, part: 0).plus(Int64(limit.burst), limit)
        let late = (needed.whole - rest.whole, needed.part - rest.part)
        let isAllowed = late <= (0, 0)
        let then = !isAllowed ? base : cost == costNow ? needed : base.booked(cost, limit, now)
        return RateVerdict(
            isAllowed: isAllowed, limit: limit.burst, remaining: then.left(limit, now),
            retryMicroseconds: isAllowed ? 0 : late.0 + (late.1 > 0 ? 1 : 0),
            resetMicroseconds: then.whole - now + (then.part > 0 ? 1 : 0))
    }

    mutating func book(_ limit: RateLimit, cost: Int64, now: Int64) { self = booked(cost, limit, now) }

    /// Takes back what was booked and not used.
    mutating func giveBack(_ limit: RateLimit, cost: Int64, now: Int64) { self = booked(-cost, limit, now) }
}

/// Every unit's time, oldest first.
struct SlidingLog: RateMachine {
    private var times: [Int64] = []
    /// Where the live ones begin.
    private var first = 0

    init() {}

    /// A unit counts while less than a window has passed since it.
    private func live(_ limit: RateLimit, _ now: Int64) -> Int {
        var index = first
        while index < times.count, times[index] <= now - limit.windowMicroseconds { index += 1 }
        return index
    }

    func verdict(_ limit: RateLimit, cost: Int64, now: Int64) -> RateVerdict {
        let now = max(now, times.last ?? now)
        let start = live(limit, now)
        let count = times.count - start
        let over = count + Int(cost) - limit.limit
        let window = limit.windowMicroseconds
        guard over > 0 else {
            return RateVerdict(
                isAllowed: true, limit: limit.limit, remaining: -over, retryMicroseconds: 0, resetMicroseconds: window)
        }
        let last = times.last ?? now
        // More than the limit never passes: the window is as good an answer as any.
        let retry = over > count ? window : times[start + over - 1] + window - now
        return RateVerdict(
            isAllowed: false, limit: limit.limit, remaining: max(0, limit.limit - count),
            retryMicroseconds: retry, resetMicroseconds: count == 0 ? 0 : last + window - now)
    }

    mutating func book(_ limit: RateLimit, cost: Int64, now: Int64) {
        let now = max(now, times.last ?? now)
        first = live(limit, now)
        if first > 64, first * 2 > times.count {
            times.removeFirst(first)
            first = 0
        }
        let room = RateLimit.logUnitsMax - (times.count - first)
        for _ in 0..<min(Int(cost), room) { times.append(now) }
    }
}

/// Units of the window that runs and of the one before; the latter counts by the share of it that lies within one
/// window of now, as if its units had come evenly.
struct SlidingCounter: RateMachine {
    private var index: Int64 = 0
    private var current: Int64 = 0
    private var previous: Int64 = 0

    init() {}

    /// The counts as of `now`, and how much of the window has passed. A clock that goes back stands still.
    private func rolled(_ limit: RateLimit, _ now: Int64) -> (SlidingCounter, elapsed: Int64) {
        let window = limit.windowMicroseconds
        let at = now / window
        if at <= index { return (self, at < index ? 0 : now % window) }
        var next = SlidingCounter()
        next.index = at
        next.previous = at == index + 1 ? current : 0
        return (next, now % window)
    }

    func verdict(_ limit: RateLimit, cost: Int64, now: Int64) -> RateVerdict {
        let (counts, elapsed) = rolled(limit, now)
        let window = limit.windowMicroseconds
        let units = Int64(limit.limit)
        let weighed = counts.previous * (window - elapsed)
        let used = weighed + counts.current * window
        let isAllowed = used + cost * window <= units * window
        let after = isAllowed ? used + cost * window : used
        return RateVerdict(
            isAllowed: isAllowed, limit: limit.limit, remaining: Int(max(0, (units * window - after) / window)),
            retryMicroseconds: isAllowed ? 0 : counts.wait(units, cost, window, elapsed),
            resetMicroseconds: isAllowed || counts.current > 0 ? 2 * window - elapsed : window - elapsed)
    }

    /// Microseconds until `cost` fits: in this window by what the one before loses, or in the next.
    private func wait(_ units: Int64, _ cost: Int64, _ window: Int64, _ elapsed: Int64) -> Int64 {
        if cost > units { return window }
        let free = units - current - cost
        if free >= 0, previous > 0 { return window - free * window / previous - elapsed }
        let later = current > 0 ? window - (units - cost) * window / current : 0
        return window - elapsed + max(0, later)
    }

    mutating func book(_ limit: RateLimit, cost: Int64, now: Int64) {
        self = rolled(limit, now).0
        current = min(current + cost, RateLimit.exactMax / limit.windowMicroseconds / 4)
    }
}
