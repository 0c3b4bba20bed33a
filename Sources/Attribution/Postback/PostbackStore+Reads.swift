package import AurumCore
package import Database

/// Which postbacks a list shows.
package struct PostbackFilter: Sendable, Equatable {
    package var state: PostbackReceipt.State?
    package var verdict: Postback.Verdict?
    package var appID: Int64?
    package var adNetwork: String?
    package var limit = 100
    /// As an answer's `next` said.
    package var after: PostbackPageMark?

    package init() {}
}

/// The last postback of a page.
package struct PostbackPageMark: Sendable, Equatable {
    var receivedAt: Timestamp
    var id: UID

    init(receivedAt: Timestamp, id: UID) { (self.receivedAt, self.id) = (receivedAt, id) }

    /// nil for a text that no answer gave.
    package init?(_ text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let time = Int64(parts[0]), let id = UID(parts[1]) else { return nil }
        self.init(receivedAt: Timestamp(microseconds: time), id: id)
    }

    package var text: String { "\(receivedAt.microseconds).\(id.hex)" }
}

extension PostbackStore {
    /// Postbacks of an organisation, newest first, a page at a time, each with what its value means; and what was
    /// received in all.
    package func document(org: String, _ filter: PostbackFilter) async throws -> JSONValue {
        let rows = try await rows(org, filter)
        let postbacks = rows.map { try? PostbackVerifier.read(Array($0.body.utf8), keys: keys) }
        let book = try await schemas.book(org: org, appIDs: Array(Set(postbacks.compactMap { $0?.appID })))
        let totals = try await totals(org)
        let quarantined = try await database.read("postbacks.quarantined") { transaction in
            try transaction.value(Int64.self, "SELECT COUNT(*) FROM postback_quarantine WHERE org = \(org)") ?? 0
        }
        return [
            "postbacks": .array(zip(rows, postbacks).map { $0.json($1, book) }),
            "next": rows.count == filter.limit ? rows.last.map { .string($0.mark.text) } ?? .null : .null,
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
        let (anyApp, anyNetwork) = (filter.appID == nil ? 1 : 0, filter.adNetwork == nil ? 1 : 0)
        let (isFirst, mark) = (filter.after == nil ? 1 : 0, filter.after)
        let (time, last) = (mark?.receivedAt ?? Timestamp(microseconds: 0), mark?.id ?? UID(high: 0, low: 0))
        return try await database.read("postbacks.list") { transaction in
            try transaction.all(
                StoredPostback.self,
                """
                SELECT id, body, state, differs, copies, received_at, last_received_at FROM postbacks
                WHERE org = \(org) AND (\(state) = '' OR state = \(state))
                    AND (\(verdict) = '' OR verdict = \(verdict))
                    AND (\(anyApp) = 1 OR app_id = \(filter.appID ?? 0))
                    AND (\(anyNetwork) = 1 OR ad_network = \(filter.adNetwork ?? ""))
                    AND (\(isFirst) = 1 OR received_at < \(time) OR (received_at = \(time) AND id < \(last)))
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

    var mark: PostbackPageMark { PostbackPageMark(receivedAt: receivedAt, id: id) }

    /// What is stored is the body; everything else is read from it again.
    func json(_ postback: Postback?, _ book: ConversionSchemaBook) -> JSONValue {
        var members = postback?.json.object ?? [:]
        members["id"] = .string(id.hex)
        members["state"] = .string(state)
        members["differs"] = .array(differs.split(separator: ",").map { .string(String($0)) })
        members["copies"] = .integer(copies)
        members["received_at"] = .string(receivedAt.rfc3339)
        members["last_received_at"] = .string(lastReceivedAt.rfc3339)
        guard let postback else { return .object(members) }
        if let range = postback.firstLaunch(receivedAt: receivedAt) {
            members["first_launch"] = [
                "earliest": .string(range.earliest.rfc3339), "latest": .string(range.latest.rfc3339),
            ]
        }
        if postback.verdict == .valid {
            members["campaign"] = .string(postback.source)
            members["value"] = postback.json(book.read(postback, receivedAt: receivedAt))
        }
        return .object(members)
    }
}

extension ConversionSchemaBook {
    func read(_ postback: Postback, receivedAt: Timestamp) -> Reading {
        read(
            postback.claimedValue, appID: postback.appID, window: postback.sequenceIndex, timing: postback.timing,
            day: Int64(receivedAt.utcDate.daysSince1970))
    }
}

extension Postback {
    /// The value that it claims, and what that means.
    fileprivate func json(_ reading: ConversionSchemaBook.Reading) -> JSONValue {
        var members: [String: JSONValue] = ["kind": .string(claimedValue.kind), "claimed": claimedValue.json]
        members["reason"] = reading.gap.map { .string($0.rawValue) }
        members["schema_version"] = reading.version.map { .integer(Int64($0)) }
        if reading.version != nil { members["is_uncertain"] = .bool(reading.isUncertain) }
        if let meaning = reading.meaning, let currency = reading.currency {
            members["events"] = .array(meaning.events.map { .string($0) })
            members["revenue"] = [
                "currency": .string(currency.code), "min_minor": .integer(meaning.leastMinor),
                "max_minor": .integer(meaning.mostMinor),
            ]
        }
        return .object(members)
    }
}
