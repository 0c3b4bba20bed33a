package import AurumCore
internal import Database
internal import Logging
internal import Telemetry

/// Which verdicts are asked for.
package struct FraudVerdictFilter: Sendable, Equatable {
    /// An install or a touch.
    package var subject: UID?
    package var code: FraudCode?
    package var outcome: FraudVerdict.Outcome?
    package var publisher: String?
    /// Installs with `from` ≤ time < `to`.
    package var from: Timestamp?
    package var to: Timestamp?
    /// Replaced verdicts of `subject` too.
    package var history = false
    package var limit = 100
    /// The place that the page before ended at.
    package var after: Cursor?
    package static let limitMax = 1000

    /// A place among verdicts, newest installs first.
    package struct Cursor: Sendable, Equatable {
        var at: Int64
        var install: UID
        var touch: UID
        var number: Int

        package var text: String { "\(at)-\(install.hex)-\(touch.hex)-\(number)" }

        init(at: Int64, install: UID, touch: UID, number: Int) {
            (self.at, self.install, self.touch, self.number) = (at, install, touch, number)
        }

        /// nil for anything but what `text` writes.
        package init?(_ text: String) {
            let parts = text.split(separator: "-")
            guard parts.count == 4, let at = Int64(parts[0]), let install = UID(parts[1]), let touch = UID(parts[2]),
                let number = Int(parts[3])
            else { return nil }
            self.init(at: at, install: install, touch: touch, number: number)
        }
    }

    package init() {}
}

extension FraudDesk {
    private struct VerdictRow: RowDecodable, Sendable {
        let cursor: FraudVerdictFilter.Cursor
        let json: JSONValue

        init(row: Row) throws {
            let at: Timestamp = try row.get("at")
            let (install, touch): (UID, UID) = (try row.get("install"), try row.get("touch"))
            let number: Int = try row.get("number")
            cursor = FraudVerdictFilter.Cursor(at: at.microseconds, install: install, touch: touch, number: number)
            let codes: String = try row.get("codes")
            func text(_ column: String) throws -> JSONValue {
                try row.optional(column, as: String.self).map { .string($0) } ?? .null
            }
            let subject: String = try row.get("subject")
            json = [
                "subject": .string(subject), "install": .string(install.hex),
                "touch": subject == "touch" ? .string(touch.hex) : .null,
                "event_id": .string(try row.optional("event", as: String.self) ?? touch.hex),
                "number": .integer(Int64(number)),
                "app": try text("app"), "at": .string(at.rfc3339), "network": try text("network"),
                "publisher": try text("publisher"),
                "claims_install": .bool(try row.get("claims", as: Int.self) != 0),
                "outcome": try text("outcome"),
                "codes": .array(codes.split(separator: " ").map { .string(String($0)) }),
                "reason": try text("reason"), "barred": .bool(try row.get("barred", as: Int.self) != 0),
                "version": .integer(try row.get("version")), "stage": try text("stage"),
                "newest": .bool(try row.get("newest", as: Int.self) != 0),
                "decided_at": .string(try row.get("decided_at", as: Timestamp.self).rfc3339),
            ]
        }
    }

    /// Verdicts, newest installs first, and where the next page begins.
    /// - Throws: database errors.
    package func verdicts(org: String, _ filter: FraudVerdictFilter) async throws -> JSONValue {
        let limit = min(max(1, filter.limit), FraudVerdictFilter.limitMax)
        let rows = try await store.database.read("fraud.verdicts", limit: .report) { transaction in
            try transaction.all(VerdictRow.self, Self.statement(org, filter, limit))
        }
        let next = rows.count == limit ? rows.last?.cursor.text : nil
        return [
            "verdicts": .array(rows.map(\.json)), "next": next.map { .string($0) } ?? .null,
        ]
    }

    /// What is not asked for is a number that lets everything pass. Of one subject all verdicts are few; of all
    /// subjects the newest are read along an index of their time.
    private static func statement(_ org: String, _ filter: FraudVerdictFilter, _ limit: Int) -> SQLStatement {
        let nothing = UID(high: 0, low: 0)
        let code = filter.code.map { "% \($0.rawValue) %" } ?? "%"
        let (outcome, publisher) = (filter.outcome?.rawValue ?? "", filter.publisher ?? "")
        let (anyOutcome, anyPublisher) = (filter.outcome == nil ? 1 : 0, filter.publisher == nil ? 1 : 0)
        let from = filter.from?.microseconds ?? .min
        let to = filter.to?.microseconds ?? .max
        let after = filter.after ?? .init(at: .max, install: nothing, touch: nothing, number: 0)
        if let subject = filter.subject {
            return """
                SELECT install, touch, number, event, subject, app, at, network, publisher, claims, outcome, codes,
                    reason, barred, version, stage, newest, decided_at
                FROM fraud_verdicts
                WHERE org = \(org) AND (install = \(subject) OR touch = \(subject))
                    AND (newest = 1 OR \(filter.history ? 1 : 0) = 1) AND codes LIKE \(code)
                    AND (\(anyOutcome) = 1 OR outcome = \(outcome))
                    AND (\(anyPublisher) = 1 OR publisher = \(publisher)) AND at >= \(from) AND at < \(to)
                    AND (at < \(after.at) OR (at = \(after.at) AND (install < \(after.install)
                        OR (install = \(after.install) AND (touch < \(after.touch)
                        OR (touch = \(after.touch) AND number < \(after.number)))))))
                ORDER BY at DESC, install DESC, touch DESC, number DESC LIMIT \(limit)
                """
        }
        return """
            SELECT install, touch, number, event, subject, app, at, network, publisher, claims, outcome, codes, reason,
                barred, version, stage, newest, decided_at
            FROM fraud_verdicts
            WHERE org = \(org) AND newest = 1 AND codes LIKE \(code)
                AND (\(anyOutcome) = 1 OR outcome = \(outcome))
                AND (\(anyPublisher) = 1 OR publisher = \(publisher)) AND at >= \(from) AND at < \(to)
                AND at <= \(after.at) AND (at < \(after.at) OR (at = \(after.at) AND (install < \(after.install)
                    OR (install = \(after.install) AND touch < \(after.touch)))))
            ORDER BY at DESC, install DESC, touch DESC LIMIT \(limit)
            """
    }

