internal import AurumCore

/// `POST /v1/query/retention`: how many persons come back on the days after their first event.
struct RetentionQuestion: Sendable {
    private let scope: BehaviourScope
    private let first: EventCondition?
    private let comeBack: EventCondition?
    private let mode: RetentionMode
    private let days: [Int32]
    private let cohorts: Period

    private static let day: Int64 = 86_400_000_000

    init(_ body: BehaviourBody, org: String, now: Timestamp) {
        scope = BehaviourScope(body, org: org, now: now)
        first = body.condition("first")
        comeBack = body.condition("return")
        mode = body.choice("mode", standard: RetentionMode.classic)
        days = body.integers("days", 1...RetentionRule.daysMax, max: 60, standard: RetentionRule.standardDays)
        cohorts = body.choice("by", standard: Period.day)
    }

    func answer(_ desk: BehaviourDesk) throws -> [String: JSONValue] {
        // Two days more than the last: local days are longer than 24 hours at times.
        let horizon =
            mode == .unbounded
            ? Int64.max : saturating(scope.range.upperBound, (Int64(days.last ?? 0) + 2) * Self.day)
        let plan = SequencePlan(
            marks: [
                .init(filter: scope.filter(first), bit: RetentionRule.first),
                .init(filter: scope.filter(comeBack, to: horizon), bit: RetentionRule.comeBack),
            ], org: scope.org)
        let rule = RetentionRule(
            mode: mode, days: days, range: scope.range, asOf: scope.now.microseconds, calendar: scope.calendar(.day))
        let calendar = scope.calendar(cohorts)
        let (walker, stats) = try desk.walk(plan) { RetentionWalker(rule, cohorts: calendar) }
        let none = [Int](repeating: 0, count: days.count)
        let total = walker.groups.values.reduce(into: RetentionWalker.Group(eligible: none, returned: none)) {
            $0.persons += $1.persons
            for index in days.indices {
                $0.eligible[index] += $1.eligible[index]
                $0.returned[index] += $1.returned[index]
            }
        }
        let answer: [String: JSONValue] = [
            "mode": .string(mode.rawValue), "by": .string(cohorts.rawValue),
            "persons": .integer(Int64(total.persons)), "days": rows(total),
            "cohorts": .array(
                walker.groups.sorted { $0.key < $1.key }.map { period, group in
                    [
                        "start": .string(calendar.name(of: period)), "persons": .integer(Int64(group.persons)),
                        "days": rows(group),
                    ]
                }),
        ]
        return answer.merging(desk.facts(stats, scope)) { $1 }
    }

    private func rows(_ group: RetentionWalker.Group) -> JSONValue {
        .array(
            days.enumerated().map { index, day in
                [
                    "day": .integer(Int64(day)), "eligible": .integer(Int64(group.eligible[index])),
                    "returned": .integer(Int64(group.returned[index])),
                    "rate": Figure.share(group.returned[index], of: group.eligible[index]),
                    "mature": .bool(group.eligible[index] == group.persons),
                ]
            })
    }
}

/// `POST /v1/query/cohorts`: what persons do in the periods after their first event.
struct CohortQuestion: Sendable {
    private let scope: BehaviourScope
    private let first: EventCondition?
    private let later: EventCondition?
    private let period: Period

    init(_ body: BehaviourBody, org: String, now: Timestamp) {
        scope = BehaviourScope(body, org: org, now: now)
        first = body.condition("first")
        later = body.condition("event")
        period = body.choice("period", standard: Period.week)
    }

    func answer(_ desk: BehaviourDesk) throws -> [String: JSONValue] {
        var plan = SequencePlan(
            marks: [
                .init(filter: scope.filter(first), bit: CohortWalker.first),
                .init(filter: scope.filter(later), bit: CohortWalker.later),
            ], org: scope.org)
        plan.extra = .value
        plan.currencyShift = CohortWalker.currencyShift
        let (range, calendar) = (scope.range, scope.calendar(period))
        let (walker, stats) = try desk.walk(plan) { CohortWalker(range: range, calendar: calendar) }
        let currencies = plan.currencies
        let answer: [String: JSONValue] = [
            "period": .string(period.rawValue),
            "persons": .integer(Int64(walker.cohorts.values.reduce(0) { $0 + $1.persons })),
            "cohorts": .array(
                walker.cohorts.sorted { $0.key < $1.key }.map { number, cohort in
                    [
                        "start": .string(calendar.name(of: number)), "persons": .integer(Int64(cohort.persons)),
                        "periods": .array(
                            cohort.later.sorted { $0.key < $1.key }.map { after, cell in
                                [
                                    "after": .integer(Int64(after)), "persons": .integer(Int64(cell.persons)),
                                    "count": .integer(Int64(cell.count)),
                                    "share": Figure.share(cell.persons, of: cohort.persons),
                                    "value": Figure.money(cell.values, currencies),
                                ]
                            }),
                    ]
                }),
        ]
        return answer.merging(desk.facts(stats, scope)) { $1 }
    }
}
