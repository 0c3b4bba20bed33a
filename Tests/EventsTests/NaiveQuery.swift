internal import AurumCore
internal import Events
internal import Foundation

/// A query answered in the plainest way: every row looked at, every value kept.
struct NaiveQuery {
    let query: EventQuery
    let org: String
    /// Persons after merges.
    let person: (UInt64) -> UInt64

    struct Cell {
        var count = 0
        var keys: [QueryMeasure.UniqueThing: Set<String>] = [:]
        var numbers: [ColumnName: [Double]] = [:]
        var money: [String: [Int64]] = [:]
    }

    /// The cells by the text of bucket and groups.
    func cells(_ rows: [QueryEvents.Row]) -> [[String?]: Cell] {
        var cells: [[String?]: Cell] = [:]
        if query.bucket == nil, query.groupBy.isEmpty { cells[[]] = Cell() }
        let calendar = NaiveCalendar(query.timezone)
        for row in rows where holds(row) {
            var key: [String?] = query.bucket.map { [calendar.label($0, row.time)] } ?? []
            key += query.groupBy.map { row.text($0) }
            cells[key, default: Cell()].add(row, query.measures, person)
        }
        return cells
    }

    private func holds(_ row: QueryEvents.Row) -> Bool {
        row.org == org && (query.apps.isEmpty || query.apps.contains(row.app))
            && (query.outcomes ?? query.bots.outcomes).contains(row.outcome)
            && row.time >= query.from?.microseconds ?? .min && row.time < query.to?.microseconds ?? .max
            && query.filter.map { NaiveCondition(condition: $0).holds(row) } ?? true
    }
}

extension NaiveQuery.Cell {
    mutating func add(_ row: QueryEvents.Row, _ measures: [QueryMeasure], _ person: (UInt64) -> UInt64) {
        count += 1
        if let identifier = row.event?.personIdentifier {
            let key = QueryEvents.personKey(row.org, identifier)
            keys[.person, default: []].insert("\(person(key))")
            keys[.identifier, default: []].insert("\(key)")
        }
        if let session = row.event?.sessionID { keys[.session, default: []].insert(session) }
        for column in Set(measures.compactMap(\.kind.column)) where column != .value {
            if let number = row.number(column) { numbers[column, default: []].append(number) }
        }
        if let value = row.event?.value, let currency = row.event?.currency {
            money[currency, default: []].append(value.value)
        }
    }

    /// Whether a value of an answer is what this cell says: exactly, but for quantiles and the last bits of sums.
    func fits(_ value: QueryValue, _ kind: QueryMeasure.Kind) -> Bool {
        switch (kind, value) {
        case (.count, .integer(let found)): return found == Int64(count)
        case (.unique(let thing), .integer(let found)): return found == Int64(keys[thing]?.count ?? 0)
        case (_, .money(let amounts)):
            guard amounts.map(\.currency) == money.keys.sorted() else { return false }
            return amounts.allSatisfy { fits($0.millionths, kind, (money[$0.currency] ?? []).sorted()) }
        case (_, .null): return kind.column.flatMap { numbers[$0] } == nil
        case (_, .number(let found)):
            guard let values = kind.column.flatMap({ numbers[$0] })?.sorted(), !values.isEmpty else { return false }
            let sum = values.reduce(0, +)
            switch kind {
            case .sum: return close(found, sum, 1e-12)
            case .average: return close(found, sum / Double(values.count), 1e-12)
            case .least: return found == values.first
            case .greatest: return found == values.last
            case .quantile(let share, _): return close(found, values[rank(share, values.count)], 0.0101)
            case .count, .unique: return false
            }
        default: return false
        }
    }

    private func fits(_ found: Int128, _ kind: QueryMeasure.Kind, _ values: [Int64]) -> Bool {
        let sum = values.reduce(Int128(0)) { $0 + Int128($1) }
        switch kind {
        case .sum: return found == sum
        case .average: return abs(Double(found) - Double(sum) / Double(values.count)) <= 0.500001
        case .least: return found == values.first.map { Int128($0) }
        case .greatest: return found == values.last.map { Int128($0) }
        case .quantile(let share, _):
            return abs(Double(found) - Double(values[rank(share, values.count)]))
                <= abs(Double(values[rank(share, values.count)])) * 0.0101 + 1
        case .count, .unique: return false
        }
    }

