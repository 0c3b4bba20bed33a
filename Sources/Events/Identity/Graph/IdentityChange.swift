internal import AurumCore

/// What one event says about who is who. No text but the actor's: identifiers are keyed hashes.
package struct IdentityChange: Sendable, Equatable {
    package enum Kind: Sendable, Equatable {
        case link(LinkCause)
        case unmerge(MergeID)
    }

    package var kind: Kind
    /// Linked to `to`, in this order.
    package var from: LinkEnd?
    package var alsoFrom: LinkEnd?
    package var to: LinkEnd?
    /// Who merged by hand; empty for events of senders.
    package var actor = ""

    package init(_ kind: Kind, from: LinkEnd? = nil, alsoFrom: LinkEnd? = nil, to: LinkEnd? = nil, actor: String = "") {
        (self.kind, self.from, self.alsoFrom, self.to, self.actor) = (kind, from, alsoFrom, to, actor)
    }
}

/// Which events say who is who, and the names of those that Aurum writes itself.
enum IdentityRule {
    static let merged = "identity.merged"
    static let unmerged = "identity.unmerged"
    private static let types: UInt32 =
        1 << UInt32(EventType.identify.rawValue) | 1 << UInt32(EventType.alias.rawValue)
        | 1 << UInt32(EventType.internal.rawValue)

    /// Whether an event of this type may say something.
    @inline(__always)
    static func mayLink(_ type: Int) -> Bool { types & (1 &<< UInt32(truncatingIfNeeded: type & 31)) != 0 }

    /// Duplicates, quarantined events and bots say nothing.
    @inline(__always)
    static func counts(_ outcome: EventOutcome) -> Bool { outcome == .stored || outcome == .late }

    /// Links that an `identify` makes: its anonymous and its device id to its user id.
    static func identify(anonymous: LinkEnd?, device: LinkEnd?, user: LinkEnd?) -> IdentityChange? {
        guard let user, anonymous != nil || device != nil else { return nil }
        return IdentityChange(.link(.identify), from: anonymous, alsoFrom: device, to: user)
    }

    /// What a `previous_id` was is not said: both an anonymous and a user id of that value become the user.
    static func alias(anonymous: LinkEnd?, user previous: LinkEnd?, to user: LinkEnd?) -> IdentityChange? {
        guard let anonymous, let previous, let user else { return nil }
        return IdentityChange(.link(.alias), from: anonymous, alsoFrom: previous, to: user)
    }

    /// Reads what `IdentityService` writes.
    static func change(name: String, props: JSONValue?) -> IdentityChange? {
        guard let props else { return nil }
        let actor = props["actor"]?.string ?? ""
        switch name {
        case merged:
            guard let a = end(props["a"]), let b = end(props["b"]) else { return nil }
            return IdentityChange(.link(.manual), from: a, to: b, actor: actor)
        case unmerged:
            guard let merge = props["merge_id"]?.string.flatMap({ MergeID($0) }) else { return nil }
            return IdentityChange(.unmerge(merge), actor: actor)
        default: return nil
        }
    }

    static func props(_ end: LinkEnd) -> JSONValue {
        ["namespace": .string(end.namespace.name), "key": .string(KeyText.hex(end.key))]
    }

    private static func end(_ value: JSONValue?) -> LinkEnd? {
        guard let namespace = value?["namespace"]?.string.flatMap({ PersonIdentifier.Namespace(name: $0) }),
            let key = value?["key"]?.string.flatMap({ KeyText.key($0) })
        else { return nil }
        return LinkEnd(key: key, namespace: namespace)
    }
}

/// The key of an identifier or person as text: 16 hex digits.
package enum KeyText {
    package static func hex(_ key: UInt64) -> String {
        let digits = String(key, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }

    static func key(_ text: String) -> UInt64? { text.utf8.count == 16 ? UInt64(text, radix: 16) : nil }
}

extension PersonIdentifier.Namespace {
    /// The word in requests and answers.
    package var name: String { "\(self)" }

    /// The namespaces that persons are made of. `distinct` ids stand in `anonymous_id` and are the same namespace.
    package init?(name: String) {
        switch name {
        case "anonymous", "distinct": self = .anonymous
        case "user": self = .user
        case "device": self = .device
        case "group": self = .group
        default: return nil
        }
    }
}

extension IdentityChange {
    /// What a stored event says; nil for most.
    init?(_ event: StoredEvent, _ keys: IdentityKeys) {
        func end(_ namespace: PersonIdentifier.Namespace, _ value: String?) -> LinkEnd? {
            guard let value, !value.isEmpty else { return nil }
            return LinkEnd(PersonIdentifier(namespace, value), keys)
        }
        let change: IdentityChange?
        switch event.type {
        case .identify:
            change = IdentityRule.identify(
                anonymous: end(.anonymous, event.anonymousID), device: end(.device, event.deviceID),
                user: end(.user, event.userID))
        case .alias:
            change = IdentityRule.alias(
                anonymous: end(.anonymous, event.previousID), user: end(.user, event.previousID),
                to: end(.user, event.userID))
        case .internal: change = IdentityRule.change(name: event.name, props: event.props)
        default: change = nil
        }
        guard let change else { return nil }
        self = change
    }
}

extension EventParser {
    /// What the parsed event says; nil for most. Equal to what its stored form says.
    @inline(never)
    mutating func identityChange(_ keys: IdentityKeys) -> IdentityChange? {
        switch EventType(rawValue: UInt8(truncatingIfNeeded: type)) {
        case .identify:
            guard isFilled(.userID) else { return nil }
            return IdentityRule.identify(
                anonymous: end(.anonymous, .anonymousID, keys),
                device: end(.device, isFilled(.deviceID) ? .deviceID : .contextDeviceID, keys),
                user: end(.user, .userID, keys))
        case .alias:
            return IdentityRule.alias(
                anonymous: end(.anonymous, .previousID, keys), user: end(.user, .previousID, keys),
                to: end(.user, .userID, keys))
        case .internal:
            let (bytes, count) = decoded(slice(.name))
            let name = String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
            guard name == IdentityRule.merged || name == IdentityRule.unmerged, has(.props) else { return nil }
            let text = slice(.props)
            let props = try? JSONReader.value(UnsafeBufferPointer(start: base + text.start, count: text.count))
            return IdentityRule.change(name: name, props: props)
        default: return nil
        }
    }

    private mutating func end(
        _ namespace: PersonIdentifier.Namespace, _ field: EventField, _ keys: IdentityKeys
    ) -> LinkEnd? {
        guard isFilled(field) else { return nil }
        let (bytes, count) = decoded(slice(field))
        return LinkEnd(
            key: keys.person(namespace, bytes, count).high, namespace: namespace,
            isLinkable: !NeverLinked.contains(UnsafeBufferPointer(start: bytes, count: count)))
    }
}
