package import AurumCore
package import Database
internal import Events
package import Telemetry

/// What an import did.
package struct SpendReceipt: Sendable, Equatable {
    package var inserted = 0
    package var replaced = 0
    package var unchanged = 0
    package var refused = 0
    package var problems: [BadRow] = []
    package var ignoredColumns: [String] = []
    /// Sums of the file's good rows by currency.
    package var totals: [Currency: Int64] = [:]
    /// Campaigns of the file, by the name or id it gives.
    package var campaigns: Set<SpendCampaign> = []
}

/// A campaign as files of spend name it; one of both may be empty.
package struct SpendCampaign: Hashable, Sendable {
    package var id: String
    package var name: String

    package init(id: String, name: String) { (self.id, self.name) = (id, name) }
}

/// Spend as it was imported: the newest row of each key, and aside what it replaced, for reports of an earlier moment.
///
/// An import is written a chunk at a time, so that a million rows keep nobody else from writing, and becomes visible
/// at once with the one row that names the newest import. What fails on the way is never seen and removed by the next
/// import. Two imports of one organisation never mix: the second is refused, and one that
/// lost its lease writes no more.
package struct SpendStore: Sendable {
    let database: Database
    let clock: any WallClock
    private let registry: MetricRegistry
    private let revision: ReportRevision
    private let time: DatabaseClock?

    /// Rows of one transaction.
    static let chunkRows = 5000
    /// An import that wrote nothing for so long may be overtaken.
    static let lease: Duration = .seconds(60)
    /// `until_import` of rows that nothing replaced.
    static let unreplaced = Int64.max

    /// - Parameter time: what the lease of an import is measured by where several nodes must agree on it; nil for the
    ///   clock of the database's own process, which tests move.
    package init(
        database: Database, clock: any WallClock, registry: MetricRegistry, revision: ReportRevision = ReportRevision(),
        time: DatabaseClock? = nil
    ) {
        (self.database, self.clock, self.registry, self.revision) = (database, clock, registry, revision)
        self.time = time
    }

    /// The last day that a row may be about: tomorrow in UTC, so that every zone's today is in.
    package var latestDay: CivilDate {
        CivilDate(daysSince1970: Int(clock.now.microseconds / 86_400_000_000) + 1)
    }

    /// Stores the good rows of a file; a row replaces the one of the same key.
    /// - Parameters:
    ///   - timezone: the calendar of the file's accounts; nil leaves what is known, and means UTC for new accounts.
    ///   - skipsBad: whether bad rows are left out. Otherwise one is enough to store nothing.
    /// - Throws: `SpendError`; database errors.
    package func store(
        _ file: SpendFile, org: String, timezone: String? = nil, skipsBad: Bool = false
    ) async throws -> SpendReceipt {
        if let timezone, ZoneClock(timezone) == nil { throw SpendError.unknownTimeZone }
        if file.refused > 0, !skipsBad { throw SpendError.badRows(file.problems, count: file.refused) }
        var receipt = SpendReceipt()
        (receipt.refused, receipt.problems, receipt.ignoredColumns) = (file.refused, file.problems, file.ignoredColumns)
        receipt.campaigns = Set(file.lines.map { SpendCampaign(id: $0.campaignID, name: $0.campaign) })
        for row in file.rows {
            let currency = file.lines[Int(row.line)].currency
            try Figures.add(row.figures.spendMinor, to: &receipt.totals[currency, default: 0])
        }
        let claim = try await claim(org)
        do {
            if claim.isDirty { try await clean(org, claim.number, head: claim.head) }
            let days = file.rows.first.map { ($0.day, file.rows.last?.day ?? $0.day) }
            let known = days == nil ? false : try await hasRows(org, days?.0 ?? 0, days?.1 ?? 0)
            var writtenLines = Set<Int32>()
            var start = 0
            while start < file.rows.count {
                let end = min(start + Self.chunkRows, file.rows.count)
                let chunk = SpendChunk(file, start..<end, &writtenLines)
                let counts = try await write(chunk, org, claim.number, mayReplace: known)
                receipt.inserted += counts.inserted
                receipt.replaced += counts.replaced
                receipt.unchanged += counts.unchanged
                start = end
            }
            let changed = receipt.inserted + receipt.replaced > 0
            try await commit(org, claim, file: file, timezone: timezone, changed: changed)
            if receipt.replaced > 0 { try await moveReplaced(org, head: claim.number) }
            if changed { count(file, receipt) }
        } catch {
            try? await release(org, claim.number)
            throw error
        }
        return receipt
    }

    private func count(_ file: SpendFile, _ receipt: SpendReceipt) {
        revision.advance()
        // A replaced row may have become less, and a counter never does: files are counted as they come in.
        for (currency, minor) in receipt.totals {
            let label = Self.countedCurrencies.contains(currency.code) ? currency.code : "other"
            registry.counter(.attributionSpend, label).increment(by: Int(minor))
        }
    }

    /// Codes that are labels of the metric; a file may name any three letters.
    private static let countedCurrencies: Set<String> = [
        "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "IDR", "ILS", "INR", "JPY", "KRW", "MXN",
        "MYR", "NOK", "NZD", "PHP", "PLN", "RON", "SEK", "SGD", "THB", "TRY", "TWD", "UAH", "USD", "VND", "ZAR",
    ]

    // MARK: one import at a time

    private struct Claim: Sendable {
        let number: Int64
        let head: Int64
        /// An earlier import failed and left rows.
        let isDirty: Bool
    }

    private func now(_ transaction: Transaction) throws -> Timestamp {
        try time?.now(in: transaction) ?? transaction.now
    }

    private func claim(_ org: String) async throws -> Claim {
        try await database.write("spend.claim") { transaction in
            let now = try now(transaction)
            try transaction.run(
                """
                INSERT INTO spend_heads (org, head, newest, running, lease_until, created_at)
                VALUES (\(org), 0, 0, 0, 0, \(now)) ON CONFLICT (org) DO NOTHING
                """)
            guard let row = try transaction.one(HeadRow.self, "SELECT * FROM spend_heads WHERE org = \(org)") else {
                throw SpendError.importRunning
            }
            guard row.running == 0 || row.leaseUntil <= now else { throw SpendError.importRunning }
            let number = row.newest + 1
            try transaction.run(
                """
                UPDATE spend_heads SET newest = \(number), running = \(number), lease_until = \(now + Self.lease)
                WHERE org = \(org)
                """)
            return Claim(number: number, head: row.head, isDirty: row.newest > row.head)
        }
    }

    /// Holds the organisation's row until the transaction ends.
    func hold(_ org: String, _ number: Int64, in transaction: Transaction) throws {
        let until = try now(transaction) + Self.lease
        let held = try transaction.run(
            """
            UPDATE spend_heads SET lease_until = \(until)
            WHERE org = \(org) AND running = \(number)
            """)
        guard held == 1 else { throw SpendError.overtaken }
    }

    private func commit(
        _ org: String, _ claim: Claim, file: SpendFile, timezone: String?, changed: Bool
    ) async throws {
        let accounts = Set(file.lines.map { [$0.network, $0.accountID] })
        let number = claim.number
        let head = changed ? number : claim.head
        let keeps = timezone == nil ? 1 : 0
        try await database.write("spend.commit") { transaction in
            try hold(org, number, in: transaction)
            for account in accounts {
                try transaction.run(
                    """
                    INSERT INTO spend_accounts (org, network, account_id, timezone, created_at)
                    VALUES (\(org), \(account[0]), \(account[1]), \(timezone ?? "UTC"), \(transaction.now))
                    ON CONFLICT (org, network, account_id) DO UPDATE
                    SET timezone = CASE WHEN \(keeps) = 1 THEN spend_accounts.timezone ELSE excluded.timezone END
                    """)
            }
            if changed {
                try transaction.run(
                    """
                    INSERT INTO spend_imports (org, import_number, created_at)
                    VALUES (\(org), \(number), \(transaction.now))
                    """)
            }
            try transaction.run(
                """
                UPDATE spend_heads SET head = \(head), newest = \(head), running = 0, lease_until = 0
                WHERE org = \(org) AND running = \(number)
                """)
        }
    }

    private func release(_ org: String, _ number: Int64) async throws {
        try await database.write("spend.release") { transaction in
            try transaction.run(
                "UPDATE spend_heads SET running = 0, lease_until = 0 WHERE org = \(org) AND running = \(number)")
        }
    }

    // MARK: what failed

    /// Takes back what imports after `head` left, a day at a time.
    private func clean(_ org: String, _ number: Int64, head: Int64) async throws {
        try await database.write("spend.restore") { transaction in
            try hold(org, number, in: transaction)
            try transaction.run(
                """
                UPDATE spend_rows SET until_import = \(Self.unreplaced)
                WHERE org = \(org) AND until_import > \(head) AND until_import < 9223372036854775807
                """)
        }
        let days = try await database.read("spend.leftovers", limit: .report) { transaction in
            try transaction.values(
                Int64.self, "SELECT DISTINCT day FROM spend_rows WHERE org = \(org) AND from_import > \(head)")
        }
        for day in days {
            try await database.write("spend.clean") { transaction in
                try hold(org, number, in: transaction)
                try transaction.run(
                    "DELETE FROM spend_rows WHERE org = \(org) AND day = \(day) AND from_import > \(head)")
            }
        }
    }

    private func hasRows(_ org: String, _ first: Int32, _ last: Int32) async throws -> Bool {
        try await database.read("spend.known") { transaction in
            try transaction.value(
                Int64.self,
                """
                SELECT day FROM spend_rows WHERE org = \(org) AND day >= \(Int(first)) AND day <= \(Int(last)) LIMIT 1
                """) != nil
        }
    }
}

struct HeadRow: RowDecodable {
    let head: Int64
    let newest: Int64
    let running: Int64
    let leaseUntil: Timestamp

    init(row: Row) throws {
        head = try row.get("head")
        newest = try row.get("newest")
        running = try row.get("running")
        leaseUntil = try row.get("lease_until")
    }
}
