package import AurumCore
internal import Database
package import Events
package import Logging

/// Follows the event log and looks again at the credit of leads and sales whose person has more touches than was known:
/// a touch came in late, or persons were merged.
///
/// How far it has read is stored after what it found was done: a process that ends at any moment does it once more, and
/// doing it once more changes nothing. History from before its first start is not looked at.
package actor CreditFollower {
    /// Leads and sales of an organisation since a moment, the newest first, no more than asked for.
    package typealias Live =
        @Sendable (_ org: String, _ since: Timestamp, _ limit: Int) async throws -> [LiveCredit]
    /// Every key that the log has for a visitor, after merges.
    package typealias Keys = @Sendable (_ org: String, _ visitor: String) -> Set<UInt64>

    private let attribution: AttributionService
    private let source: any ColumnSource
    private let log: Int64
    private let keys: Keys
    private let live: Live
    private let clock: any WallClock
    private let logger: Logger
    private var position: LogPosition?
    private var isPlaced = false
    private var isWorking = false
    /// Rows behind the stored position in which nothing was found.
    private var unwritten = 0
    private static let unwrittenMax = 100_000
    /// Leads and sales of an organisation that one look compares, the newest.
    package static let liveMax = 20_000
    /// A clock of a sale may be so much behind that of its touch.
    static let tolerance: Duration = .seconds(60)
    /// What is older than the longest window by more than this stays as it is.
    package static let reach: Duration = LookbackWindow.leadSale.click + .seconds(86_400)

    package init(
        _ attribution: AttributionService, source: any ColumnSource, log: Int64, keys: @escaping Keys,
        live: @escaping Live, clock: any WallClock, logger: Logger
    ) {
        (self.attribution, self.source, self.log, self.keys) = (attribution, source, log, keys)
        (self.live, self.clock, self.logger) = (live, clock, logger)
    }

    /// Reads everything that is durable now and restates what it changes. Returns at once while another call works.
    /// - Returns: how many leads and sales have other credit now.
    /// - Throws: database errors and what the log throws; what was done stays done.
    @discardableResult
    package func catchUp() async throws -> Int {
        guard !isWorking else { return 0 }
        isWorking = true
        defer { isWorking = false }
        if !isPlaced {
            position = try await storedPosition()
            isPlaced = true
        }
        let (source, after) = (source, position)
        guard let after else {
            let end = try await BlockingWork.value { try LogCursor.lastPosition(of: try source.segments()) }
            if let end { try await move(to: end) }
            return 0
        }
        let segments = try await BlockingWork.value { try source.segments() }
        // Asked behind the snapshot: whoever is credited later sees all of it then.
        let orgs = try await creditedOrgs()
        guard !orgs.isEmpty else {
            try await skip(to: try await BlockingWork.value { try LogCursor.lastPosition(of: segments) })
            return 0
        }
        let scan = try await BlockingWork.value { try CreditScan(segments, of: orgs, after: after) }
        var restated = 0
        while let batch = try await BlockingWork.value({ try scan.next() }) {
            try Task.checkCancellation()
            for (org, signs) in batch.signs { restated += try await look(org, signs) }
            unwritten += batch.rows
            guard let read = batch.position else { continue }
            position = max(position ?? read, read)
            if !batch.signs.isEmpty || unwritten >= Self.unwrittenMax { try await move(to: position ?? read) }
        }
        if restated > 0 {
            logger.info("credit was restated", metadata: ["code": "credit_restated", "count": "\(restated)"])
        }
        return restated
    }

    private func look(_ org: String, _ signs: CreditSigns) async throws -> Int {
        let oldest = clock.now - Self.reach
        let earliest = signs.isOfAll || !signs.linked.isEmpty ? oldest : signs.earliest - Self.tolerance
        let all = try await live(org, max(oldest, earliest), Self.liveMax)
        if all.count == Self.liveMax {
            logger.warning(
                "there are more leads and sales than are looked at for touches that came in late",
                metadata: ["code": "credit_restatement_cut", "org": "\(org)", "looked_at": "\(all.count)"])
        }
        var restated = 0
        for live in all {
            try Task.checkCancellation()
            // Without a visitor nobody knows which touches are its person's but those of its trace.
            guard let visitor = live.visitorID, let cause = signs.cause(keys(org, visitor), live) else { continue }
            do {
                if try await attribution.restate(live, cause: cause) { restated += 1 }
            } catch let error as CreditError {
                // One that does not add up keeps no other from it.
                logger.error(
                    "credit could not be restated",
                    metadata: ["code": "credit_unbalanced", "org": "\(org)", "error": "\(error)"])
            }
        }
        return restated
    }

    /// Organisations that ever had a lead or a sale: only their touches can change anything.
    private func creditedOrgs() async throws -> Set<String> {
        let orgs = try await attribution.database.read("attribution.creditedOrgs") { transaction in
            // From one organisation to the next, each by one step of an index.
            try transaction.all(
                CreditedOrg.self,
                """
                WITH RECURSIVE leads (org) AS (
                    SELECT MIN(org) FROM attribution_leads
                    UNION ALL
                    SELECT (SELECT MIN(org) FROM attribution_leads WHERE org > leads.org) FROM leads
                    WHERE leads.org IS NOT NULL
                ), sales (org) AS (
                    SELECT MIN(org) FROM attribution_credits
                    UNION ALL
                    SELECT (SELECT MIN(org) FROM attribution_credits WHERE org > sales.org) FROM sales
                    WHERE sales.org IS NOT NULL
                )
                SELECT org FROM leads WHERE org IS NOT NULL UNION SELECT org FROM sales WHERE org IS NOT NULL
                """)
        }
        return Set(orgs.map(\.org))
    }

    // MARK: position

    /// Leaves out everything up to a position. It is stored now and then: reading a part once more changes nothing.
    private func skip(to end: LogPosition?) async throws {
        guard let end, end > position ?? end else { return }
        position = end
        unwritten += Self.unwrittenMax / 10
        if unwritten >= Self.unwrittenMax { try await move(to: end) }
    }

    private func storedPosition() async throws -> LogPosition? {
        let log = log
        let text = try await attribution.database.read("attribution.position") { transaction in
            try transaction.value(String.self, "SELECT position FROM attribution_positions WHERE log = \(log)")
        }
        return text.flatMap { LogPosition($0) }
    }

    private func move(to position: LogPosition) async throws {
        let log = log
        try await attribution.database.write("attribution.movePosition") { transaction in
            try transaction.run(
                """
                INSERT INTO attribution_positions (log, position, created_at)
                VALUES (\(log), \(position.description), \(transaction.now))
                ON CONFLICT (log) DO UPDATE SET position = excluded.position
                """)
        }
        (self.position, unwritten) = (position, 0)
    }
}

private struct CreditedOrg: RowDecodable, Sendable {
    let org: String

    init(row: Row) throws { org = try row.get("org") }
}
