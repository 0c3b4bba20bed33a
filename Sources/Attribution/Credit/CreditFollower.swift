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
    /// Organisations that have leads: only their touches can change anything.
    package typealias Orgs = @Sendable () async throws -> Set<String>
    /// Every key that the log has for a visitor, after merges.
    package typealias Keys = @Sendable (_ org: String, _ visitor: String) -> Set<UInt64>

    private let attribution: AttributionService
    private let source: any ColumnSource
    private let log: Int64
    private let keys: Keys
    private let live: Live
    private let orgs: Orgs
    private let clock: any WallClock
    private let logger: Logger
    private var position: LogPosition?
    private var isPlaced = false
    private var isWorking = false
    /// Rows behind the stored position in which nothing was found.
    private var unwritten = 0
    private static let unwrittenMax = 100_000
    /// Leads and sales that were being credited when a touch of theirs was read, and since when: they may have been
    /// credited without it, and are looked at again until there is credit.
    private var uncredited: [UID: Uncredited] = [:]
    private static let uncreditedMax = 10_000
    /// What has no credit for so long has none: it was returned.
    static let uncreditedFor: Duration = .seconds(600)
    /// What was read of merges and has to wait, because an organisation's leads of a month were looked at just now.
    private var held: [String: CreditSigns] = [:]
    private var lookedWidely: [String: Timestamp] = [:]
    static let widePause: Duration = .seconds(60)
    /// Leads and sales of an organisation that one look compares, the newest.
    package static let liveMax = 20_000
    /// A clock of a sale may be so much behind that of its touch.
    static let tolerance: Duration = .seconds(60)
    /// What is older than the longest window by more than this stays as it is.
    package static let reach: Duration = LookbackWindow.leadSale.click + .seconds(86_400)

    package init(
        _ attribution: AttributionService, source: any ColumnSource, log: Int64, keys: @escaping Keys,
        live: @escaping Live, orgs: @escaping Orgs, clock: any WallClock, logger: Logger
    ) {
        (self.attribution, self.source, self.log, self.keys) = (attribution, source, log, keys)
        (self.live, self.orgs, self.clock, self.logger) = (live, orgs, clock, logger)
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
        let source = source
        let (segments, end) = try await BlockingWork.value {
            let segments = try source.segments()
            return (segments, try LogCursor.lastPosition(of: segments))
        }
        guard let end else { return 0 }
        guard let known = position else {
            try await move(to: end)
            return 0
        }
        // Tables that were put back beside an older log are ahead of it: what is read twice changes nothing.
        let after = end < known ? LogPosition(segment: 0, offset: 0, row: 0) : known
        if end < known { position = end }
        // Asked behind the snapshot: a lead that comes later is credited with all of it.
        let orgs = try await orgs()
        guard !orgs.isEmpty else {
            try await skip(to: end)
            return 0
        }
        var restated = try await lookAgain()
        let scan = try await BlockingWork.value { try CreditScan(segments, of: orgs, after: after) }
        while let batch = try await BlockingWork.value({ try scan.next() }) {
            for (org, signs) in batch.signs { restated += try await looked(org, signs) }
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

    /// Whether something is left to be looked at, also when nothing more comes in.
    package var hasMore: Bool { !uncredited.isEmpty || !held.isEmpty }

    /// What an earlier look left.
    private func lookAgain() async throws -> Int {
        var restated = 0
        for (org, signs) in held where !isTooSoon(org) {
            held[org] = nil
            restated += try await looked(org, signs)
        }
        let now = clock.now
        for (item, open) in uncredited {
            if try await restate(open.live, open.cause) { restated += 1 }
            if now - open.since > Self.uncreditedFor || now < open.since { uncredited[item] = nil }
        }
        return restated
    }

    private func isTooSoon(_ org: String) -> Bool {
        guard let last = lookedWidely[org] else { return false }
        let since = clock.now - last
        return since >= .zero && since < Self.widePause
    }

    /// What one organisation has wrong keeps no other waiting; without a database all wait.
    private func looked(_ org: String, _ signs: CreditSigns) async throws -> Int {
        try Task.checkCancellation()
        do { return try await look(org, signs) } catch {
            if Task.isCancelled || error is CancellationError { throw error }
            if let error = error as? SQLError, error.isTemporary { throw error }
            logger.error(
                "credit could not be looked at again",
                metadata: ["code": "credit_not_restated", "org": "\(org)", "error": "\(error)"])
            return 0
        }
    }

    private func look(_ org: String, _ signs: CreditSigns) async throws -> Int {
        let oldest = clock.now - Self.reach
        var signs = signs
        if signs.isWide {
            if isTooSoon(org) {
                held[org, default: CreditSigns()].add(signs.links)
                signs = signs.touches
                if signs.isEmpty { return 0 }
            } else {
                lookedWidely[org] = clock.now
            }
        }
        let earliest = signs.isWide ? oldest : signs.earliest - Self.tolerance
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
            if try await restate(live, cause) { restated += 1 }
        }
        await attribution.compactBusyChanges()
        return restated
    }

    private func restate(_ live: LiveCredit, _ cause: RestatementCause) async throws -> Bool {
        do {
            let result = try await attribution.restate(live, cause: cause)
            if result != .uncredited {
                uncredited[live.item] = nil
            } else if uncredited[live.item] == nil, uncredited.count < Self.uncreditedMax {
                uncredited[live.item] = Uncredited(live: live, cause: cause, since: clock.now)
            }
            return result == .restated
        } catch let error as CreditError {
            // One that does not add up keeps no other from it.
            uncredited[live.item] = nil
            logger.error(
                "credit could not be restated",
                metadata: ["code": "credit_unbalanced", "org": "\(live.org)", "error": "\(error)"])
            return false
        }
    }

    // MARK: position

    /// Leaves out everything up to a position. It is stored now and then: reading a part once more changes nothing.
    private func skip(to end: LogPosition) async throws {
        guard position.map({ $0 < end }) ?? true else { return }
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

    /// Not while something is left: the next process has to find it.
    private func move(to position: LogPosition) async throws {
        guard !hasMore else { return }
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

private struct Uncredited {
    let live: LiveCredit
    let cause: RestatementCause
    let since: Timestamp
}
