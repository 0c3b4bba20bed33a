internal import AurumCore

/// Events as lines of text.
struct ExportLines: Sendable {
    let format: ExportRequest.Format
    /// nil: the whole event.
    let columns: [String]?

    /// The columns of CSV unless others are asked for.
    static let usualColumns = [
        "id", "type", "name", "ts", "received_at", "app", "outcome", "channel", "anonymous_id", "user_id", "device_id",
        "session_id", "click_id", "order_id", "lead_id", "url", "referrer", "title", "screen", "campaign.id",
        "campaign.name", "campaign.source", "campaign.medium", "campaign.term", "campaign.content", "campaign.network",
        "value", "currency", "quantity", "props", "traits", "context", "trace_id", "position",
    ]

    init(_ request: ExportRequest) {
        format = request.format
        columns = request.columns ?? (request.format == .csv ? Self.usualColumns : nil)
    }

    /// What the file begins with.
    var header: String {
        guard format == .csv, let columns else { return "" }
        return columns.map { Self.cell($0) }.joined(separator: ",") + "\r\n"
    }

    func line(_ event: StoredEvent) -> String {
        guard let columns else { return event.json.canonical + "\n" }
        let json = event.json
        return line(columns.map { Self.value($0, json) })
    }

    /// One value a column.
    private func line(_ values: [JSONValue?]) -> String {
        switch format {
        case .csv:
            return values.map { value in
                switch value {
                case nil, .null?: ""
                case .string(let text)?: Self.cell(text)
                case .some(let value): Self.quoted(value.canonical)
                }
            }.joined(separator: ",") + "\r\n"
        case .ndjson:
            var members: [String: JSONValue] = [:]
            for (name, value) in zip(columns ?? [], values) { if let value { members[name] = value } }
            return JSONValue.object(members).canonical + "\n"
        }
    }

    /// The value under a path with dots, or under its first name as a whole.
    private static func value(_ path: String, _ event: JSONValue) -> JSONValue? {
        var place: JSONValue? = event
        for name in path.split(separator: ".", omittingEmptySubsequences: false) { place = place?[String(name)] }
        return place
    }

    /// A text as a cell. What a spreadsheet would take for a formula gets an apostrophe before it, unless it is a
    /// plain number. Source: OWASP, "CSV Injection".
    static func cell(_ text: String) -> String {
        let isFormula = text.utf8.first.map { "=+-@\t\r\n".utf8.contains($0) } ?? false
        return quoted(isFormula && !isNumber(text) ? "'" + text : text)
    }

    private static func quoted(_ text: String) -> String {
        guard text.utf8.contains(where: { ",\"\r\n".utf8.contains($0) }) else { return text }
        return "\"" + text.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
    }

    /// Digits with one sign before and one point between.
    private static func isNumber(_ text: String) -> Bool {
        let digits = text.utf8.dropFirst(text.utf8.first == UInt8(ascii: "-") ? 1 : 0)
        let parts = digits.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        return (1...2).contains(parts.count)
            && parts.allSatisfy { !$0.isEmpty && $0.allSatisfy { (48...57).contains($0) } }
    }
}
