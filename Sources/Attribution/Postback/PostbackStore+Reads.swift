package import AurumCore
package import Database

/// Which postbacks a list shows.
package struct PostbackFilter: Sendable, Equatable {
    package var state: PostbackReceipt.State?
    package var verdict: Postback.Verdict?
    package var appID: Int64?
    package var limit = 100

    package init() {}
}

extension PostbackStore {
    /// Postbacks of an organisation, newest first, and what was received in all.
    package func document(org: String, _ filter: PostbackFilter) async throws -> JSONValue {
        let rows = try await rows(org, filter)
        let totals = try await totals(org)
        let quarantined = try await database.read("postbacks.quarantined") { transaction in
            try transaction.value(Int64.self, "SELECT COUNT(*) FROM postback_quarantine WHERE org = \(org)") ?? 0
        }
        return [
            "postbacks": .array(rows.map { $0.json(keys) }),
            "totals": .array(
                totals.map { total in
                    [
                        "state": .string(total.state), "verdict": .string(total.verdict),
                        "environment": .string(total.environment), "postbacks": .integer(total.postbacks),
                        "received": .integer(total.received),
                    ]
                }),
            "quarantined": .integer(quarantined),
        ]
    }

    private func rows(_ org: String, _ filter: PostbackFilter) async throws -> [StoredPostback] {
        let (state, verdict) = (filter.state?.rawValue ?? "", filter.verdict?.rawValue ?? "")
        let anyApp = filter.appID == nil ? 1 : 0
        return try await database.read("postbacks.list") { transaction in
            try transaction.all(
                StoredPostback.self,
                """
                SELECT id, body, state, differs, copies, received_at, last_received_at FROM postbacks
                WHERE org = \(org) AND (\(state) = '' OR state = \(state))
                    AND (\(verdict) = '' OR verdict = \(verdict))
                    AND (\(anyApp) = 1 OR app_id = \(filter.appID ?? 0))
                ORDER BY received_at DESC, id DESC LIMIT \(filter.limit)
                """)
        }
    }

    /// Bodies and receptions by state, verdict and environment.
    package func totals(_ org: String) async throws -> [PostbackTotal] {
        try await database.read("postbacks.totals") { transaction in
            try transaction.all(
                PostbackTotal.self,
                """
                SELECT state, verdict, environment, COUNT(*) AS bodies, SUM(copies) AS received FROM postbacks
                WHERE org = \(org) GROUP BY state, verdict, environment ORDER BY state, verdict, environment
                """)
        }
    }
}

/// Postbacks of one state, verdict and environment.
package struct PostbackTotal: Sendable, Equatable, RowDecodable {
    package let state: String
    package let verdict: String
    package let environment: String
    /// Different bodies.
    package let postbacks: Int64
    /// Receptions, the same body again included.
    package let received: Int64

    package init(row: Row) throws {
        state = try row.get("state")
        verdict = try row.get("verdict")
        environment = try row.get("environment")
        postbacks = try row.get("bodies")
        received = try row.get("received")
    }
}

private struct StoredPostback: RowDecodable {
    let id: UID
    let body: String
    let state: String
    let differs: String
    let copies: Int64
    let receivedAt: Timestamp
    let lastReceivedAt: Timestamp

    init(row: Row) throws {
        id = try row.get("id")
        body = try row.get("body")
        state = try row.get("state")
        differs = try row.get("differs")
        copies = try row.get("copies")
        receivedAt = try row.get("received_at")
        lastReceivedAt = try row.get("last_received_at")
    }

    /// What is stored is the body; everything else is read from it again.
    func json(_ keys: PostbackKeys) -> JSONValue {
        let postback = try? PostbackVerifier.read(Array(body.utf8), keys: keys)
        var members = postback?.json.object ?? [:]
        members["id"] = .string(id.hex)
        members["state"] = .string(state)
        members["differs"] = .array(differs.split(separator: ",").map { .string(String($0)) })
        members["copies"] = .integer(copies)
        members["received_at"] = .string(receivedAt.rfc3339)
        members["last_received_at"] = .string(lastReceivedAt.rfc3339)
        if let range = postback?.firstLaunch(receivedAt: receivedAt) {
            members["first_launch"] = [
                "earliest": .string(range.earliest.rfc3339), "latest": .string(range.latest.rfc3339),
            ]
        }
        return .object(members)
    }
}
