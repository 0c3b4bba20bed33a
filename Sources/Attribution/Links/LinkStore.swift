package import AurumCore
package import Database
internal import Events

/// A click on a link, as it is kept until its payload was asked for.
package struct LinkClick: Sendable {
    package var id: String
    package var at: Timestamp
    package var target: ShortLink.Target
    package var deviceID: String?
    package var advertisingID: String?

    package init(
        id: String, at: Timestamp, target: ShortLink.Target, deviceID: String? = nil, advertisingID: String? = nil
    ) {
        (self.id, self.at, self.target) = (id, at, target)
        (self.deviceID, self.advertisingID) = (deviceID, advertisingID)
    }
}

/// Short links and the clicks on them.
package struct LinkStore: Sendable {
    private let database: Database
    private let clock: any WallClock
    /// Of one organisation.
    package static let linksMax = 100_000
    /// Longest time after a click in which its payload is given: microseconds.
    private static let keepClicks: Int64 = 8 * 86_400_000_000
    private static let purgedEach = 5000

    package init(database: Database, clock: any WallClock) { (self.database, self.clock) = (database, clock) }

    // MARK: links

    /// Answers with the link, or with the one that was made for the key.
    /// - Parameter isHere: whether the link's target is on this server's own host.
    /// - Throws: `LinkError.slugTaken`, `redirectLoop`, `tooMany`; `IdempotencyKeyReused`; database errors.
    package func add(_ link: ShortLink, isHere: Bool, once key: IdempotencyKey? = nil) async throws -> JSONValue {
        let target = ShortLink.slug(inAddress: link.webURL)
        if target != nil, isHere { throw LinkError.redirectLoop }
        return try await database.write("links.add") { transaction in
            try transaction.once(key) {
                // Under whatever name of this server.
                if let target, try target == link.slug || Self.find(target, in: transaction) != nil {
                    throw LinkError.redirectLoop
                }
                let count = try transaction.value(Int.self, "SELECT COUNT(*) FROM links WHERE org = \(link.org)") ?? 0
                guard count < Self.linksMax else { throw LinkError.tooMany }
                let added = try transaction.run(
                    """
                    INSERT INTO links (slug, org, app, body, expires_at, created_at)
                    VALUES (\(link.slug), \(link.org), \(link.app), \(JSONValue.object(link.members)),
                        \(link.expiresAt), \(link.createdAt))
                    ON CONFLICT (slug) DO NOTHING
                    """)
                guard added == 1 else { throw LinkError.slugTaken }
                return KeptAnswer(made: link.json)
            }
        }.json()
    }

    /// The link of an address, whatever its organisation.
    package func link(slug: String) async throws -> ShortLink? {
        guard ShortLink.isSlug(slug) else { return nil }
        return try await database.read("links.find") { try Self.find(slug, in: $0) }
    }

    private static func find(_ slug: String, in transaction: Transaction) throws -> ShortLink? {
        guard ShortLink.isSlug(slug) else { return nil }
        return try transaction.one(
            LinkRow.self,
            "SELECT slug, org, app, body, expires_at, created_at FROM links WHERE slug = \(slug)")?.link
    }

    /// Links of an organisation, newest first.
    /// - Parameter after: the slug that the page before ended with.
    package func list(org: String, limit: Int, after: String? = nil) async throws -> [ShortLink] {
        let (isFirst, slug) = (after == nil ? 1 : 0, after ?? "")
        return try await database.read("links.list") { transaction in
            let at = try transaction.value(
                Timestamp.self, "SELECT created_at FROM links WHERE org = \(org) AND slug = \(slug)")
            let last = at ?? Timestamp(microseconds: .min)
            return try transaction.all(
                LinkRow.self,
                """
                SELECT slug, org, app, body, expires_at, created_at FROM links
                WHERE org = \(org) AND (\(isFirst) = 1 OR created_at < \(last)
                    OR (created_at = \(last) AND slug > \(slug)))
                ORDER BY created_at DESC, slug LIMIT \(limit)
                """
            ).map(\.link)
        }
    }

    /// - Throws: `LinkError.unknown`; database errors.
    package func remove(slug: String, org: String) async throws {
        let removed = try await database.write("links.remove") { transaction in
            try transaction.run("DELETE FROM links WHERE slug = \(slug) AND org = \(org)")
        }
        guard removed > 0 else { throw LinkError.unknown }
    }

    // MARK: clicks

    /// Keeps a click, so that its payload can be asked for once.
    package func keep(_ click: LinkClick, on link: ShortLink) async throws {
        func key(_ kind: InstallKeys.Kind, _ value: String?) -> Int64? { InstallKeys.key(kind, value, org: link.org) }
        let (device, advertising) = (key(.device, click.deviceID), key(.advertising, click.advertisingID))
        let path =
            switch click.target {
            case .ios: link.ios?.path
            case .android: link.android?.path
            case .web: String?.none
            }
        let payload: JSONValue = [
            "payload": link.payload, "path": path.map { .string($0) } ?? .null,
            "target": .string(click.target.rawValue),
        ]
        let campaign = JSONValue.object(link.campaign.mapValues { .string($0) })
        try await database.write("links.click") { transaction in
            try transaction.run(
                """
                INSERT INTO link_clicks (org, click_id, slug, at, device_key, advertising_key, campaign, payload)
                VALUES (\(link.org), \(click.id), \(link.slug), \(click.at), \(device), \(advertising), \(campaign),
                    \(payload))
                ON CONFLICT (org, click_id) DO NOTHING
                """)
        }
    }

    /// What a first open asks with: any of these.
    package struct Question: Sendable, Equatable {
        package var clickID: String?
        package var referrer: String?
        package var deviceID: String?
        package var advertisingID: String?

        package init() {}

        /// Whether there is anything to look for.
        package var isEmpty: Bool {
            ![clickID, ClickIDs.inReferrer(referrer), deviceID, advertisingID].contains {
                $0.map { InstallKeys.isUsable($0) } ?? false
            }
        }
    }

    /// Gives the payload and campaign of a click, once.
    /// - Parameter hours: after the click.
    /// - Throws: `LinkError.clickUnknown`, `clickExpired`, `alreadyResolved`; database errors.
    package func resolve(_ question: Question, org: String, hours: Int) async throws -> JSONValue {
        let ids = [question.clickID, ClickIDs.inReferrer(question.referrer)].compactMap { $0 }
            .filter { InstallKeys.isUsable($0) }
        let device = InstallKeys.key(.device, question.deviceID, org: org)
        let advertising = InstallKeys.key(.advertising, question.advertisingID, org: org)
        let now = clock.now
        return try await database.write("links.resolve") { transaction in
            guard let found = try Self.find(ids, device, advertising, org: org, in: transaction) else {
                throw LinkError.clickUnknown
            }
            if found.resolvedAt != nil { throw LinkError.alreadyResolved }
            guard now - found.at <= .seconds(hours * 3600) else { throw LinkError.clickExpired }
            let taken = try transaction.run(
                """
                UPDATE link_clicks SET resolved_at = \(now)
                WHERE org = \(org) AND click_id = \(found.clickID) AND resolved_at IS NULL
                """)
            guard taken == 1 else { throw LinkError.alreadyResolved }
            return found.json
        }
    }

    /// The click of an id; else the newest of a device.
    private static func find(
        _ ids: [String], _ device: Int64?, _ advertising: Int64?, org: String, in transaction: Transaction
    ) throws -> LinkClickRow? {
        for id in ids {
            let found = try transaction.one(
                LinkClickRow.self, "SELECT * FROM link_clicks WHERE org = \(org) AND click_id = \(id)")
            if let found { return found }
        }
        let devices = [
            try device.flatMap {
                try transaction.one(
                    LinkClickRow.self,
                    """
                    SELECT * FROM link_clicks WHERE device_key = \($0) AND org = \(org)
                    ORDER BY at DESC, click_id DESC LIMIT 1
                    """)
            },
            try advertising.flatMap {
                try transaction.one(
                    LinkClickRow.self,
                    """
                    SELECT * FROM link_clicks WHERE advertising_key = \($0) AND org = \(org)
                    ORDER BY at DESC, click_id DESC LIMIT 1
                    """)
            },
        ]
        return devices.compactMap { $0 }.max { ($0.at, $0.clickID) < ($1.at, $1.clickID) }
    }

    /// Removes clicks whose payload nobody may ask for any more.
    /// - Returns: how many.
    @discardableResult
    package func purge() async throws -> Int {
        let before = Timestamp(microseconds: clock.now.microseconds - Self.keepClicks)
        var (removed, count) = (0, Self.purgedEach)
        while count == Self.purgedEach {
            try Task.checkCancellation()
            count = try await database.write("links.purge") { transaction in
                try transaction.run(
                    """
                    DELETE FROM link_clicks WHERE (org, click_id) IN (
                        SELECT org, click_id FROM link_clicks WHERE at < \(before) ORDER BY at
                        LIMIT \(Self.purgedEach))
                    """)
            }
            removed += count
        }
        return removed
    }
}

