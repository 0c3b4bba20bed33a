internal import AurumCore
internal import Database

/// Facts of installs and their verdicts in the tables.
extension FraudStore {
    /// A verdict as it stands.
    struct Standing: Sendable, RowDecodable {
        var install: UID
        /// The install itself where the verdict is about it.
        var touch: UID
        var number: Int
        var decision: FraudDecision

        init(row: Row) throws {
            (install, touch) = (try row.get("install"), try row.get("touch"))
            number = try row.get("number")
            guard let outcome = FraudVerdict.Outcome(rawValue: try row.get("outcome")) else {
                throw UnknownFraudWord(column: "outcome")
            }
            let codes: String = try row.get("codes")
            decision = FraudDecision(
                outcome: outcome, codes: codes.split(separator: " ").compactMap { FraudCode(rawValue: String($0)) })
            decision.reason = try row.optional("reason")
            decision.isBarred = try row.get("barred", as: Int.self) != 0
        }
    }

    static func codes(_ decision: FraudDecision) -> String {
        decision.codes.isEmpty ? "" : " " + decision.codes.map(\.rawValue).joined(separator: " ") + " "
    }

    /// Keeps the facts of an install; what is known stays.
    static func keep(_ install: FraudInstall, _ org: String, in transaction: Transaction) throws {
        let now = transaction.now
        // Who has installs is known by this row.
        try transaction.run(
            """
            INSERT INTO fraud_heads (org, version, patterns, created_at) VALUES (\(org), 0, 0, \(now))
            ON CONFLICT (org) DO NOTHING
            """)
        try transaction.run(
            """
            INSERT INTO fraud_installs
                (org, install, event, app, at, began_at, device, address, address_range, os, emulator, data_centre,
                 created_at)
            VALUES (\(org), \(install.id), \(install.event), \(install.app), \(install.at), \(install.beganAt),
                    \(install.device), \(install.address), \(install.range), \(install.system),
                    \(install.isEmulator ? 1 : 0), \(install.isFromDataCentre ? 1 : 0), \(now))
            ON CONFLICT (org, install) DO NOTHING
            """)
        for touch in install.touches {
            try transaction.run(
                """
                INSERT INTO fraud_touches
                    (org, install, touch, event, app, install_at, at, kind, network, publisher, device, address,
                     address_range, os, created_at)
                VALUES (\(org), \(install.id), \(touch.id), \(touch.event), \(install.app), \(install.at),
                        \(touch.at), \(touch.kind.rawValue), \(touch.network), \(touch.publisher), \(touch.device),
                        \(touch.address), \(touch.range), \(touch.system), \(now))
                ON CONFLICT (org, install, touch) DO NOTHING
                """)
        }
    }

    /// Verdicts of one install that stand.
    static func standing(_ install: UID, _ org: String, in transaction: Transaction) throws -> [UID: Standing] {
        let rows = try transaction.all(
            Standing.self,
            """
            SELECT install, touch, number, outcome, codes, reason, barred FROM fraud_verdicts
            WHERE org = \(org) AND install = \(install) AND newest = 1
            """)
        return Dictionary(rows.map { ($0.touch, $0) }) { first, _ in first }
    }

    /// A verdict to be written: the next of its subject.
    struct Change: Sendable {
        var install: FraudInstall
        /// Place among the touches; nil for the install itself.
        var touch: Int?
        var decision: FraudDecision
        /// Number of the verdict that it takes the place of; 0 where there is none.
        var number: Int
        /// Credit has to follow: what may be credited to the touch, or whether the install counts, is another.
        var movesCredit = false
    }

    /// - Returns: whether it was written: false when somebody else wrote the next verdict of the subject before.
    static func write(
        _ change: Change, _ org: String, version: Int, stage: String, in transaction: Transaction
    ) throws -> Bool {
        let (install, decision, number, now) = (change.install, change.decision, change.number, transaction.now)
        let touch = change.touch.map { install.touches[$0] }
        let subject = touch?.id ?? install.id
        if number > 0 {
            let replaced = try transaction.run(
                """
                UPDATE fraud_verdicts SET newest = 0
                WHERE org = \(org) AND install = \(install.id) AND touch = \(subject) AND number = \(number)
                    AND newest = 1
                """)
            guard replaced == 1 else { return false }
        }
        let claims = change.touch != nil && change.touch == install.claim
        return try transaction.run(
            """
            INSERT INTO fraud_verdicts
                (org, install, touch, number, event, subject, app, at, network, publisher, claims, outcome, codes,
                 reason, barred, version, stage, newest, decided_at, created_at)
            VALUES (\(org), \(install.id), \(subject), \(number + 1),
                    \(touch == nil ? install.event : touch?.event), \(touch == nil ? "install" : "touch"),
                    \(install.app), \(install.at), \(touch?.network), \(touch?.publisher), \(claims ? 1 : 0),
                    \(decision.outcome.rawValue), \(codes(decision)), \(decision.reason),
                    \(decision.isBarred ? 1 : 0), \(version), \(stage), 1, \(now), \(now))
            ON CONFLICT (org, install, touch, number) DO NOTHING
            """) == 1
    }

