package import AurumCore
internal import Database

/// Why there is no summary of postbacks.
package enum PostbackSummaryError: Error, Sendable, Equatable {
    /// A parameter and what is wrong with it.
    case badRange(name: String, detail: String)
}

extension PostbackStore {
    /// Groups that one summary reads.
    private static let groupsMax = 200_000
    /// Bodies that one write reads anew, and writes of one summary.
    private static let (readAnewEach, readAnewTimes) = (200, 20)

    /// Counted postbacks of production, with what their values mean, by one dimension.
    /// - Throws: `PostbackSummaryError`; database errors.
    package func summary(org: String, _ question: PostbackQuestion) async throws -> JSONValue {
        let (from, to) = try days(question)
        let unread = try await readAnew(org)
        let groups = try await groups(org, question.appID, from, to)
        guard groups.count <= Self.groupsMax else {
            throw PostbackSummaryError.badRange(
                name: "from", detail: "must leave fewer postbacks: ask for a shorter range or one app.")
        }
        let book = try await schemas.book(org: org, appIDs: Array(Set(groups.compactMap(\.appID))))
        var tally = PostbackTally(question.dimension, book)
        for group in groups { tally.add(group) }
        var members = tally.members
        members["from"] = .string(from.utcDate.description)
        members["to"] = .string(to.utcDate.description)
        members["timezone"] = "UTC"
        members["group_by"] = .string(question.dimension.rawValue)
        members["values_are_signed"] = false
        members["unread"] = .integer(unread)
        return .object(members)
    }

    private func days(_ question: PostbackQuestion) throws(PostbackSummaryError) -> (from: Timestamp, to: Timestamp) {
        let to = question.to?.daysSince1970 ?? clock.now.utcDate.daysSince1970 + 1
        let from = question.from?.daysSince1970 ?? to - question.days
        guard from < to else { throw .badRange(name: "to", detail: "must be after from.") }
        guard to - from <= PostbackQuestion.daysMax else {
            throw .badRange(name: "to", detail: "must be at most \(PostbackQuestion.daysMax) days after from.")
        }
        return (Timestamp(CivilDate(daysSince1970: from)), Timestamp(CivilDate(daysSince1970: to)))
    }

    private func groups(
        _ org: String, _ appID: Int64?, _ from: Timestamp, _ to: Timestamp
    ) async throws -> [PostbackGroup] {
        let anyApp = appID == nil ? 1 : 0
        return try await database.read("postbacks.summary", limit: .report) { transaction in
            try transaction.all(
                PostbackGroup.self,
                """
                SELECT received_at / 86400000000 AS day, kind, substr(version, 1, 2) AS major, app_id, ad_network,
                    source, sequence_index, did_win, claimed_value, COUNT(*) AS postbacks
                FROM postbacks
                WHERE org = \(org) AND received_at >= \(from) AND received_at < \(to) AND state = 'counted'
                    AND environment = 'production' AND source IS NOT NULL
                    AND (\(anyApp) = 1 OR app_id = \(appID ?? 0))
                GROUP BY received_at / 86400000000, kind, substr(version, 1, 2), app_id, ad_network, source,
                    sequence_index, did_win, claimed_value
                LIMIT \(Self.groupsMax + 1)
                """)
        }
    }

    // MARK: what older releases stored

    /// Reads anew bodies that were stored without their campaign and value, some at a time.
    /// - Returns: how many are left for the next summary.
    private func readAnew(_ org: String) async throws -> Int64 {
        for _ in 0..<Self.readAnewTimes {
            try Task.checkCancellation()
            let rows = try await database.read("postbacks.unread") { transaction in
                try transaction.all(
                    UnreadPostback.self,
                    """
                    SELECT id, body FROM postbacks WHERE org = \(org) AND state = 'counted' AND source IS NULL
                    ORDER BY received_at LIMIT \(Self.readAnewEach)
                    """)
            }
            guard !rows.isEmpty else { return 0 }
            let read = rows.map { ($0.id, try? PostbackVerifier.read(Array($0.body.utf8), keys: keys)) }
            try await database.write("postbacks.readAnew") { transaction in
                for (id, postback) in read {
                    try transaction.run(
                        """
                        UPDATE postbacks SET source = \((postback?.source ?? "").storable),
                            did_win = \(postback?.didWin), claimed_value = \(postback?.claimedValue.stored ?? "")
                        WHERE org = \(org) AND id = \(id)
                        """)
                }
            }
        }
        return try await database.read("postbacks.unreadCount") { transaction in
            try transaction.value(
                Int64.self,
                "SELECT COUNT(*) FROM postbacks WHERE org = \(org) AND state = 'counted' AND source IS NULL") ?? 0
        }
    }
}

private struct UnreadPostback: RowDecodable, Sendable {
    let id: UID
    let body: String

    init(row: Row) throws { (id, body) = (try row.get("id"), try row.get("body")) }
}

extension PostbackGroup: RowDecodable {
    init(row: Row) throws {
        day = try row.get("day")
        appID = try row.optional("app_id")
        (network, campaign) = (try row.get("ad_network"), try row.get("source"))
        window = try row.get("sequence_index")
        let kind = try row.get("kind", as: String.self)
        let major = try row.get("major", as: String.self)
        timing = PostbackTiming(
            hasWindows: kind == Postback.Kind.adattributionkit.rawValue || major == "4.", window: window)
        didWin = try row.optional("did_win", as: Bool.self) ?? true
        claim = ConversionClaim(stored: try row.optional("claimed_value") ?? "")
        postbacks = try row.get("postbacks")
    }
}
