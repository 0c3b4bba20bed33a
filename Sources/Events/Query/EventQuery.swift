package import AurumCore

/// One question about events: which rows, what is counted of them, and how the answer is grouped.
///
/// The organisation is no part of it: whoever runs a query gives that from the key that asks.
package struct EventQuery: Hashable, Sendable {
    /// `from` ≤ time < `to`; nil for no bound.
    package var from: Timestamp?
    package var to: Timestamp?
    /// A name of the IANA database. Buckets and dates are meant there.
    package var timezone = "UTC"
    /// Empty means all.
    package var apps: [String] = []
    package var filter: EventCondition?
    package var measures: [QueryMeasure] = [QueryMeasure(.count)]
    package var groupBy: [ColumnName] = []
    package var bucket: TimeBucket?
    package var bots = BotChoice.exclude
    /// Which rows count, if other than `bots` says.
    package var outcomes: Set<EventOutcome>?
    /// Only what had come in by this moment, whenever it happened; nil for no bound. No part of the query's text.
    package var receivedUntil: Timestamp?
    package var order: [QueryOrder] = []
    package var limit = 1000

    package init() {}

    package func rowFilter(org: String) -> RowFilter {
        var known = RowFilter(filter, org: org, apps: apps, from: from, to: to, bots: bots, outcomes: outcomes)
        known.receivedUntil = receivedUntil?.microseconds ?? .max
        return known
    }
}

/// How long a bucket of time is. Days, weeks and months are those of the query's time zone.
package enum TimeBucket: String, Sendable, CaseIterable {
    case minute, hour, day, week, month
}

/// What is worked out of the rows of a group.
package struct QueryMeasure: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
        case count
        case unique(UniqueThing)
        case sum(ColumnName)
        case average(ColumnName)
        case least(ColumnName)
        case greatest(ColumnName)
        /// The value that a share of 0…1 of the rows does not exceed, within 1 %.
        case quantile(Double, ColumnName)
    }

    package enum UniqueThing: String, Sendable, CaseIterable {
        /// Persons after merges.
        case person
        /// Sessions as the sender names them.
        case session
        /// Persons before merges.
        case identifier
    }

    package var kind: Kind
    package var label: String?

    package init(_ kind: Kind, label: String? = nil) {
        self.kind = kind
        self.label = label
    }

    /// The name of the column in the answer.
    package var name: String { label ?? kind.text }
}

extension QueryMeasure.Kind {
    /// As it is written in a query.
    package var text: String {
        switch self {
        case .count: "count"
        case .unique(let thing): "unique(\(thing.rawValue))"
        case .sum(let column): "sum(\(column.path))"
        case .average(let column): "avg(\(column.path))"
        case .least(let column): "min(\(column.path))"
        case .greatest(let column): "max(\(column.path))"
        case .quantile(let share, let column): "quantile(\(JSONValue.number(share).canonical), \(column.path))"
        }
    }

    /// The column that numbers are taken from.
    package var column: ColumnName? {
        switch self {
        case .count, .unique: nil
        case .sum(let column), .average(let column), .least(let column), .greatest(let column),
            .quantile(_, let column):
            column
        }
    }

    /// Whether the answer is money: `value` has a currency.
    package var isMoney: Bool { column == .value }
}

extension ColumnName {
    package static let value = ColumnName("value")
}

package struct QueryOrder: Hashable, Sendable {
    /// A measure's name, a column of `groupBy`, or `bucket`.
    package var by: String
    package var isDescending: Bool

    package init(_ by: String, isDescending: Bool = false) {
        self.by = by
        self.isDescending = isDescending
    }
}

/// Bounds of queries. What happens at each is tested.
package struct QueryLimits: Sendable, Equatable {
    package var measuresMax = 16
    package var groupColumnsMax = 4
    package var testsMax = 256
    package var depthMax = 32
    package var listMax = 10_000
    package var rowsMax = 10_000
    package var textBytesMax = 16 << 10
    /// Groups of one answer before its limit is applied.
    package var groupsMax = 1_000_000
    /// What exact distinct counts may take of memory before they become estimates.
    package var memoryBytesMax = 512 << 20
    /// Partial answers that are kept for the next query.
    package var keptBytesMax = 64 << 20
    package var duration = Duration.seconds(10)
    package var concurrentPerOrganisation = 4
    package var concurrent = 32
    /// Queries at least this long are logged.
    package var slow = Duration.seconds(1)
    /// Threads of one query; 0 means as many as there are cores.
    package var threads = 0

    package init() {}
}
