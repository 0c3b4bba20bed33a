internal import AurumCore
internal import Database
package import Events
internal import Logging
internal import Telemetry

/// How long installs and their decisions are kept: as long as the app keeps events of the type `install`, so that what
/// left the log's answers is in no table either.
extension InstallAttribution {
    /// Days that an app keeps something.
    package typealias Retention = @Sendable (_ org: String, _ app: String) -> Int

    /// Days for which an app's log shows every use of it.
    package static func usesDays(_ settings: AppSettings) -> Int {
        ActivityReader.types.compactMap { EventType(rawValue: $0) }.map { settings.retentionDays(of: $0) }.min()
            ?? settings.retentionDays
    }

    /// Removes installs that are older than their app keeps them, with every decision about them, a few at a time, and
    /// what recomputations left behind that ended without a word. Both the first open and the arrival must be so old:
    /// what was imported counts from its arrival. Installs that wait for a decision stay.
    /// - Returns: how many installs went.
    /// - Throws: `CancellationError`; database errors. What was removed until then stays removed.
    @discardableResult
    package func purgeInstalls() async throws -> Int {
        var removed = 0
        let owners = Set(try await store.owners() + (try await opens.owners()))
        for owner in owners.sorted(by: { ($0.org, $0.app) < ($1.org, $1.app) }) {
            let bound = clock.now - .seconds(Int64(retention(owner.org, owner.app)) * 86_400)
            var count = InstallStore.installsPurgedEach
            while count == InstallStore.installsPurgedEach {
                try Task.checkCancellation()
                count = try await store.purgeInstalls(owner, before: bound)
                removed += count
                registry.counter(.attributionInstallsPurged).increment(by: count)
            }
            count = InstallStore.installsPurgedEach
            while count == InstallStore.installsPurgedEach {
                try Task.checkCancellation()
                count = try await opens.purge(owner, before: bound)
            }
        }
        try await store.purgeRebuilds()
        if removed > 0 {
            logger.info(
                "installs past their app's retention were removed",
                metadata: ["code": "installs_purged", "installs": "\(removed)"])
        }
        return removed
    }
}

extension InstallStore {
    /// Installs of one transaction.
    static let installsPurgedEach = 500

    /// Whose installs are kept.
    struct Owner: Sendable, Hashable, RowDecodable {
        let org: String
        let app: String

        init(org: String, app: String) { (self.org, self.app) = (org, app) }

        init(row: Row) throws { (org, app) = (try row.get("org"), try row.get("app")) }
    }

    /// Every organisation and app with an install, one step of the primary key each.
    func owners() async throws -> [Owner] {
        try await database.read("installs.owners") { transaction in
            var found: [Owner] = []
            while let next = try transaction.one(
                Owner.self,
                """
                SELECT org, app FROM installs WHERE (org, app) > (\(found.last?.org ?? ""), \(found.last?.app ?? ""))
                ORDER BY org, app LIMIT 1
                """)
            {
                found.append(next)
            }
            return found
        }
    }

    /// Removes some of the installs of an app that are older than `bound`.
    /// - Returns: how many.
    func purgeInstalls(_ owner: Owner, before bound: Timestamp) async throws -> Int {
        try await database.write("installs.purgeOld") { transaction in
            let ids = try transaction.values(
                String.self,
                """
                SELECT event_id FROM installs
                WHERE org = \(owner.org) AND at < \(bound) AND app = \(owner.app) AND received_at < \(bound)
                    AND state = 'decided'
                ORDER BY at, event_id LIMIT \(Self.installsPurgedEach)
                """)
            guard !ids.isEmpty else { return 0 }
            try transaction.run(
                """
                DELETE FROM install_decisions
                WHERE org = \(owner.org) AND app = \(owner.app) AND event_id IN (\(list: ids))
                """)
            try transaction.run(
                "DELETE FROM installs WHERE org = \(owner.org) AND app = \(owner.app) AND event_id IN (\(list: ids))")
            return ids.count
        }
    }

    /// Lets touches go that a recomputation held which never came to its end.
    func purgeRebuilds() async throws {
        try await database.write("installs.purgeRebuilds") { transaction in
            try transaction.run("DELETE FROM install_rebuilds WHERE until_at <= \(transaction.now)")
        }
    }
}
