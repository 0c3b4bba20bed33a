internal import AurumCore
internal import Database
internal import Events

/// What installs and the conversions after them tell.
extension CallbackStore {
    // MARK: installs

    /// Takes up decisions that are being written, for the templates that tell of installs.
    func note(_ decisions: [NewDecision], in tx: Transaction) throws {
        let byOrg = Dictionary(grouping: decisions, by: \.install.facts.org)
        for (org, some) in byOrg.sorted(by: { $0.key < $1.key }) {
            let callbacks = try tx.all(
                StoredCallback.self,
                """
                SELECT * FROM callbacks WHERE org = \(org) AND event = 'install' AND state = 'enabled' ORDER BY id
                """)
            if callbacks.isEmpty { continue }
            for one in some where tx.now - one.install.receivedAt <= Self.takenUpWithin {
                guard let (network, new) = Self.told(one) else { continue }
                for callback in callbacks
                where callback.network == network && callback.enabledAt <= one.install.receivedAt {
                    try add(new, to: callback, in: tx)
                }
            }
        }
    }

    /// The network that an install belongs to, and what is told of it; nil where no network has a part in it.
    private static func told(_ new: NewDecision) -> (network: String, NewCallback)? {
        let (facts, id, decision) = (new.install.facts, new.install.eventID, new.decision)
        var told = NewCallback(
            kind: .install, subject: NewCallback.subject(["install", facts.app, id]), reference: id, app: facts.app,
            install: id, at: facts.at)
        if let network = decision.touch?.touch.network?.lowercased() {
            if decision.verdict.outcome == .rejected {
                told.suppression = "fraud:" + (decision.verdict.codes.first ?? "rejected")
            } else {
                // The network was told of the device's first install, or had no part in it.
                told.suppression = facts.refusal?.rawValue ?? (decision.isReinstall ? CallbackInstall.reinstall : nil)
            }
            return (network, told)
        }
        // It would have been the network's, had the rules believed its touch.
        let barred = decision.touch == nil ? decision.runnersUp.first { $0.reason.hasPrefix("fraud:") } : nil
        guard let barred, let network = barred.touch.touch.network?.lowercased() else { return nil }
        told.suppression = barred.reason
        return (network, told)
    }

    // MARK: conversions

    /// Which conversions templates tell of, and since when.
    func watched() async throws -> [(org: String, event: String, since: Timestamp)] {
        try await database.read("callbacks.watched") { tx in
            try tx.all(
                WatchedConversion.self,
                """
                SELECT org, event, MIN(enabled_at) AS since FROM callbacks
                WHERE state = 'enabled' AND event <> 'install' AND event <> 'sale'
                GROUP BY org, event ORDER BY org, event
                """)
        }.map { ($0.org, $0.event, $0.since) }
    }

    /// Decides the conversions that wait for their install or the re-engagement that took over, once it is decided. One
    /// of a person without an install tells nobody.
    func settle() async throws {
        var mark: WaitingConversion?
        while true {
            try Task.checkCancellation()
            let after = mark
            let page = try await database.read("callbacks.waiting") { tx in
                try tx.all(WaitingConversion.self, Self.waiting(after: after))
            }
            guard let last = page.last else { return }
            try await database.write("callbacks.settle") { tx in
                for one in page { try settle(one, in: tx) }
            }
            guard page.count == Self.page else { return }
            mark = last
        }
    }

    private static let page = 200

    private static func waiting(after mark: WaitingConversion?) -> SQLStatement {
        guard let mark else {
            return """
                SELECT * FROM callback_conversions
                ORDER BY received_at, org, app, event_id, conversion LIMIT \(page)
                """
        }
        return """
            SELECT * FROM callback_conversions
            WHERE (received_at, org, app, event_id, conversion)
                > (\(mark.receivedAt), \(mark.org), \(mark.app), \(mark.eventID), \(mark.conversion))
            ORDER BY received_at, org, app, event_id, conversion LIMIT \(page)
            """
    }

    private func settle(_ one: WaitingConversion, in tx: Transaction) throws {
        let found = try Self.install(of: one, in: tx)
        // Undecided: it waits with its install.
        if let found, found.version == 0 { return }
        // Who brought the device back has taken over from the install, where that is not newer.
        var owner = found?.eventID
        if let found {
            let (keys, org, app) = (found.keys, one.org, one.app)
            let since = found.facts.at
            if try ReEngagementStore.isUndecided(keys, org: org, app: app, since: since, at: one.at, in: tx) {
                return
            }
            let back = try ReEngagementStore.inForce(keys, org: org, app: app, since: since, at: one.at, in: tx)
            owner = back?.open.install.eventID ?? owner
        }
        let taken = try tx.run(
            """
            DELETE FROM callback_conversions WHERE org = \(one.org) AND app = \(one.app)
                AND event_id = \(one.eventID) AND conversion = \(one.conversion)
            """)
        guard taken == 1, let found, let owner, let install = try Self.install(one.org, one.app, owner, in: tx),
            let network = install.network
        else { return }
        let told = NewCallback(
            kind: .conversion, subject: one.subject(found.keys), reference: one.eventID, app: one.app,
            install: owner, value: one.value, at: one.at,
            suppression: install.suppression ?? (one.refusal.isEmpty ? nil : one.refusal))
        for callback in try Self.enabled(one.conversion, one.org, receivedAt: one.receivedAt, in: tx)
        where callback.network == network {
            try add(told, to: callback, in: tx)
        }
    }

