/// In which order the steps of a funnel must come.
package enum FunnelOrder: String, Sendable, CaseIterable {
    /// One after another, anything may come between.
    case ordered
    /// One after another, nothing else of the selected events between.
    case strict
    /// All of them, in whatever order.
    case any
}

/// What makes a funnel, without its filters.
package struct FunnelRule: Sendable {
    package var steps: Int
    package var order: FunnelOrder
    /// From the first step of an attempt to its last, microseconds, both ends included.
    package var window: Int64
    /// Attempts begin before this moment.
    package var end: Int64

    package init(steps: Int, order: FunnelOrder, window: Int64, end: Int64 = .max) {
        (self.steps, self.order, self.window, self.end) = (steps, order, window, end)
    }

    package static let steps = 2...10
}

/// How far one person came: the times of the steps of the attempt that counts.
package struct FunnelAttempt: Equatable, Sendable {
    /// One a step reached.
    package var times: [Int64]
    /// `extra` of the event that began it.
    package var breakdown: Int64
}

extension FunnelRule {
    /// The attempt that counts: the deepest, and of equally deep ones the earliest. An attempt begins at any event of
    /// the first step (`any`: of any step) and takes for each next step the first event that fits.
    ///
    /// `code` of a row is the set of steps it fits. In `ordered` and `strict` one event is one step at most.
    package func attempt(_ rows: UnsafeBufferPointer<SequenceRow>) -> FunnelAttempt? {
        switch order {
        case .ordered: ordered(rows)
        case .strict: strict(rows)
        case .any: inAnyOrder(rows)
        }
    }

    /// Later attempts find their steps no earlier than the ones before: every list of a step's events is walked once.
    private func ordered(_ rows: UnsafeBufferPointer<SequenceRow>) -> FunnelAttempt? {
        var best: FunnelAttempt?
        var next = [Int](repeating: 0, count: steps)
        var times: [Int64] = []
        for start in rows.indices where rows[start].code & 1 != 0 && rows[start].time < end {
            times.removeAll(keepingCapacity: true)
            times.append(rows[start].time)
            var at = start
            for step in 1..<steps {
                var place = max(next[step], at + 1)
                while place < rows.count, rows[place].code & 1 << UInt32(step) == 0 { place += 1 }
                next[step] = place
                guard place < rows.count, rows[place].time - rows[start].time <= window else { break }
                times.append(rows[place].time)
                at = place
            }
            if times.count > best?.times.count ?? 0 {
                best = FunnelAttempt(times: times, breakdown: rows[start].extra)
                if times.count == steps { break }
            }
        }
        return best
    }

    private func strict(_ rows: UnsafeBufferPointer<SequenceRow>) -> FunnelAttempt? {
        var best: FunnelAttempt?
        for start in rows.indices where rows[start].code & 1 != 0 && rows[start].time < end {
            var depth = 1
            while depth < steps, start + depth < rows.count, rows[start + depth].code & 1 << UInt32(depth) != 0,
                rows[start + depth].time - rows[start].time <= window
            {
                depth += 1
            }
            if depth > best?.times.count ?? 0 {
                best = FunnelAttempt(
                    times: rows[start..<start + depth].map(\.time), breakdown: rows[start].extra)
                if depth == steps { break }
            }
        }
        return best
    }

    /// One event does every step it fits.
    private func inAnyOrder(_ rows: UnsafeBufferPointer<SequenceRow>) -> FunnelAttempt? {
        var best: FunnelAttempt?
        var next = [Int](repeating: 0, count: steps)
        var times: [Int64] = []
        for start in rows.indices where rows[start].code != 0 && rows[start].time < end {
            times.removeAll(keepingCapacity: true)
            for step in 0..<steps {
                var place = max(next[step], start)
                while place < rows.count, rows[place].code & 1 << UInt32(step) == 0 { place += 1 }
                next[step] = place
                if place < rows.count, rows[place].time - rows[start].time <= window { times.append(rows[place].time) }
            }
            if times.count > best?.times.count ?? 0 {
                best = FunnelAttempt(times: times.sorted(), breakdown: rows[start].extra)
                if times.count == steps { break }
            }
        }
        return best
    }
}

/// Funnels of many persons, by breakdown.
package struct FunnelWalker: SequenceWalker {
    package struct Group: Sendable {
        /// Persons that reached each step.
        package var persons: [Int]
        /// Microseconds from the step before to this one, one a person.
        package var times: [[Int64]]
    }

    private let rule: FunnelRule
    package private(set) var groups: [Int64: Group] = [:]

    package init(_ rule: FunnelRule) { self.rule = rule }

    package mutating func walk(_ rows: UnsafeBufferPointer<SequenceRow>) {
        guard let attempt = rule.attempt(rows) else { return }
        var group = groups.removeValue(forKey: attempt.breakdown) ?? empty
        for (step, time) in attempt.times.enumerated() {
            group.persons[step] += 1
            if step > 0 { group.times[step].append(time - attempt.times[step - 1]) }
        }
        groups[attempt.breakdown] = group
    }

    package mutating func add(_ other: FunnelWalker) {
        for (code, theirs) in other.groups {
            var group = groups.removeValue(forKey: code) ?? empty
            for step in 0..<rule.steps {
                group.persons[step] += theirs.persons[step]
                group.times[step] += theirs.times[step]
            }
            groups[code] = group
        }
    }

    private var empty: Group {
        Group(
            persons: [Int](repeating: 0, count: rule.steps), times: [[Int64]](repeating: [], count: rule.steps))
    }
}
