/// When a visit ends. Only times decide, so the order in which events arrived changes nothing.
package struct SessionRule: Sendable, Hashable {
    /// The next event later than this begins another session, microseconds.
    package var gap: Int64
    /// The sender's `session_id` says which events belong together; gaps decide nothing.
    package var isClients = false
    /// A session lasts no longer, microseconds.
    package static let lengthMax: Int64 = 86_400_000_000
    package static let gapMinutes = 1...240
    /// One event that lasted less is a bounce, microseconds.
    package static let bounceBelow: Int64 = 10_000_000

    private static let minute: Int64 = 60_000_000

    package init(gapMinutes: Int = 30, isClients: Bool = false) {
        (gap, self.isClients) = (Int64(gapMinutes) * Self.minute, isClients)
    }

    package var gapMinutes: Int { Int(gap / Self.minute) }

    /// Whether an event goes on with the session that began at `start` and was last seen at `last`.
    @inline(__always)
    func goesOn(_ time: Int64, start: Int64, last: Int64) -> Bool {
        time - last <= gap && time - start <= Self.lengthMax
    }

    /// The sessions of one person in one app, as ranges of its events.
    ///
    /// - Parameter times: of all its events, ascending.
    package func sessions(_ times: [Int64]) -> [Range<Int>] {
        guard var start = times.indices.first else { return [] }
        var found: [Range<Int>] = []
        for index in times.indices.dropFirst()
        where !goesOn(times[index], start: times[start], last: times[index - 1]) {
            found.append(start..<index)
            start = index
        }
        found.append(start..<times.count)
        return found
    }
}

/// One event as far as sessions look at it.
package struct SessionRow: Sendable, Equatable {
    package var person: UInt64
    /// Any number that tells the apps of the query apart.
    package var app: UInt32
    package var time: Int64

    package init(person: UInt64, app: UInt32, time: Int64) {
        (self.person, self.app, self.time) = (person, app, time)
    }
}

extension SessionRule {
    /// The number of the session of each row: rows of one session have one number, from 0 up. Rows may come in any
    /// order, and the sessions are the same in every order.
    package func assign(_ rows: [SessionRow]) -> (sessions: [UInt32], count: Int) {
        let order = rows.indices.sorted { left, right in
            let (one, other) = (rows[left], rows[right])
            return (one.person, one.app, one.time) < (other.person, other.app, other.time)
        }
        var sessions = [UInt32](repeating: 0, count: rows.count)
        var count = 0
        var start: Int64 = 0
        var last: SessionRow?
        for index in order {
            let row = rows[index]
            let isSame = last.map {
                $0.person == row.person && $0.app == row.app && goesOn(row.time, start: start, last: $0.time)
            }
            if isSame != true {
                count += 1
                start = row.time
            }
            sessions[index] = UInt32(count - 1)
            last = row
        }
        return (sessions, count)
    }

    /// How many sessions the rows where `counts` is true belong to; the other rows only hold sessions together.
    package func count(_ rows: [SessionRow], where counts: (Int) -> Bool = { _ in true }) -> Int {
        let (sessions, count) = assign(rows)
        var seen = [Bool](repeating: false, count: count)
        var total = 0
        for index in rows.indices where counts(index) && !seen[Int(sessions[index])] {
            seen[Int(sessions[index])] = true
            total += 1
        }
        return total
    }
}
