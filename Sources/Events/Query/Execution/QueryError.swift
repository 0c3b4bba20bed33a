/// Why a query has no answer.
package enum QueryError: Error, Equatable, Sendable {
    case malformed(QueryParseError)
    /// Too many of this organisation's queries run already.
    case busy(limit: Int)
    case timeout(rowsScanned: Int)
    /// More groups, or more memory, than one query may take.
    case tooLarge(String)
    case cancelled
    /// The log could not be read.
    case storage

    /// The stable code, also the metric label.
    package var code: String {
        switch self {
        case .malformed: "bad_query"
        case .busy: "too_many_queries"
        case .timeout: "query_timeout"
        case .tooLarge: "query_too_large"
        case .cancelled: "query_cancelled"
        case .storage: "query_storage"
        }
    }

    package var sentence: String {
        switch self {
        case .malformed(let error): error.sentence
        case .busy(let limit): "\(limit) queries of this organisation run already; try again when one has ended."
        case .timeout(let rows): "The query took too long; \(rows) rows were read. Ask for less time or fewer groups."
        case .tooLarge(let what): "The answer takes \(what). Ask for fewer groups or less time."
        case .cancelled: "The query was given up because nobody waits for it."
        case .storage: "The event log could not be read."
        }
    }
}
