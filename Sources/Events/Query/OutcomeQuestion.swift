package import AurumCore

/// The question how many events had which outcome: a query over everything that was received, bots and refused events
/// among it.
package enum OutcomeQuestion {
    /// By what the outcomes may be told apart further.
    package enum Group: String, CaseIterable, Sendable {
        case reason, app, format, type

        var column: String {
            switch self {
            case .reason: "quarantine_reason"
            case .format: "source_format"
            case .app, .type: rawValue
            }
        }

        package static let names = "reason, app, format or type"
    }

    /// The document of the query.
    /// - Parameters:
    ///   - range: `last`, `from` and `to` as queries take them; everything when none is there.
    ///   - app: one app; all when nil.
    package static func document(by group: Group?, range: [String: String?], app: String?) -> JSONValue {
        var columns: [JSONValue] = ["outcome"]
        if let group { columns.append(.string(group.column)) }
        var document: [String: JSONValue] = [
            "measures": ["count"], "group_by": .array(columns),
            "bots": "include", "order": ["count desc"],
            "outcomes": .array(EventOutcome.allCases.map { .string($0.name) }), "limit": 10_000,
        ]
        for (name, text) in range { if let text { document[name] = .string(text) } }
        if let app { document["apps"] = [.string(app)] }
        return .object(document)
    }
}