    /// The newest install that one of the conversion's identifiers had before it.
    private static func install(of one: WaitingConversion, in tx: Transaction) throws -> KeptInstall? {
        let (keys, org, app, at) = (one.keys, one.org, one.app, one.at)
        var found: [KeptInstall] = []
        func look(_ sql: SQLStatement) throws {
            if let row = try tx.one(InstallRow.self, sql) { found.append(row.install) }
        }
        if let key = keys.device {
            try look(
                """
                SELECT * FROM installs WHERE org = \(org) AND device_key = \(key) AND app = \(app) AND at <= \(at)
                ORDER BY at DESC, event_id DESC LIMIT 1
                """)
        }
        if let key = keys.advertising {
            try look(
                """
                SELECT * FROM installs WHERE org = \(org) AND advertising_key = \(key) AND app = \(app)
                    AND at <= \(at)
                ORDER BY at DESC, event_id DESC LIMIT 1
                """)
        }
        if let key = keys.vendor {
            try look(
                """
                SELECT * FROM installs WHERE org = \(org) AND vendor_key = \(key) AND app = \(app) AND at <= \(at)
                ORDER BY at DESC, event_id DESC LIMIT 1
                """)
        }
        // A device says more than an account, which may be on several.
        if found.isEmpty, let key = keys.user {
            try look(
                """
                SELECT * FROM installs WHERE org = \(org) AND user_key = \(key) AND app = \(app) AND at <= \(at)
                ORDER BY at DESC, event_id DESC LIMIT 1
                """)
        }
        return found.max { ($0.facts.at, $0.eventID) < ($1.facts.at, $1.eventID) }
    }

    /// Rows for `callback_conversions`, written together with how far the log was read.
    static func keep(_ seen: [SeenConversion], in tx: Transaction) throws {
        guard !seen.isEmpty else { return }
        let rows = seen.map(\.row)
        try tx.run(insert(JSONValue.array(rows).canonical))
    }

    private static func insert(_ json: String) -> SQLStatement {
        .dialect(
            sqlite: """
                INSERT INTO callback_conversions (org, app, event_id, conversion, at, received_at, repeats, order_id,
                    value_minor, currency, refusal, device_key, advertising_key, vendor_key, user_key)
                SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
                    json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
                    json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]'),
                    json_extract(value, '$[9]'), json_extract(value, '$[10]'), json_extract(value, '$[11]'),
                    json_extract(value, '$[12]'), json_extract(value, '$[13]'), json_extract(value, '$[14]')
                FROM json_each(\(json)) WHERE true
                ON CONFLICT (org, app, event_id, conversion) DO NOTHING
                """,
            postgres: """
                INSERT INTO callback_conversions (org, app, event_id, conversion, at, received_at, repeats, order_id,
                    value_minor, currency, refusal, device_key, advertising_key, vendor_key, user_key)
                SELECT value->>0, value->>1, value->>2, value->>3, CAST(value->>4 AS BIGINT),
                    CAST(value->>5 AS BIGINT), value->>6, value->>7, CAST(value->>8 AS BIGINT), value->>9,
                    value->>10, CAST(value->>11 AS BIGINT), CAST(value->>12 AS BIGINT), CAST(value->>13 AS BIGINT),
                    CAST(value->>14 AS BIGINT)
                FROM jsonb_array_elements(CAST(\(json) AS JSONB))
                ON CONFLICT (org, app, event_id, conversion) DO NOTHING
                """)
    }
}

private struct WatchedConversion: RowDecodable, Sendable {
    let org: String
    let event: String
    let since: Timestamp

    init(row: Row) throws {
        (org, event, since) = (try row.get("org"), try row.get("event"), try row.get("since"))
    }
}

/// An in-app conversion that waits for its install's decision.
private struct WaitingConversion: RowDecodable, Sendable {
    let org: String
    let app: String
    let eventID: String
    let conversion: String
    let at: Timestamp
    let receivedAt: Timestamp
    let repeats: ConversionDefinition.Repeats
    let orderID: String?
    let value: Money?
    let refusal: String
    var keys = InstallKeys()

    init(row: Row) throws {
        (org, app) = (try row.get("org"), try row.get("app"))
        (eventID, conversion) = (try row.get("event_id"), try row.get("conversion"))
        (at, receivedAt) = (try row.get("at"), try row.get("received_at"))
        (repeats, orderID) = (try row.word("repeats"), try row.optional("order_id"))
        (value, refusal) = (try Money(row: row), try row.get("refusal"))
        keys.device = try row.optional("device_key")
        keys.advertising = try row.optional("advertising_key")
        keys.vendor = try row.optional("vendor_key")
        keys.user = try row.optional("user_key")
    }

    /// What is told once: the event, the order, or what the person did for the first time.
    /// - Parameter install: identifiers of the install, which are the same when it is installed again.
    func subject(_ install: InstallKeys) -> UID {
        let person = (install.device ?? install.advertising ?? install.vendor ?? install.user).map { "\($0)" } ?? ""
        if repeats == .oncePerPerson, !person.isEmpty { return NewCallback.subject(["once", app, conversion, person]) }
        if repeats == .perOrderID, let orderID {
            return NewCallback.subject(["order", app, conversion, person, orderID])
        }
        return NewCallback.subject(["event", app, conversion, eventID])
    }
}
