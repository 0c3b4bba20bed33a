/// A query made ready to run for one organisation: what has to be kept of each group, each thing once.
struct QueryPlan: Sendable {
    struct Numbers: Hashable, Sendable {
        var column: ColumnName
        var hasSketch: Bool
    }

    let query: EventQuery
    let filter: RowFilter
    let zone: ZoneClock?
    let uniques: [QueryMeasure.UniqueThing]
    let numbers: [Numbers]
    let hasMoney: Bool
    let hasMoneySketch: Bool
    /// What a kept partial answer answers.
    let key: Key

    /// All of a query but its time range and what happens after aggregation.
    struct Key: Hashable, Sendable {
        var org: String
        var apps: Set<String>
        var filter: EventCondition?
        var outcomes: UInt8
        var groupBy: [ColumnName]
        var bucket: TimeBucket?
        var timezone: String?
        var uniques: [QueryMeasure.UniqueThing]
        var numbers: [Numbers]
        var hasMoney: Bool
        var hasMoneySketch: Bool
        var replayed: Int
        var receivedUntil: Int64
    }

    init(_ query: EventQuery, org: String, replayed: ReplayedRows = .none) {
        self.query = query
        var filter = query.rowFilter(org: org)
        filter.replayed = replayed
        self.filter = filter
        zone = query.bucket == nil ? nil : ZoneClock(query.timezone)
        var uniques: [QueryMeasure.UniqueThing] = []
        var numbers: [Numbers] = []
        var (hasMoney, hasMoneySketch) = (false, false)
        for measure in query.measures {
            if case .unique(let thing) = measure.kind, !uniques.contains(thing) { uniques.append(thing) }
            guard let column = measure.kind.column else { continue }
            var hasSketch = false
            if case .quantile = measure.kind { hasSketch = true }
            if measure.kind.isMoney {
                hasMoney = true
                hasMoneySketch = hasMoneySketch || hasSketch
            } else if let known = numbers.firstIndex(where: { $0.column == column }) {
                numbers[known].hasSketch = numbers[known].hasSketch || hasSketch
            } else {
                numbers.append(Numbers(column: column, hasSketch: hasSketch))
            }
        }
        (self.uniques, self.numbers) = (uniques, numbers)
        (self.hasMoney, self.hasMoneySketch) = (hasMoney, hasMoneySketch)
        key = Key(
            org: org, apps: Set(query.apps), filter: query.filter, outcomes: filter.outcomes, groupBy: query.groupBy,
            bucket: query.bucket, timezone: query.bucket == nil ? nil : query.timezone, uniques: uniques,
            numbers: numbers, hasMoney: hasMoney, hasMoneySketch: hasMoneySketch,
            replayed: replayed.version, receivedUntil: filter.receivedUntil)
    }
}