private struct LinkClickRow: RowDecodable, Sendable {
    let clickID: String
    let slug: String
    let at: Timestamp
    let resolvedAt: Timestamp?
    let campaign: JSONValue
    let payload: JSONValue

    init(row: Row) throws {
        (clickID, slug, at) = (try row.get("click_id"), try row.get("slug"), try row.get("at"))
        (resolvedAt, campaign) = (try row.optional("resolved_at"), try row.get("campaign"))
        payload = try row.get("payload")
    }

    var json: JSONValue {
        var members = payload.object ?? [:]
        members["campaign"] = campaign
        members["click_id"] = .string(clickID)
        members["clicked_at"] = .string(at.rfc3339)
        members["link"] = .string(slug)
        return .object(members)
    }
}

private struct LinkRow: RowDecodable, Sendable {
    let link: ShortLink

    init(row: Row) throws {
        let body: JSONValue = try row.get("body")
        func app(_ name: String, _ id: String) -> ShortLink.App? {
            body[name]?[id]?.string.map { ShortLink.App(id: $0, path: body[name]?["path"]?.string) }
        }
        var link = ShortLink(
            slug: try row.get("slug"), org: try row.get("org"), app: try row.get("app"),
            webURL: body["web_url"]?.string ?? "")
        (link.ios, link.android) = (app("ios", "app"), app("android", "package"))
        link.campaign = (body["campaign"]?.object ?? [:]).compactMapValues(\.string)
        link.payload = body["payload"] ?? .object([:])
        (link.expiresAt, link.createdAt) = (try row.optional("expires_at"), try row.get("created_at"))
        self.link = link
    }
}
