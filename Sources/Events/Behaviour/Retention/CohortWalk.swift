/// What persons did in the periods after their first event, by the period of that event.
package struct CohortWalker: SequenceWalker {
    package struct Cell: Sendable, Equatable {
        package var persons = 0
        package var count = 0
        /// Millionths by code of the currency.
        package var values: [UInt32: Int128] = [:]

        mutating func add(_ other: Cell) {
            persons += other.persons
            count += other.count
            values.merge(other.values, uniquingKeysWith: +)
        }
    }

    package struct Cohort: Sendable, Equatable {
        package var persons = 0
        /// By periods since the first event, 0 being its own.
        package var later: [Int32: Cell] = [:]
    }

    /// Bits of `code`; the code of the currency stands above them.
    package static let first: UInt32 = 1
    package static let later: UInt32 = 2
    package static let currencyShift: UInt32 = 2

    private let range: Range<Int64>
    private let calendar: PeriodCalendar
    package private(set) var cohorts: [Int32: Cohort] = [:]

    /// - Parameter range: of first events.
    package init(range: Range<Int64>, calendar: PeriodCalendar) {
        (self.range, self.calendar) = (range, calendar)
    }

    package mutating func walk(_ rows: UnsafeBufferPointer<SequenceRow>) {
        guard let begin = rows.firstIndex(where: { $0.code & Self.first != 0 && range.contains($0.time) }) else {
            return
        }
        let own = calendar.period(of: rows[begin].time)
        cohorts[own, default: Cohort()].persons += 1
        // Rows come by time: a person's events of one period stand together.
        var cell = Cell()
        var open: Int32?
        for row in rows[begin...] where row.code & Self.later != 0 {
            let after = calendar.period(of: row.time) - own
            if let period = open, period != after {
                cohorts[own, default: Cohort()].later[period, default: Cell()].add(cell)
                cell = Cell()
            }
            open = after
            cell.persons = 1
            cell.count += 1
            if row.extra != .min { cell.values[row.code >> Self.currencyShift, default: 0] += Int128(row.extra) }
        }
        if let open { cohorts[own, default: Cohort()].later[open, default: Cell()].add(cell) }
    }

    package mutating func add(_ other: CohortWalker) {
        for (period, theirs) in other.cohorts {
            var cohort = cohorts.removeValue(forKey: period) ?? Cohort()
            cohort.persons += theirs.persons
            for (after, cell) in theirs.later { cohort.later[after, default: Cell()].add(cell) }
            cohorts[period] = cohort
        }
    }
}
