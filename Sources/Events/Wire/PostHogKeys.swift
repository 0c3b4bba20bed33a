/// The names of PostHog's events that mean something to the contract.
enum PostHogKeys {
    /// Members around the events.
    static let batch = 0
    static let key = 1
    static let sentAt = 2
    static let historical = 3
    static let envelope = KeyTable([
        ("batch", batch), ("api_key", key), ("token", key), ("sent_at", sentAt), ("historical_migration", historical),
    ])

    /// Members of an event.
    enum Member: Int, CaseIterable {
        case event, uuid, distinctID, timestamp, properties, set, setOnce, offset, token, apiKey, sentAt, historical

        /// The field that stands for it.
        var contractName: StaticString {
            switch self {
            case .event: "name"
            case .uuid: "id"
            case .distinctID: "anonymous_id"
            case .timestamp, .offset: "ts"
            case .properties: "props"
            case .sentAt: "sent_at"
            case .set, .setOnce, .token, .apiKey, .historical: "traits"
            }
        }
    }

    static let members = KeyTable([
        ("event", Member.event.rawValue), ("uuid", Member.uuid.rawValue),
        ("distinct_id", Member.distinctID.rawValue), ("timestamp", Member.timestamp.rawValue),
        ("properties", Member.properties.rawValue), ("$set", Member.set.rawValue),
        ("$set_once", Member.setOnce.rawValue), ("offset", Member.offset.rawValue), ("token", Member.token.rawValue),
        ("api_key", Member.apiKey.rawValue), ("sent_at", Member.sentAt.rawValue),
        ("historical_migration", Member.historical.rawValue),
    ])

    /// Properties that stand for a field of the contract as well.
    enum Property: Int, CaseIterable {
        case currentURL, referrer, title, screenName, sessionID, anonymousDistinctID, distinctID, alias
        case groupKey, groupSet, set, setOnce, insertID, token
        case ip, rawUserAgent, os, osVersion, library, libraryVersion, deviceModel, deviceMaker, appVersion, appBuild
        case locale, browserLanguage, timezone, screenWidth, screenHeight
        case utmSource, utmMedium, utmCampaign, utmTerm, utmContent
    }

    static let properties = KeyTable(
        ([
            ("$current_url", .currentURL), ("$referrer", .referrer), ("title", .title), ("$screen_name", .screenName),
            ("$session_id", .sessionID), ("$anon_distinct_id", .anonymousDistinctID), ("distinct_id", .distinctID),
            ("alias", .alias), ("$group_key", .groupKey), ("$group_set", .groupSet), ("$set", .set),
            ("$set_once", .setOnce), ("$insert_id", .insertID), ("token", .token), ("$ip", .ip),
            ("$raw_user_agent", .rawUserAgent), ("$os", .os), ("$os_version", .osVersion), ("$lib", .library),
            ("$lib_version", .libraryVersion), ("$device_model", .deviceModel),
            ("$device_manufacturer", .deviceMaker), ("$app_version", .appVersion), ("$app_build", .appBuild),
            ("$locale", .locale), ("$browser_language", .browserLanguage), ("$timezone", .timezone),
            ("$screen_width", .screenWidth), ("$screen_height", .screenHeight), ("utm_source", .utmSource),
            ("utm_medium", .utmMedium), ("utm_campaign", .utmCampaign), ("utm_term", .utmTerm),
            ("utm_content", .utmContent),
        ] as [(String, Property)]).map { ($0.0, $0.1.rawValue) })

    static let contextTexts: [(StaticString, Property)] = [
        ("ip", .ip), ("user_agent", .rawUserAgent), ("os", .os), ("os_version", .osVersion), ("library", .library),
        ("library_version", .libraryVersion), ("device_model", .deviceModel), ("device_maker", .deviceMaker),
        ("app_version", .appVersion), ("app_build", .appBuild), ("locale", .locale), ("timezone", .timezone),
    ]

    static let campaignTexts: [(StaticString, Property)] = [
        ("source", .utmSource), ("medium", .utmMedium), ("name", .utmCampaign), ("term", .utmTerm),
        ("content", .utmContent),
    ]

    /// What the name of an event says of its type.
    enum Kind: Int {
        case page, screen, identify, alias, group, set, other

        private static let names = KeyTable([
            ("$pageview", page.rawValue), ("$screen", screen.rawValue), ("$identify", identify.rawValue),
            ("$create_alias", alias.rawValue), ("$groupidentify", group.rawValue), ("$set", set.rawValue),
            ("$set_once", set.rawValue),
        ])

        init(_ event: JSONText?) {
            guard let event, event.isString else {
                self = .other
                return
            }
            self = Kind(rawValue: Self.names.code(event.content)) ?? .other
        }

        /// A JSON literal.
        var type: StaticString {
            switch self {
            case .page: "\"page\""
            case .screen: "\"screen\""
            case .identify, .set: "\"identify\""
            case .alias: "\"alias\""
            case .group: "\"group\""
            case .other: "\"track\""
            }
        }
    }
}

/// Times as foreign clients write them.
enum ForeignTime {
    /// Whether the text is RFC 3339 as far as a look can tell: a `T` in its place and a zone at its end.
    static func isPlain(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        guard text.count >= 20, text[10] == 0x54 else { return false }
        let last = text[text.count - 1]
        return last == 0x5a || (text[text.count - 3] == 0x3a && [0x2b, 0x2d].contains(text[text.count - 6]))
    }

    /// ISO 8601 without a zone means UTC; a space may stand for the `T`, and a zone may lack its colon. Anything else
    /// stays as it is, for the contract to refuse.
    static func fixed(_ text: String) -> String {
        var bytes = Array(text.utf8)
        guard bytes.count >= 16, bytes[4] == 0x2d, bytes[7] == 0x2d else { return text }
        if bytes[10] == 0x20 { bytes[10] = 0x54 }
        let zone = bytes[11...].firstIndex { [0x5a, 0x7a, 0x2b, 0x2d].contains($0) }
        if let zone {
            if bytes.count - zone == 5 { bytes.insert(0x3a, at: zone + 3) }
            if bytes.count - zone == 3, bytes[zone] != 0x5a { bytes += Array(":00".utf8) }
        } else {
            bytes.append(0x5a)
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// A write key among the properties of an event is a credential and stays out of the log.
enum ForeignCredential {
    /// Whether the text looks like one of our keys: two letters, an id of 8 and a secret of 43 characters.
    static func isOne(_ text: JSONText) -> Bool {
        let content = text.content
        guard text.isString, content.count == 55, content[2] == 0x5f, content[11] == 0x5f else { return false }
        return ["wk", "sk", "at"].contains { content.prefix(2).elementsEqual($0.utf8) }
    }
}
