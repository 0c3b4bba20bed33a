internal import AurumCore
internal import Database
internal import Events

/// Statements over many rows, and rows read back.
enum InstallRows {
    private static func text(_ value: String?) -> JSONValue { value.map { .string($0.storable) } ?? .null }
    private static func key(_ value: Int64?) -> JSONValue { value.map { .integer($0) } ?? .null }
    private static func word(_ value: UInt64) -> JSONValue { .integer(Int64(bitPattern: value)) }

    /// A list for each touch, in the order of the columns.
    static func json(_ touches: [SeenTouch]) -> String {
        let rows = touches.map { seen -> JSONValue in
            let (found, keys) = (seen.touch, seen.keys)
            let touch = found.touch
            return .array([
                text(seen.org), text(found.app), text(found.eventID), text(touch.kind.rawValue),
                .integer(touch.at.microseconds), text(touch.network), text(touch.campaign), text(touch.publisher),
                text(found.creative), text(found.adGroup), text(found.channel), text(touch.clickID),
                text(touch.deviceID), text(touch.addressHash), text(touch.userAgent), text(touch.system),
                key(keys.device), key(keys.advertising), key(keys.vendor), key(keys.click), key(keys.user),
                word(found.place.person), word(found.place.order), .integer(Int64(found.place.tail)),
                word(found.place.click), text(touch.addressNetwork),
            ])
        }
        return JSONValue.array(rows).canonical
    }

    static func insertTouches(_ json: String) -> SQLStatement {
        .dialect(
            sqlite: """
                INSERT INTO install_touches (org, app, event_id, kind, at, network, campaign, publisher, creative,
                    ad_group, channel, click_id, device_id, address_hash, user_agent, system, device_key,
                    advertising_key, vendor_key, click_key, user_key, person, sort_id, sort_tail, click_hash,
                    address_network)
                SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
                    json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]'),
                    json_extract(value, '$[6]'), json_extract(value, '$[7]'), json_extract(value, '$[8]'),
                    json_extract(value, '$[9]'), json_extract(value, '$[10]'), json_extract(value, '$[11]'),
                    json_extract(value, '$[12]'), json_extract(value, '$[13]'), json_extract(value, '$[14]'),
                    json_extract(value, '$[15]'), json_extract(value, '$[16]'), json_extract(value, '$[17]'),
                    json_extract(value, '$[18]'), json_extract(value, '$[19]'), json_extract(value, '$[20]'),
                    json_extract(value, '$[21]'), json_extract(value, '$[22]'), json_extract(value, '$[23]'),
                    json_extract(value, '$[24]'), json_extract(value, '$[25]')
                FROM json_each(\(json)) WHERE true
                ON CONFLICT (org, app, event_id) DO NOTHING
                """,
            postgres: """
                INSERT INTO install_touches (org, app, event_id, kind, at, network, campaign, publisher, creative,
                    ad_group, channel, click_id, device_id, address_hash, user_agent, system, device_key,
                    advertising_key, vendor_key, click_key, user_key, person, sort_id, sort_tail, click_hash,
                    address_network)
                SELECT value->>0, value->>1, value->>2, value->>3, CAST(value->>4 AS BIGINT), value->>5, value->>6,
                    value->>7, value->>8, value->>9, value->>10, value->>11, value->>12, value->>13, value->>14,
                    value->>15, CAST(value->>16 AS BIGINT), CAST(value->>17 AS BIGINT), CAST(value->>18 AS BIGINT),
                    CAST(value->>19 AS BIGINT), CAST(value->>20 AS BIGINT), CAST(value->>21 AS BIGINT),
                    CAST(value->>22 AS BIGINT), CAST(value->>23 AS BIGINT), CAST(value->>24 AS BIGINT), value->>25
                FROM jsonb_array_elements(CAST(\(json) AS JSONB))
                ON CONFLICT (org, app, event_id) DO NOTHING
                """)
    }