    private func rank(_ share: Double, _ count: Int) -> Int { Int((share * Double(count - 1)).rounded(.down)) }

    private func close(_ one: Double, _ other: Double, _ share: Double) -> Bool {
        abs(one - other) <= max(abs(other) * share, 1e-9)
    }
}

/// Buckets as Foundation's calendar knows them.
struct NaiveCalendar {
    private var calendar = Calendar(identifier: .iso8601)

    init(_ zone: String) { calendar.timeZone = TimeZone(identifier: zone) ?? .gmt }

    func label(_ bucket: TimeBucket, _ microseconds: Int64) -> String {
        let seconds = Double((Double(microseconds) / 1_000_000).rounded(.down))
        var date = Date(timeIntervalSince1970: seconds)
        let offset = calendar.timeZone.secondsFromGMT(for: date)
        if bucket == .week, let week = calendar.dateInterval(of: .weekOfYear, for: date) { date = week.start }
        let parts = calendar.dateComponents([.year, .month, .day, .hour, .minute], from: date)
        func two(_ number: Int?) -> String { String(format: "%02d", number ?? 0) }
        let month = "\(String(format: "%04d", parts.year ?? 0))-\(two(parts.month))"
        switch bucket {
        case .month: return month + "-01"
        case .day, .week: return month + "-" + two(parts.day)
        case .hour, .minute:
            let minute = bucket == .hour ? "00" : two(parts.minute)
            let zone =
                offset == 0
                ? "Z" : (offset < 0 ? "-" : "+") + two(abs(offset) / 3600) + ":" + two(abs(offset) / 60 % 60)
            return "\(month)-\(two(parts.day))T\(two(parts.hour)):\(minute):00\(zone)"
        }
    }
}

/// Queries out of a seed: every measure, group, bucket and zone.
struct RandomQuery {
    static let zones = [
        "UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns",
    ]
    static let groups = [
        "type", "name", "channel", "app", "outcome", "campaign.source", "campaign.id", "props.plan", "props.mixed",
        "props.deep.er", "context.os", "mine", "missing", "source_format", "quantity", "url",
    ]
    static let numbers = ["value", "value", "props.n", "props.ms", "props.mixed", "quantity", "missing"]

    static func make(_ random: inout SeededRandom) -> EventQuery {
        var query = EventQuery()
        let seconds: [Int64] = [1_750_100_000, 1_762_003_200, 1_762_200_000, 1_772_950_000, 1_773_100_000]
        let times: [Timestamp?] = [nil, nil] + seconds.map { Timestamp(microseconds: $0 * 1_000_000) }
        (query.from, query.to) = (random.pick(times), random.pick(times))
        if let from = query.from, let to = query.to, from >= to { query.to = nil }
        query.timezone = random.pick(zones)
        query.apps = random.pick([[], [], ["shop"], ["blog", "app"]])
        query.filter = random.chance(3) ? nil : RandomCondition.make(&random)
        query.groupBy = []
        for _ in 0..<random.below(5) {
            let column = ColumnName(random.pick(groups))
            if !query.groupBy.contains(column) { query.groupBy.append(column) }
        }
        query.bucket = random.chance(2) ? random.pick(TimeBucket.allCases) : nil
        query.bots = random.pick(BotChoice.allCases)
        query.outcomes = random.chance(5) ? Set([.stored, random.pick(EventOutcome.allCases)]) : nil
        query.measures = []
        for _ in 0...random.below(5) {
            let measure = QueryMeasure(kind(&random))
            if !query.measures.contains(measure) { query.measures.append(measure) }
        }
        query.limit = 10_000
        if random.chance(2) {
            let by = random.pick(query.measures.map(\.name) + query.groupBy.map(\.path))
            query.order = [QueryOrder(by, isDescending: random.chance(2))]
        }
        return query
    }

    private static func kind(_ random: inout SeededRandom) -> QueryMeasure.Kind {
        let column = ColumnName(random.pick(numbers))
        switch random.below(7) {
        case 0: return .count
        case 1: return .unique(random.pick(QueryMeasure.UniqueThing.allCases))
        case 2: return .sum(column)
        case 3: return .average(column)
        case 4: return .least(column)
        case 5: return .greatest(column)
        default: return .quantile(Double(random.below(101)) / 100, column)
        }
    }
}
