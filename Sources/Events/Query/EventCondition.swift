/// What rows a query is about: a tree of tests on columns.
///
/// Every test is true or false, never unknown: a row without a value fails all tests but `!=` and `not`, which are
/// plain negations. Texts compare by their UTF-8 bytes, case included.
package indirect enum EventCondition: Hashable, Sendable {
    case and([EventCondition])
    case or([EventCondition])
    case not(EventCondition)
    case compare(ColumnName, Comparison, QueryLiteral)
    case isIn(ColumnName, [QueryLiteral])
    case contains(ColumnName, String)
    case startsWith(ColumnName, String)
    /// The row has a text, number or truth value there.
    case exists(ColumnName)

    package enum Comparison: String, Sendable, CaseIterable {
        case equal = "="
        case notEqual = "!="
        case less = "<"
        case lessOrEqual = "<="
        case greater = ">"
        case greaterOrEqual = ">="
    }

    /// Every column that is tested.
    package var columns: Set<ColumnName> {
        switch self {
        case .and(let parts), .or(let parts): parts.reduce(into: []) { $0.formUnion($1.columns) }
        case .not(let part): part.columns
        case .compare(let column, _, _), .isIn(let column, _), .contains(let column, _), .startsWith(let column, _),
            .exists(let column):
            [column]
        }
    }

    /// Tests at the leaves of the tree.
    package var testCount: Int {
        switch self {
        case .and(let parts), .or(let parts): parts.reduce(0) { $0 + $1.testCount }
        case .not(let part): part.testCount
        case .compare, .contains, .startsWith, .exists: 1
        case .isIn(_, let literals): max(1, literals.count / 16)
        }
    }

    package var depth: Int {
        switch self {
        case .and(let parts), .or(let parts): 1 + (parts.map(\.depth).max() ?? 0)
        case .not(let part): 1 + part.depth
        case .compare, .isIn, .contains, .startsWith, .exists: 1
        }
    }
}

/// A value written in a query. A truth value is the text `true` or `false`.
package enum QueryLiteral: Hashable, Sendable {
    case text(String)
    case number(Double)
}

extension ColumnName {
    /// Fields that hold text by contract, where a number in a query means its digits.
    private static let texts: Set<String> = [
        "id", "type", "name", "ts", "ts_sent", "sent_at", "received_at", "org", "app", "position", "receipt", "outcome",
        "source_format", "trace_id", "channel", "anonymous_id", "user_id", "device_id", "session_id", "click_id",
        "order_id", "lead_id", "advertising_id", "vendor_id", "install_referrer", "referral_clicked_at",
        "install_began_at", "url", "referrer", "title", "screen", "group_id", "previous_id", "currency",
        "quarantine_reason",
    ]

    package var holdsText: Bool { ColumnName.texts.contains(path) || path.hasPrefix("campaign.") }
}

/// What bots count for.
package enum BotChoice: String, Sendable, CaseIterable {
    case include, exclude, only

    /// Outcomes of rows that are read: duplicates and quarantined rows never are.
    package var outcomes: Set<EventOutcome> {
        switch self {
        case .include: [.stored, .late, .bot]
        case .exclude: [.stored, .late]
        case .only: [.bot]
        }
    }
}
