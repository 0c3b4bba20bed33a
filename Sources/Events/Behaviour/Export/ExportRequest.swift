package import AurumCore
package import Database
internal import Foundation

/// Which targets an export may have besides the download.
package struct ExportTargets: Sendable {
    /// A folder for copies is set.
    package var hasDirectory = false
    /// Files are posted to addresses.
    package var hasHooks = false
    /// Addresses of this machine may be posted to without TLS.
    package var allowsLoopback = false
    /// The request was checked when it was made, and its secret stands elsewhere.
    private(set) var isStored = false

    package init(hasDirectory: Bool = false, hasHooks: Bool = false, allowsLoopback: Bool = false) {
        (self.hasDirectory, self.hasHooks, self.allowsLoopback) = (hasDirectory, hasHooks, allowsLoopback)
    }

    /// The same for a request whose secret stands elsewhere.
    var forStored: ExportTargets {
        var targets = self
        targets.isStored = true
        return targets
    }

    /// For requests that were made before.
    static let stored = ExportTargets(hasDirectory: true, hasHooks: true, allowsLoopback: true).forStored
}

/// What an export holds and how it is written.
package struct ExportRequest: Sendable {
    package enum Format: String, Sendable, CaseIterable { case ndjson, csv }
    package enum Compression: String, Sendable, CaseIterable { case gzip, zstd, none }
    package enum Target: String, Sendable, CaseIterable { case download, directory, webhook }
    /// Whose events are in it: of those who do not refuse advertising, or of all.
    package enum Consent: String, Sendable, CaseIterable { case ads, any }

    package let format: Format
    package let compression: Compression
    package let target: Target
    package let consent: Consent
    /// nil: all of an event as NDJSON, the usual columns as CSV.
    package let columns: [String]?
    /// The body of a query whose answer is exported; nil for the events themselves.
    package let query: JSONValue?
    /// Of the target `webhook`.
    package let url: String?
    /// What posts are signed with; in no answer, and nil in a request that was made before.
    let secret: String?
    let scope: BehaviourScope
    /// The `where` member as it came.
    private let condition: JSONValue?

    static let columnsMax = 200

    package init(_ json: JSONValue, org: String, now: Timestamp, targets: ExportTargets) throws(BehaviourError) {
        let body = try BehaviourBody(json)
        format = body.choice("format", standard: .ndjson)
        compression = body.choice("compression", standard: .gzip)
        target = body.choice("target", standard: .download)
        consent = body.choice("consent", standard: .ads)
        if target == .directory, !targets.hasDirectory {
            body.refuse("target", "needs a folder: set AURUM_EXPORTS_DIRECTORY")
        }
        (url, secret) = Self.hook(body, target, targets)
        let names = body.texts("columns", max: Self.columnsMax)
        columns = names.isEmpty ? nil : names
        query = body.take("query")
        condition = json["where"].flatMap { $0 == .null ? nil : $0 }
        scope = BehaviourScope(body, org: org, now: now)
        if query != nil, query?.object == nil { body.refuse("query", "must be an object as POST /v1/query takes it") }
        if query != nil, columns != nil { body.refuse("columns", "are those of the query's answer") }
        try body.finish()
    }

    private static let urlBytesMax = 2048
    private static let secretBytes = 16...256

    /// Address and secret of the target `webhook`.
    private static func hook(
        _ body: BehaviourBody, _ target: Target, _ targets: ExportTargets
    ) -> (url: String?, secret: String?) {
        let (url, secret) = (body.text("url"), body.text("secret"))
        guard target == .webhook else {
            for (name, text) in [("url", url), ("secret", secret)] where text != nil {
                body.refuse(name, "belongs to the target webhook")
            }
            return (nil, nil)
        }
        guard targets.hasHooks else {
            body.refuse("target", "webhook needs a running server")
            return (nil, nil)
        }
        if !isAddress(url ?? "", targets) {
            body.refuse("url", "must be an https address of at most \(urlBytesMax) bytes, without user and fragment")
        }
        if !targets.isStored, !secretBytes.contains(secret?.utf8.count ?? 0) {
            body.refuse("secret", "must be \(secretBytes.lowerBound) to \(secretBytes.upperBound) bytes to sign with")
        }
        return (url, secret)
    }

    private static func isAddress(_ text: String, _ targets: ExportTargets) -> Bool {
        guard text.utf8.count <= urlBytesMax, let parts = URLComponents(string: text), let scheme = parts.scheme,
            let host = parts.host, !host.isEmpty
        else { return false }
        return parts.user == nil && parts.password == nil && parts.fragment == nil
            && PlainAddress.isAllowed(scheme: scheme, host: host, allowLoopback: targets.allowsLoopback)
    }

    /// The same request with its times made absolute, without its secret: read again it means the same, whenever that
    /// is.
    package var document: JSONValue {
        var members: [String: JSONValue] = [
            "format": .string(format.rawValue), "compression": .string(compression.rawValue),
            "target": .string(target.rawValue), "timezone": .string(scope.zone), "bots": .string(scope.bots.rawValue),
            "consent": .string(consent.rawValue),
        ]
        if let from = scope.from { members["from"] = .string(from.rfc3339) }
        if let to = scope.to { members["to"] = .string(to.rfc3339) }
        if !scope.apps.isEmpty { members["apps"] = .array(scope.apps.map { .string($0) }) }
        if let condition { members["where"] = condition }
        if let columns { members["columns"] = .array(columns.map { .string($0) }) }
        if let query { members["query"] = query }
        if let url { members["url"] = .string(url) }
        return .object(members)
    }

    /// The events that are in it.
    var filter: RowFilter { scope.filter(consent == .ads ? .allowsAdvertising : nil) }

    /// The query of an export as it is asked: where its answer has a row a person, only of those who may be in it.
    func confined(_ query: EventQuery) -> EventQuery {
        guard consent == .ads, query.groupBy.contains(where: \.tellsPersons) else { return query }
        var query = query
        query.filter = .and([query.filter, .allowsAdvertising].compactMap(\.self))
        return query
    }

    /// The record of an export of all events, whatever they say of advertising: who asked for it, and what for.
    package func record(_ id: UID, org: String, actor: String, at: Timestamp) -> OutboxEvent? {
        guard consent == .any else { return nil }
        return OutboxEvent(
            id: UID(now: at), org: org, key: id.hex, name: "export.unconfined", traceID: nil, at: at,
            props: ["export": .string(id.hex), "actor": .string(actor), "request": document])
    }

    /// The name of the file of a job.
    package func fileName(_ id: UID) -> String {
        let packing =
            switch compression {
            case .gzip: ".gz"
            case .zstd: ".zst"
            case .none: ""
            }
        return "\(id.hex).\(format.rawValue)\(packing)"
    }

    package var contentType: String {
        switch compression {
        case .gzip: "application/gzip"
        case .zstd: "application/zstd"
        case .none: format == .csv ? "text/csv; charset=utf-8" : "application/x-ndjson"
        }
    }
}
