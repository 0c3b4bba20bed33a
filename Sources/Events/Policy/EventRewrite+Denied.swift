internal import AurumCore

/// Events of people who denied analytics: what happened stays, who it was goes.
extension EventRewrite {
    /// Members of the event that say what happened, when and where.
    private static let kept: Set<String> = [
        "id", "messageId", "type", "name", "event", "ts", "timestamp", "originalTimestamp", "sent_at", "sentAt", "url",
        "referrer", "title", "screen", "campaign", "value", "currency", "quantity", "props", "properties", "context",
        "consent", "category", "channel", "replayed_at", "replay_of", "plan_version", "plan_warning",
    ]
    private static let keptInContext: Set<String> = [
        "locale", "timezone", "platform", "os", "os_version", "app_version", "app_build", "device_model",
        "device_maker", "screen_width", "screen_height", "library", "library_version", "page", "campaign", "app",
        "screen", "device", "utm_id", "utm_campaign", "utm_source", "utm_medium", "utm_term", "utm_content", "channel",
    ]
    private static let keptInDevice: Set<String> = ["manufacturer", "model", "type"]
    private static let keptInPage: Set<String> = ["path", "title", "url", "referrer"]
    /// Names under which clients repeat identifiers among the properties.
    private static let identifying: Set<String> = [
        "distinct_id", "$device_id", "$session_id", "$window_id", "$user_id", "$anon_distinct_id", "$ip", "ip",
        "user_agent", "useragent", "$useragent", "$user_agent", "$raw_user_agent", "user_id", "userid", "anonymous_id",
        "anonymousid",
        "device_id", "deviceid", "session_id", "sessionid", "client_id", "clientid", "email", "phone",
    ]
    private static let locations: Set<String> = ["url", "referrer", "$current_url", "$referrer"]

    /// Fields that hold an identifier, or what is as good as one.
    private static let removed: [EventField] = [
        .anonymousID, .userID, .deviceID, .sessionID, .clickID, .orderID, .leadID, .advertisingID, .vendorID, .groupID,
        .previousID, .traceID, .installReferrer, .ip, .userAgent, .contextDeviceID, .contextAdvertisingID,
        .propertyOrderID,
    ]

    /// Takes out identifiers, address and user agent, also where the event repeats them in its properties.
    mutating func makeAnonymous(_ parser: inout EventParser) {
        var identifiers: Set<String> = []
        for field in Self.removed where parser.has(field) { identifiers.insert(text(&parser, field)) }
        identifiers.remove("")
        for member in JSONPlaces.members(raw, 0..<raw.count) {
            switch member.name {
            case "url", "referrer": cleanLocation(member.value, identifiers)
            case "props", "properties": scrub(member.value, identifiers)
            case "context": anonymousContext(member.value, identifiers)
            case "id", "messageId": anonymousID(member.value, identifiers)
            case _ where !Self.kept.contains(member.name): edits.remove(member.value)
            default: break
            }
        }
    }

    /// An event id that is an identifier of a person is hashed: the event is still known when it comes again.
    private mutating func anonymousID(_ value: Range<Int>, _ identifiers: Set<String>) {
        guard raw[value.lowerBound] == 0x22 else { return }
        let id = JSONPlaces.string(raw, value)
        guard identifiers.contains(id) || PersonalShape.of(id) == .email else { return }
        edits.replace(value, "\"h:\(sealer.lookupHash(PersonalCanonical.text(id), org: org))\"")
    }

    private mutating func anonymousContext(_ range: Range<Int>, _ identifiers: Set<String>) {
        for member in JSONPlaces.members(raw, range) {
            switch member.name {
            case "device": keep(Self.keptInDevice, of: member.value, identifiers)
            case "page": keep(Self.keptInPage, of: member.value, identifiers)
            case _ where !Self.keptInContext.contains(member.name): edits.remove(member.value)
            default: break
            }
        }
    }

    private mutating func keep(_ names: Set<String>, of range: Range<Int>, _ identifiers: Set<String>) {
        guard raw[range.lowerBound] == 0x7b else { return edits.remove(range) }
        for member in JSONPlaces.members(raw, range) {
            if !names.contains(member.name) {
                edits.remove(member.value)
            } else if Self.locations.contains(member.name) {
                cleanLocation(member.value, identifiers)
            }
        }
    }

    /// Takes identifiers out of the properties, at any depth.
    private mutating func scrub(_ range: Range<Int>, _ identifiers: Set<String>) {
        switch raw[range.lowerBound] {
        case 0x7b:
            for member in JSONPlaces.members(raw, range) {
                let name = member.name.lowercased()
                if Self.identifying.contains(name) || keys.holdsOwn(member.name)
                    || (Self.isOrder(name) && raw[member.value.lowerBound] == 0x22)
                {
                    edits.remove(member.value)
                } else if Self.locations.contains(name) {
                    cleanLocation(member.value, identifiers)
                } else {
                    scrub(member.value, identifiers)
                }
            }
        case 0x5b:
            for element in JSONPlaces.elements(raw, range) { scrub(element, identifiers) }
        case 0x22:
            let text = JSONPlaces.string(raw, range)
            if identifiers.contains(text) || (text.utf8.count < 400 && PersonalShape.of(text) != nil) {
                edits.remove(range)
            }
        default: break
        }
    }

    private static func isOrder(_ name: String) -> Bool { name == "order_id" || name == "orderid" }

    /// Takes click ids, identifiers and e-mail addresses out of a URL's query.
    private mutating func cleanLocation(_ range: Range<Int>, _ identifiers: Set<String>) {
        guard raw[range.lowerBound] == 0x22 else { return }
        let location = JSONPlaces.string(raw, range)
        let cleaned = AnonymousLocation.of(location, identifiers)
        if cleaned != location { edits.replace(range, JSONValue.quoted(cleaned)) }
    }
}

/// A URL without what names a person.
enum AnonymousLocation {
    private static let clickIDs = Set(AdvertisingLink.clickIDs.map { "\($0.parameter)".lowercased() })

    /// The URL without its fragment and user, and without parameters that are a click id or an identifier, or hold
    /// an `@`.
    static func of(_ location: String, _ identifiers: Set<String>) -> String {
        let plain = location.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)[0]
        let parts = plain.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        let path = parts[0].split(separator: "/", omittingEmptySubsequences: false).map { part in
            part.contains("@") || identifiers.contains(String(part)) ? "-" : part
        }
        guard parts.count == 2 else { return path.joined(separator: "/") }
        let query = parts[1].split(separator: "&").filter { !isPersonal($0, identifiers) }
        return path.joined(separator: "/") + (query.isEmpty ? "" : "?" + query.joined(separator: "&"))
    }

    private static func isPersonal(_ parameter: Substring, _ identifiers: Set<String>) -> Bool {
        let pair = parameter.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        if clickIDs.contains(pair[0].lowercased()) { return true }
        guard pair.count == 2 else { return false }
        let value = pair[1].lowercased()
        if value.contains("@") || value.contains("%40") || identifiers.contains(String(pair[1])) { return true }
        return PersonalShape.of(value) != nil
    }
}
