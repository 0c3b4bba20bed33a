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
        var sessions = 0
        var persons = 0
        var events = 0
        var bounces = 0
        /// Microseconds, one a session.
        var lengths: [Int64] = []
        /// Millionths by code of the currency; nil where no event had that currency.
        var values: [Int128?] = []

        mutating func add(_ value: Int64, _ currency: UInt32) {
            while values.count <= Int(currency) { values.append(nil) }
            values[Int(currency)] = (values[Int(currency)] ?? 0) + Int128(value)
        }

        mutating func add(_ other: Figures) {
            sessions += other.sessions
            persons += other.persons
            events += other.events
            bounces += other.bounces
            lengths += other.lengths
            while values.count < other.values.count { values.append(nil) }
            for (code, value) in other.values.enumerated() {
                if let value { values[code] = (values[code] ?? 0) + value }
            }
        }
    }

    /// Figures that know whom they counted last: persons come one after another.
    private struct Tally {
        var figures = Figures()
        var person: UInt64?
    }

    private let range: Range<Int64>
    private let listMax: Int
    private let calendar: PeriodCalendar
    /// The order of the labels' texts by code, so that ties do not depend on arrival.
    private let ranks: [UInt32]

    private var persons = 0
    private var places: [Int32: Int] = [:]
    private var tallies: [Tally] = []
    /// Sessions by label of their first event, and of their last.
    private(set) var entries: [Int]
    private(set) var exits: [Int]
    /// The newest by start.
    private(set) var list: [Session] = []

    init(
        range: Range<Int64>, calendar: PeriodCalendar, ranks: [UInt32], listMax: Int
    ) {
        (self.range, self.calendar, self.ranks, self.listMax) = (range, calendar, ranks, listMax)
        // One place more for labels that were too many to be told apart.
        entries = [Int](repeating: 0, count: ranks.count + 1)
        exits = entries
    }

    var periods: [Int32: Figures] { places.mapValues { tallies[$0].figures } }

    var total: Figures {
        var total = tallies.reduce(into: Figures()) { $0.add($1.figures) }
        total.persons = persons
        return total
    }

    mutating func walk(_ rows: UnsafeBufferPointer<SequenceRow>) {
        guard let first = rows.first else { return }
        var found = 0
        if rows.allSatisfy({ $0.order == first.order }) {
            found = take(rows)
        } else {
            for (_, group) in Dictionary(grouping: rows, by: \.order) {
                found += group.withUnsafeBufferPointer { take($0) }
            }
        }
        if found > 0 { persons += 1 }
    }

    /// Rows of one app (or one client's session), by time; how many sessions they make.
    private mutating func take(_ rows: UnsafeBufferPointer<SequenceRow>) -> Int {
        let order = rows.first?.order ?? 0
        let rule = SessionRule(order: order)
        // Events outside any client's session make none.
        if rule.isClients, SessionRule.code(order: order) == 0 { return 0 }
        var start = 0
        var found = 0
        for index in 1..<max(1, rows.count)
        where !rule.isClients && !rule.goesOn(rows[index].time, start: rows[start].time, last: rows[index - 1].time) {
            found += finish(UnsafeBufferPointer(rebasing: rows[start..<index]))
            start = index
        }
        return found + finish(UnsafeBufferPointer(rebasing: rows[start...]))
    }

    private mutating func finish(_ rows: UnsafeBufferPointer<SequenceRow>) -> Int {
        guard let first = rows.first, let last = rows.last, range.contains(first.time),
            rows.contains(where: { SessionCode.fits($0.code) })
        else { return 0 }
        let place = place(of: calendar.period(of: first.time))
        if tallies[place].person != first.person {
            tallies[place].person = first.person
            tallies[place].figures.persons += 1
        }
        var (entry, exit) = (SessionCode.label(first.code), SessionCode.label(last.code))
        for row in rows {
            let label = SessionCode.label(row.code)
            if row.time == first.time, rank(label) < rank(entry) { entry = label }
            if row.time == last.time, rank(label) > rank(exit) { exit = label }
            if row.extra != .min { tallies[place].figures.add(row.extra, SessionCode.currency(row.code)) }
        }
        let session = Session(
            person: first.person, start: first.time, end: last.time, events: rows.count, entry: entry, exit: exit,
            values: listMax > 0 ? Self.values(rows) : [:])
        tallies[place].figures.sessions += 1
        tallies[place].figures.events += rows.count
        tallies[place].figures.lengths.append(session.length)
        if session.isBounce { tallies[place].figures.bounces += 1 }
        entries[min(Int(entry), entries.count - 1)] += 1
        exits[min(Int(exit), exits.count - 1)] += 1
        if listMax > 0 { keep(session) }
        return 1
    }

    private mutating func place(of period: Int32) -> Int {
        if let known = places[period] { return known }
        places[period] = tallies.count
        tallies.append(Tally())
        return tallies.count - 1
    }

    private func rank(_ label: UInt32) -> UInt32 { Int(label) < ranks.count ? ranks[Int(label)] : label }

    private static func values(_ rows: UnsafeBufferPointer<SequenceRow>) -> [UInt32: Int128] {
        var values: [UInt32: Int128] = [:]
        for row in rows where row.extra != .min {
            values[SessionCode.currency(row.code), default: 0] += Int128(row.extra)
        }
        return values
    }

    private mutating func keep(_ session: Session) {
        list.append(session)
        if list.count >= listMax * 2 + 64 { cutList() }
    }

    private mutating func cutList() {
        list.sort { ($1.start, $1.person, $1.end) < ($0.start, $0.person, $0.end) }
        list.removeLast(max(0, list.count - listMax))
    }

    mutating func add(_ other: SessionWalker) {
        persons += other.persons
        for (period, figures) in other.periods { tallies[place(of: period)].figures.add(figures) }
        entries = Self.sum(entries, other.entries)
        exits = Self.sum(exits, other.exits)
        list += other.list
        cutList()
    }

    /// Walkers of a later pass may know more labels.
    private static func sum(_ one: [Int], _ other: [Int]) -> [Int] {
        (0..<max(one.count, other.count)).map { ($0 < one.count ? one[$0] : 0) + ($0 < other.count ? other[$0] : 0) }
    }
}