    static func json(_ installs: [SeenInstall]) -> String {
        let rows = installs.map { seen -> JSONValue in
            let (facts, keys) = (seen.facts, seen.keys)
            return .array([
                text(facts.org), text(facts.app), text(seen.eventID), .integer(facts.at.microseconds),
                .integer(seen.receivedAt.microseconds), .string(facts.json.canonical), key(keys.device),
                key(keys.advertising), key(keys.vendor), key(keys.user), key(keys.click), word(seen.person),
            ])
        }
        return JSONValue.array(rows).canonical
    }

    static func insertInstalls(_ json: String) -> SQLStatement {
        .dialect(
            sqlite: """
                INSERT INTO installs (org, app, event_id, at, received_at, state, version, facts, device_key,
                    advertising_key, vendor_key, user_key, click_key, person)
                SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
                    json_extract(value, '$[3]'), json_extract(value, '$[4]'), 'waiting', 0,
                    json_extract(value, '$[5]'), json_extract(value, '$[6]'), json_extract(value, '$[7]'),
                    json_extract(value, '$[8]'), json_extract(value, '$[9]'), json_extract(value, '$[10]'),
                    json_extract(value, '$[11]')
                FROM json_each(\(json)) WHERE true
                ON CONFLICT (org, app, event_id) DO NOTHING
                """,
            postgres: """
                INSERT INTO installs (org, app, event_id, at, received_at, state, version, facts, device_key,
                    advertising_key, vendor_key, user_key, click_key, person)
                SELECT value->>0, value->>1, value->>2, CAST(value->>3 AS BIGINT), CAST(value->>4 AS BIGINT),
                    'waiting', 0, value->>5, CAST(value->>6 AS BIGINT), CAST(value->>7 AS BIGINT),
                    CAST(value->>8 AS BIGINT), CAST(value->>9 AS BIGINT), CAST(value->>10 AS BIGINT),
                    CAST(value->>11 AS BIGINT)
                FROM jsonb_array_elements(CAST(\(json) AS JSONB))
                ON CONFLICT (org, app, event_id) DO NOTHING
                """)
    }

    /// The newest touches under a key, of one kind and no later than `to`.
    static func touches(
        _ lookup: InstallLookup, _ org: String, _ kind: CandidateTouch.Kind, from: Timestamp, to: Timestamp
    ) -> SQLStatement {
        let (key, kind, most) = (lookup.key, kind.rawValue, InstallStore.candidatesMax)
        return switch lookup.column {
        case .device:
            """
            SELECT * FROM install_touches WHERE device_key = \(key) AND kind = \(kind) AND at >= \(from)
                AND at <= \(to) AND org = \(org) ORDER BY at DESC, event_id DESC LIMIT \(most)
            """
        case .advertising:
            """
            SELECT * FROM install_touches WHERE advertising_key = \(key) AND kind = \(kind) AND at >= \(from)
                AND at <= \(to) AND org = \(org) ORDER BY at DESC, event_id DESC LIMIT \(most)
            """
        case .vendor:
            """
            SELECT * FROM install_touches WHERE vendor_key = \(key) AND kind = \(kind) AND at >= \(from)
                AND at <= \(to) AND org = \(org) ORDER BY at DESC, event_id DESC LIMIT \(most)
            """
        case .click:
            """
            SELECT * FROM install_touches WHERE click_key = \(key) AND kind = \(kind) AND at >= \(from)
                AND at <= \(to) AND org = \(org) ORDER BY at DESC, event_id DESC LIMIT \(most)
            """
        case .user:
            """
            SELECT * FROM install_touches WHERE user_key = \(key) AND kind = \(kind) AND at >= \(from)
                AND at <= \(to) AND org = \(org) ORDER BY at DESC, event_id DESC LIMIT \(most)
            """
        }
    }
}

/// A kept touch.
struct TouchRow: RowDecodable, Sendable {
    var touch: InstallTouch

