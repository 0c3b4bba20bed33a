/// What `code` of a session's row holds: a label of the event, its currency, and whether it fits the filter.
struct SessionCode {
    static let labelBits: UInt32 = 20
    static let currencyBits: UInt32 = 10
    private static let fits: UInt32 = 1 << 30

    static func of(label: UInt32, currency: UInt32, fits: Bool) -> UInt32 {
        label | currency << labelBits | (fits ? Self.fits : 0)
    }

    static func label(_ code: UInt32) -> UInt32 { code & (1 << labelBits - 1) }
    static func currency(_ code: UInt32) -> UInt32 { code >> labelBits & (1 << currencyBits - 1) }
    static func fits(_ code: UInt32) -> Bool { code & fits != 0 }
}

/// One visit.
package struct Session: Sendable, Equatable {
    package var person: UInt64
    package var start: Int64
    package var end: Int64
    package var events: Int
    /// Codes of labels; of events of one moment the least label is the entry and the greatest the exit.
    package var entry: UInt32
    package var exit: UInt32
    /// Millionths by code of the currency.
    package var values: [UInt32: Int128]

    package var length: Int64 { end - start }
    package var isBounce: Bool { events == 1 && length < SessionRule.bounceBelow }
}

/// The sessions that begin in a range of time, added up by day or another period of their start.
struct SessionWalker: SequenceWalker {
    struct Figures: Sendable, Equatable {
        package var sessions = 0
        package var persons = 0
        package var events = 0
        package var bounces = 0
        /// Microseconds, one a session.
        package var lengths: [Int64] = []
        package var values: [UInt32: Int128] = [:]

        mutating func add(_ session: Session) {
            sessions += 1
            events += session.events
            if session.isBounce { bounces += 1 }
            lengths.append(session.length)
            for (currency, value) in session.values { values[currency, default: 0] += value }
        }

        mutating func add(_ other: Figures) {
            sessions += other.sessions
            persons += other.persons
            events += other.events
            bounces += other.bounces
            lengths += other.lengths
            values.merge(other.values, uniquingKeysWith: +)
        }
    }

    private let rule: SessionRule
    private let range: Range<Int64>
    private let listMax: Int
    private let calendar: PeriodCalendar
    /// Whether a session says itself which events it has, by `order`; otherwise `order` is the app and gaps decide.
    private let isClients: Bool
    /// `labels.rank` of a code: the order of the texts, so that ties do not depend on arrival.
    private let ranks: [UInt32]

    private(set) var total = Figures()
    private(set) var periods: [Int32: Figures] = [:]
    private(set) var entries: [UInt32: Int] = [:]
    private(set) var exits: [UInt32: Int] = [:]
    /// The newest by start.
    private(set) var list: [Session] = []

    init(
        _ rule: SessionRule, range: Range<Int64>, calendar: PeriodCalendar, isClients: Bool, ranks: [UInt32],
        listMax: Int
    ) {
        (self.rule, self.range, self.calendar) = (rule, range, calendar)
        (self.isClients, self.ranks, self.listMax) = (isClients, ranks, listMax)
    }

    package mutating func walk(_ rows: UnsafeBufferPointer<SequenceRow>) {
        guard let first = rows.first else { return }
        var touched: Set<Int32> = []
        if rows.allSatisfy({ $0.order == first.order }) {
            take(rows, &touched)
        } else {
            for (_, group) in Dictionary(grouping: rows, by: \.order) {
                group.withUnsafeBufferPointer { take($0, &touched) }
            }
        }
        if !touched.isEmpty { total.persons += 1 }
        for period in touched { periods[period, default: Figures()].persons += 1 }
    }

    /// Rows of one app (or one client's session), by time.
    private mutating func take(_ rows: UnsafeBufferPointer<SequenceRow>, _ touched: inout Set<Int32>) {
        // Events outside any client's session make none.
        if isClients, rows.first?.order == 0 { return }
        var start = 0
        for index in 1..<max(1, rows.count)
        where !isClients && !rule.goesOn(rows[index].time, start: rows[start].time, last: rows[index - 1].time) {
            finish(UnsafeBufferPointer(rebasing: rows[start..<index]), &touched)
            start = index
        }
        finish(UnsafeBufferPointer(rebasing: rows[start...]), &touched)
    }

    private mutating func finish(_ rows: UnsafeBufferPointer<SequenceRow>, _ touched: inout Set<Int32>) {
        guard let first = rows.first, let last = rows.last, range.contains(first.time),
            rows.contains(where: { SessionCode.fits($0.code) })
        else { return }
        var session = Session(
            person: first.person, start: first.time, end: last.time, events: rows.count,
            entry: SessionCode.label(first.code), exit: SessionCode.label(last.code), values: [:])
        for row in rows {
            let label = SessionCode.label(row.code)
            if row.time == first.time, rank(label) < rank(session.entry) { session.entry = label }
            if row.time == last.time, rank(label) > rank(session.exit) { session.exit = label }
            if row.extra != .min { session.values[SessionCode.currency(row.code), default: 0] += Int128(row.extra) }
        }
        total.add(session)
        let period = calendar.period(of: session.start)
        periods[period, default: Figures()].add(session)
        touched.insert(period)
        entries[session.entry, default: 0] += 1
        exits[session.exit, default: 0] += 1
        keep(session)
    }

    private func rank(_ label: UInt32) -> UInt32 { Int(label) < ranks.count ? ranks[Int(label)] : label }

    private mutating func keep(_ session: Session) {
        guard listMax > 0 else { return }
        list.append(session)
        if list.count >= listMax * 2 + 64 { cutList() }
    }

    private mutating func cutList() {
        list.sort { ($1.start, $1.person, $1.end) < ($0.start, $0.person, $0.end) }
        list.removeLast(max(0, list.count - listMax))
    }

    package mutating func add(_ other: SessionWalker) {
        total.add(other.total)
        for (period, figures) in other.periods { periods[period, default: Figures()].add(figures) }
        entries.merge(other.entries, uniquingKeysWith: +)
        exits.merge(other.exits, uniquingKeysWith: +)
        list += other.list
        cutList()
    }
}