    // MARK: what is around an install

    /// Rows of one window that are looked at, the newest. What goes beyond is far past every limit, or found when the
    /// whole window is looked at again.
    static let neighboursMax = 5000
    /// Devices and addresses of one install's touches that are looked at, the newest.
    private static let keysMax = 8

    /// Clicks and installs that count beside those of an install, as far as they are not after it.
    static func velocity(
        _ install: FraudInstall, _ org: String, in transaction: Transaction,
        _ limits: (_ network: String?, _ at: Int64) -> FraudLimits
    ) throws -> FraudVelocity {
        var clicks = install.clicks
        var installs = [install.bare]
        let last = clicks.map(\.at).max() ?? install.at
        let first = clicks.map(\.at).min() ?? install.at
        for device in distinct(clicks.reversed().compactMap(\.device)) {
            clicks += try transaction.all(
                ClickRow.self,
                """
                SELECT touch, at, device, address, network FROM fraud_touches
                WHERE org = \(org) AND app = \(install.app) AND device = \(device)
                    AND at > \(before(first, FraudVelocity.hour)) AND at <= \(last) AND kind = 'click'
                ORDER BY at DESC LIMIT \(neighboursMax)
                """
            ).map(\.click)
        }
        for address in distinct(clicks.reversed().compactMap(\.address)) {
            let times = install.clicks.filter { $0.address == address }.map(\.at)
            guard let first = times.min(), let last = times.max() else { continue }
            clicks += try transaction.all(
                ClickRow.self,
                """
                SELECT touch, at, device, address, network FROM fraud_touches
                WHERE org = \(org) AND app = \(install.app) AND address = \(address)
                    AND at > \(before(first, FraudVelocity.minute)) AND at <= \(last) AND kind = 'click'
                ORDER BY at DESC LIMIT \(neighboursMax)
                """
            ).map(\.click)
        }
        if let address = install.address {
            installs += try transaction.all(
                InstallRow.self,
                """
                SELECT install, at, device, address FROM fraud_installs
                WHERE org = \(org) AND app = \(install.app) AND address = \(address)
                    AND at > \(before(install.at, FraudVelocity.hour)) AND at <= \(install.at)
                ORDER BY at DESC LIMIT \(neighboursMax)
                """
            ).map(\.install)
        }
        if let device = install.device {
            installs += try transaction.all(
                InstallRow.self,
                """
                SELECT install, at, device, address FROM fraud_installs
                WHERE org = \(org) AND app = \(install.app) AND device = \(device)
                    AND at > \(before(install.at, FraudVelocity.day)) AND at <= \(install.at)
                ORDER BY at DESC LIMIT \(neighboursMax)
                """
            ).map(\.install)
        }
        return FraudVelocity(clicks: clicks, installs: installs, limits)
    }

    private static func distinct<Key: Hashable>(_ keys: [Key]) -> [Key] {
        var seen: Set<Key> = []
        return Array(keys.filter { seen.insert($0).inserted }.prefix(keysMax))
    }

    private static func before(_ time: Int64, _ span: Int64) -> Int64 {
        let (moment, isOver) = time.subtractingReportingOverflow(span)
        return isOver ? .min : moment
    }

    private struct ClickRow: RowDecodable, Sendable {
        let click: FraudVelocity.Click

        init(row: Row) throws {
            click = FraudVelocity.Click(
                id: try row.get("touch"), at: try row.get("at", as: Timestamp.self).microseconds,
                device: try row.optional("device"), address: try row.optional("address"),
                network: try row.optional("network"))
        }
    }

    private struct InstallRow: RowDecodable, Sendable {
        let install: FraudVelocity.Install

        init(row: Row) throws {
            install = FraudVelocity.Install(
                id: try row.get("install"), at: try row.get("at", as: Timestamp.self).microseconds,
                device: try row.optional("device"), address: try row.optional("address"))
        }
    }
}
