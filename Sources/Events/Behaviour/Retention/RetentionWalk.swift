/// What counts as having come back by day n.
package enum RetentionMode: String, Sendable, CaseIterable {
    /// On day n.
    case classic
    /// On at least one of the days 1…n.
    case rolling
    /// On day n or later.
    case unbounded
}

/// What makes a question about retention, without its filters.
package struct RetentionRule: Sendable {
    package static let standardDays: [Int32] = [1, 3, 7, 14, 30, 60, 90]
    package static let daysMax = 400

    package var mode: RetentionMode
    /// Ascending, from 1.
    package var days: [Int32]
    /// First events lie in here; a person's first one makes its day 0.
    package var range: Range<Int64>
    /// A day that is not over by then says nothing yet.
    package var asOf: Int64
    /// Local days.
    package var calendar: PeriodCalendar

    package init(
        mode: RetentionMode, days: [Int32], range: Range<Int64>, asOf: Int64, calendar: PeriodCalendar
    ) {
        (self.mode, self.days, self.range) = (mode, days, range)
        (self.asOf, self.calendar) = (asOf, calendar)
    }

    /// Bits of `code`.
    package static let first: UInt32 = 1
    package static let comeBack: UInt32 = 2
}

/// Persons that began in one period: how many could have come back by each day, and how many did.
package struct RetentionWalker: SequenceWalker {
    package struct Group: Sendable, Equatable {
        package var persons = 0
        package var eligible: [Int]
        package var returned: [Int]
    }

    private let rule: RetentionRule
    /// Periods that first events are put together by.
    private let cohorts: PeriodCalendar
    package private(set) var groups: [Int32: Group] = [:]

    package init(_ rule: RetentionRule, cohorts: PeriodCalendar) {
        self.rule = rule
        self.cohorts = cohorts
    }

    package mutating func walk(_ rows: UnsafeBufferPointer<SequenceRow>) {
        guard
            let begin = rows.firstIndex(where: {
                $0.code & RetentionRule.first != 0 && rule.range.contains($0.time)
            })
        else { return }
        let dayZero = rule.calendar.period(of: rows[begin].time)
        let cohort = cohorts.period(of: rows[begin].time)
        var group = groups.removeValue(forKey: cohort) ?? empty
        group.persons += 1
        var isBack = [Bool](repeating: false, count: rule.days.count)
        for row in rows[begin...] where row.code & RetentionRule.comeBack != 0 {
            let day = rule.calendar.period(of: row.time) - dayZero
            for (index, wanted) in rule.days.enumerated() {
                switch rule.mode {
                case .classic: isBack[index] = isBack[index] || day == wanted
                case .rolling: isBack[index] = isBack[index] || (day >= 1 && day <= wanted)
                case .unbounded: isBack[index] = isBack[index] || day >= wanted
                }
            }
        }
        for (index, day) in rule.days.enumerated()
        where rule.calendar.start(of: dayZero + day + 1) <= rule.asOf {
            group.eligible[index] += 1
            if isBack[index] { group.returned[index] += 1 }
        }
        groups[cohort] = group
    }

    package mutating func add(_ other: RetentionWalker) {
        for (cohort, theirs) in other.groups {
            var group = groups.removeValue(forKey: cohort) ?? empty
            group.persons += theirs.persons
            for index in rule.days.indices {
                group.eligible[index] += theirs.eligible[index]
                group.returned[index] += theirs.returned[index]
            }
            groups[cohort] = group
        }
    }

    private var empty: Group {
        let none = [Int](repeating: 0, count: rule.days.count)
        return Group(eligible: none, returned: none)
    }
}