    init(row: Row) throws {
        let id: String = try row.get("event_id")
        let kind: String = try row.get("kind")
        var bare = CandidateTouch(id: .ofEvent(id), at: try row.get("at"), kind: kind == "click" ? .click : .view)
        bare.event = UID.textOfEvent(id)
        bare.network = try row.optional("network")
        bare.campaign = try row.optional("campaign")
        bare.publisher = try row.optional("publisher")
        bare.clickID = try row.optional("click_id")
        bare.deviceID = try row.optional("device_id")
        bare.addressHash = try row.optional("address_hash")
        bare.addressNetwork = try row.optional("address_network")
        bare.userAgent = try row.optional("user_agent")
        bare.system = try row.optional("system")
        touch = InstallTouch(bare, eventID: id, app: try row.get("app"))
        touch.creative = try row.optional("creative")
        touch.adGroup = try row.optional("ad_group")
        touch.channel = try row.get("channel")
        touch.place = try JourneyPlace(row: row, person: "person")
    }
}

extension JourneyPlace {
    /// - Parameter column: where the person stands.
    init(row: Row, person column: String) throws {
        person = UInt64(bitPattern: try row.get(column))
        order = UInt64(bitPattern: try row.get("sort_id"))
        tail = UInt16(truncatingIfNeeded: try row.get("sort_tail", as: Int64.self))
        click = UInt64(bitPattern: try row.get("click_hash"))
    }
}

/// A kept install.
struct InstallRow: RowDecodable, Sendable {
    var install: KeptInstall

    init(row: Row) throws {
        let body: JSONValue = try row.get("facts")
        var facts = InstallFacts(
            org: try row.get("org"), app: try row.get("app"), id: .ofEvent(try row.get("event_id")),
            at: try row.get("at"))
        facts.event = UID.textOfEvent(try row.get("event_id"))
        facts.read(body)
        var keys = InstallKeys()
        keys.device = try row.optional("device_key")
        keys.advertising = try row.optional("advertising_key")
        keys.vendor = try row.optional("vendor_key")
        keys.user = try row.optional("user_key")
        keys.click = try row.optional("click_key")
        install = KeptInstall(
            facts: facts, eventID: try row.get("event_id"), receivedAt: try row.get("received_at"), keys: keys,
            person: UInt64(bitPattern: try row.get("person")), version: try row.get("version"))
    }
}

extension InstallFacts {
    /// What the columns of the table do not say.
    var json: JSONValue {
        var members: [String: JSONValue] = [:]
        let texts = [
            ("device_id", deviceID), ("advertising_id", advertisingID), ("vendor_id", vendorID), ("user_id", userID),
            ("click_id", clickID), ("install_referrer", installReferrer), ("deep_link_click_id", deepLinkClickID),
            ("address_hash", addressHash), ("address_network", addressNetwork), ("user_agent", userAgent),
            ("system", system),
        ]
        for (name, text) in texts { if let text { members[name] = .string(text.storable) } }
        if let installBeganAt { members["install_began_at"] = .integer(installBeganAt.microseconds) }
        if isEmulator { members["emulator"] = true }
        if isFromDataCentre { members["data_centre"] = true }
        if let refusal { members["ads_refused"] = .string(refusal.rawValue) }
        return .object(members)
    }

    fileprivate mutating func read(_ body: JSONValue) {
        (deviceID, advertisingID) = (body["device_id"]?.string, body["advertising_id"]?.string)
        (vendorID, userID) = (body["vendor_id"]?.string, body["user_id"]?.string)
        (clickID, installReferrer) = (body["click_id"]?.string, body["install_referrer"]?.string)
        deepLinkClickID = body["deep_link_click_id"]?.string
        (addressHash, userAgent) = (body["address_hash"]?.string, body["user_agent"]?.string)
        (system, addressNetwork) = (body["system"]?.string, body["address_network"]?.string)
        installBeganAt = body["install_began_at"]?.integer.map { Timestamp(microseconds: $0) }
        (isEmulator, isFromDataCentre) = (body["emulator"] == true, body["data_centre"] == true)
        refusal = body["ads_refused"]?.string.flatMap { UploadRefusal(rawValue: $0) }
    }

    /// The device as answers name it.
    package var device: String? {
        [deviceID, advertisingID, vendorID].compactMap { $0 }.first { InstallKeys.isUsable($0) }
    }
}
