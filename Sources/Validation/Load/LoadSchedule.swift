/// Decides which iteration starts when and on which virtual user. Time comes in as nanoseconds since the run began, so
/// that tests drive it through hours in a moment.
///
/// Open loop: an arrival that finds no free user waits in line, beyond the end of the run if need be; its latency still
/// counts from the intended start. What never starts is reported by `unstarted()`, not forgotten.
package struct LoadSchedule: Sendable {
    package struct Start: Sendable, Equatable {
        /// 0 for the first iteration.
        package var index: Int
        /// When it should have begun.
        package var intended: UInt64
        package var user: Int
        /// How much later than possible it begins for reasons of the generator's own.
        package var lag: UInt64
    }

    package let executor: LoadExecutor
    private var end: UInt64
    private let steps: [RateStep]
    private let offset: Double
    private var idle: [Int]
    private var availableSince: UInt64 = 0
    private var working = 0
    package private(set) var started = 0

    /// - Parameter phase: 0..<1, where inside one interval the first arrival lies (threads take different ones).
    package init(_ executor: LoadExecutor, phase: Double = 0) {
        self.executor = executor
        end = executor.lengthNanoseconds
        steps = executor.steps
        offset = phase
        idle = Array((0..<executor.usersMax).reversed())
    }

    /// The next iteration that begins now, or nil. Call until nil.
    package mutating func next(now: UInt64) -> Start? {
        guard let user = idle.last else { return nil }
        switch executor {
        case .constantArrivalRate, .steppedArrivalRate:
            let intended = arrival(started)
            guard intended <= now, intended < end else { return nil }
            idle.removeLast()
            working += 1
            defer { started += 1 }
            return Start(index: started, intended: intended, user: user, lag: now - max(intended, availableSince))
        case .rampingVirtualUsers, .sharedIterations:
            guard now < end, working < users(at: now) else { return nil }
            idle.removeLast()
            working += 1
            defer { started += 1 }
            return Start(index: started, intended: now, user: user, lag: 0)
        }
    }

    /// User `user` is done and free again.
    package mutating func finish(user: Int, now: UInt64) {
        if idle.isEmpty { availableSince = now }
        idle.append(user)
        working -= 1
    }

    /// Nothing is due from `now` on.
    package mutating func stop(now: UInt64) { end = min(end, now) }

    /// When to look again, if nothing finishes before; nil when only a finish can change anything.
    package func wake(now: UInt64) -> UInt64? {
        switch executor {
        case .constantArrivalRate, .steppedArrivalRate:
            let next = arrival(started)
            guard !idle.isEmpty, next < end else { return nil }
            return max(next, now)
        case .sharedIterations: return nil
        case .rampingVirtualUsers: return now < end ? min(end, nextStep(after: now)) : nil
        }
    }

    /// True when nothing more will start.
    package func isExhausted(now: UInt64) -> Bool {
        if case .sharedIterations(let count, _, _) = executor { return started >= count || now >= end }
        return executor.isOpenLoop ? arrival(started) >= end : now >= end
    }

    /// Whether the run is over as soon as nothing more will start and everybody is done.
    package var endsWhenExhausted: Bool { if case .sharedIterations = executor { true } else { false } }

    /// Intended starts that have not begun; empty for closed loops. Ask when nobody waits any longer.
    package func unstarted() -> [UInt64] {
        guard executor.isOpenLoop else { return [] }
        var missing: [UInt64] = []
        var index = started
        while arrival(index) < end {
            missing.append(arrival(index))
            index += 1
        }
        return missing
    }

    /// True when a free user stands ready: an arrival that is due and has not begun is then the generator's fault.
    package var hasIdleUser: Bool { !idle.isEmpty }

    /// When iteration `index` is due; at or past the end when there is none.
    private func arrival(_ index: Int) -> UInt64 {
        var position = Double(index) + offset
        var begin = 0.0
        for step in steps {
            let fits = step.perSecond * step.seconds
            if position < fits { return UInt64(((begin + position / step.perSecond) * 1e9).rounded()) }
            position -= fits
            begin += step.seconds
        }
        return max(end, UInt64((begin * 1e9).rounded()))
    }

    /// Users wanted at `now`: the whole part of the straight line between stage ends.
    private func users(at now: UInt64) -> Int {
        if case .sharedIterations(let count, let users, _) = executor { return started < count ? users : 0 }
        guard case .rampingVirtualUsers(let start, let stages) = executor else { return 0 }
        var from = start
        var begin: UInt64 = 0
        for stage in stages {
            let length = nanoseconds(stage.seconds)
            if now < begin + length {
                let share = Double(now - begin) / Double(length)
                return Int((Double(from) + Double(stage.target - from) * share).rounded(.down))
            }
            begin += length
            from = stage.target
        }
        return 0
    }

    /// The next moment at which the wanted number of users may have changed: every hundredth of a stage, at least each
    /// 100 ms.
    private func nextStep(after now: UInt64) -> UInt64 { now + min(100_000_000, max(1_000_000, end / 1000)) }
}