    private struct PublisherRow: RowDecodable, Sendable {
        let key: [String]
        let members: [String: JSONValue]

        init(row: Row) throws {
            let (app, network, publisher): (String, String, String) = (
                try row.get("app"), try row.get("network"), try row.get("publisher")
            )
            key = [app, network, publisher]
            let (installs, rejected): (Int64, Int64) = (try row.get("installs"), try row.get("rejected"))
            members = [
                "app": .string(app), "network": .string(network), "publisher": .string(publisher),
                "installs": .integer(installs), "suspect": .integer(try row.get("suspect")),
                "rejected": .integer(rejected),
                "share": .number(installs == 0 ? 0 : Double(rejected) / Double(installs)),
                "grade": .string(try row.get("grade")),
                "from": .string(try row.get("from_at", as: Timestamp.self).rfc3339),
                "to": .string(try row.get("to_at", as: Timestamp.self).rfc3339),
            ]
        }
    }

    private struct PatternRow: RowDecodable, Sendable {
        let key: [String]
        let body: JSONValue

        init(row: Row) throws {
            key = [try row.get("app"), try row.get("network"), try row.get("publisher")]
            var members = try row.get("body", as: JSONValue.self).object ?? [:]
            members["found_at"] = .string(try row.get("found_at", as: Timestamp.self).rfc3339)
            members["version"] = .integer(try row.get("version"))
            body = .object(members)
        }
    }

    /// The figures of publishers as the newest look left them, those with most rejected first, with the patterns that
    /// stand.
    /// - Throws: database errors.
    package func publishers(org: String, limit: Int) async throws -> JSONValue {
        let (rows, patterns) = try await store.database.read("fraud.publisherList", limit: .report) { transaction in
            let rows = try transaction.all(
                PublisherRow.self,
                """
                SELECT app, network, publisher, installs, suspect, rejected, grade, from_at, to_at
                FROM fraud_publishers WHERE org = \(org)
                ORDER BY rejected DESC, installs DESC, app, network, publisher LIMIT \(limit)
                """)
            let patterns = try transaction.all(
                PatternRow.self,
                """
                SELECT app, network, publisher, body, found_at, version FROM fraud_patterns
                WHERE org = \(org) AND ended_at IS NULL
                ORDER BY app, network, publisher, code LIMIT \(FraudStore.publishersMax)
                """)
            return (rows, patterns)
        }
        let found = Dictionary(grouping: patterns, by: \.key)
        return [
            "publishers": .array(
                rows.map { row in
                    var members = row.members
                    members["patterns"] = .array((found[row.key] ?? []).map(\.body))
                    return .object(members)
                })
        ]
    }

    /// Newest first.
    package func proposals(
        org: String, state: FraudProposal.State?, limit: Int
    ) async throws -> [FraudProposal] {
        try await store.proposals(org: org, state: state, limit: limit)
    }

    /// - Throws: `FraudError.unknownProposal`, `decided`; database errors.
    package func decide(
        _ id: UID, _ decision: FraudProposal.Decision, org: String, actor: String
    ) async throws -> FraudProposal {
        let proposal = try await store.decide(id, decision, org: org, actor: actor)
        registry.counter(.fraudProposals, proposal.state.rawValue).increment()
        logger.info(
            "fraud proposal decided",
            metadata: [
                "code": "fraud_decided", "org": "\(org)", "proposal": "\(id.hex)",
                "decision": "\(decision.rawValue)", "action": "\(proposal.action.rawValue)", "key": "\(actor)",
            ])
        return proposal
    }

    private struct AuditRow: RowDecodable, Sendable {
        let json: JSONValue

        init(row: Row) throws {
            json = [
                "id": .string(try row.get("id", as: UID.self).hex), "actor": .string(try row.get("actor")),
                "action": .string(try row.get("action")), "detail": try row.get("detail", as: JSONValue.self),
                "at": .string(try row.get("at", as: Timestamp.self).rfc3339),
            ]
        }
    }

    /// Who changed what, newest first.
    package func audit(org: String, limit: Int) async throws -> [JSONValue] {
        try await store.database.read("fraud.audit") { transaction in
            try transaction.all(
                AuditRow.self,
                """
                SELECT id, actor, action, detail, at FROM fraud_audit WHERE org = \(org)
                ORDER BY at DESC, id DESC LIMIT \(limit)
                """)
        }.map(\.json)
    }
}
