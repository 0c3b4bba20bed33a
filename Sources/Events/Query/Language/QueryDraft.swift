internal import AurumCore

/// What is wrong with a query's text or document, where, and what should stand there. Holds nothing the caller wrote.
package struct QueryParseError: Error, Equatable, Sendable {
    package enum Place: Equatable, Sendable {
        /// Byte of the text.
        case byte(Int)
        /// Member of the document, for example `where.and[0].op`.
        case path(String)
    }

    package var place: Place
    package var expected: String

    package init(_ place: Place, _ expected: String) {
        self.place = place
        self.expected = expected
    }

    package var sentence: String {
        switch place {
        case .byte(let offset): "At byte \(offset): expected \(expected)."
        case .path(let path): "\(path.isEmpty ? "The query" : path): expected \(expected)."
        }
    }
}

/// A query as it was written: times still as text, since what they mean depends on the time zone and on now.
struct QueryDraft {
    enum Moment {
        case text(String, QueryParseError.Place)
        case milliseconds(Int64, QueryParseError.Place)
    }

    enum Range {
        case between(Moment?, Moment?)
        /// The last whole units, the current one included.
        case last(Int, TimeBucket)
        case yesterday
    }

    var query = EventQuery()
    var range: Range?
    var timezonePlace = QueryParseError.Place.path("timezone")
    var place = QueryParseError.Place.path("")

    /// The query, with times worked out and bounds checked.
    func resolved(now: Timestamp, limits: QueryLimits) throws(QueryParseError) -> EventQuery {
        var query = query
        guard let zone = ZoneClock(query.timezone) else {
            throw QueryParseError(timezonePlace, "a time zone such as \"America/New_York\" or \"UTC\"")
        }
        switch range {
        case nil: break
        case .between(let from, let to)?:
            query.from = try from.map { moment throws(QueryParseError) in try Self.moment(moment, zone) }
            query.to = try to.map { moment throws(QueryParseError) in try Self.moment(moment, zone) }
            if let from = query.from, let to = query.to, from >= to {
                throw QueryParseError(place, "a time range whose end is after its beginning")
            }
        case .last(let count, let unit)?:
            let bounds = zone.lastUnits(count, unit, now: now)
            (query.from, query.to) = (bounds.from, bounds.to)
        case .yesterday?:
            let bounds = zone.lastUnits(2, .day, now: now)
            (query.from, query.to) = (bounds.from, zone.lastUnits(1, .day, now: now).from)
        }
        try check(query, limits)
        return query
    }

    private static func moment(_ moment: Moment, _ zone: ZoneClock) throws(QueryParseError) -> Timestamp {
        switch moment {
        case .text(let text, let place):
            if let moment = Timestamp(rfc3339: text) { return moment }
            if let date = CivilDate(text) { return zone.start(ofDay: date) }
            throw QueryParseError(place, "a date such as 2026-11-21, an RFC 3339 time, or milliseconds since 1970")
        case .milliseconds(let value, let place):
            guard abs(value / 1000) < 1 << 40 else { throw QueryParseError(place, "milliseconds since 1970") }
            return Timestamp(milliseconds: value)
        }
    }

    private func check(_ query: EventQuery, _ limits: QueryLimits) throws(QueryParseError) {
        guard !query.measures.isEmpty, query.measures.count <= limits.measuresMax else {
            throw QueryParseError(place, "1 to \(limits.measuresMax) measures")
        }
        guard query.groupBy.count <= limits.groupColumnsMax else {
            throw QueryParseError(place, "at most \(limits.groupColumnsMax) columns to group by")
        }
        let names = (query.bucket == nil ? [] : ["bucket"]) + query.groupBy.map(\.path) + query.measures.map(\.name)
        guard Set(names).count == names.count else {
            throw QueryParseError(place, "every column of the answer to have a name of its own; use `as`")
        }
        for order in query.order where !names.contains(order.by) {
            throw QueryParseError(place, "`order` to name a measure, a column that is grouped by, or bucket")
        }
        guard (1...limits.rowsMax).contains(query.limit) else {
            throw QueryParseError(place, "a limit from 1 to \(limits.rowsMax)")
        }
        if let filter = query.filter {
            guard filter.depth <= limits.depthMax, filter.testCount <= limits.testsMax else {
                throw QueryParseError(
                    place, "a condition of at most \(limits.testsMax) tests, \(limits.depthMax) deep")
            }
        }
        for measure in query.measures {
            if let column = measure.kind.column, column.holdsText {
                throw QueryParseError(place, "measures of columns that hold numbers, such as value or props.x")
            }
        }
    }
}
