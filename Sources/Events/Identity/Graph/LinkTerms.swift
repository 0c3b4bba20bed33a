internal import AurumCore

/// Bounds of the identity graph.
package struct IdentityLimits: Sendable, Equatable {
    /// Linked identifiers of the installation; above it links to new identifiers are refused with `identity_full`.
    package var identifiersMax = 5_000_000
    /// Identifiers of one person; at most 65,535, as are its links.
    package var personIdentifiersMax = 1000
    /// Links between the identifiers of one person, redundant ones included.
    package var personLinksMax = 4000
    /// Links read back from the log for one answer, to show values and event ids.
    package var readableLinksMax = 50
    /// Changes after which a checkpoint is written, or a quarter of all identifiers where that is more.
    package var checkpointChanges = 20_000

    package init() {}

    var rows: [(name: String, value: Int)] {
        [
            ("identity.identifiersMax", identifiersMax), ("identity.personIdentifiersMax", personIdentifiersMax),
            ("identity.personLinksMax", personLinksMax), ("identity.readableLinksMax", readableLinksMax),
            ("identity.checkpointChanges", checkpointChanges),
        ]
    }
}

/// What made a link. Raw values are written to the checkpoint and never change.
package enum LinkCause: UInt8, Sendable, CaseIterable {
    case identify = 1
    case alias, manual

    package var name: String { "\(self)" }
}

/// Why a link was not made. The raw value is the stable tag.
package enum LinkRefusal: String, Error, Sendable, CaseIterable {
    case notLinkable = "identifier_not_linkable"
    case mergeRefused = "merge_refused"
    case tooLarge = "identity_too_large"
    case full = "identity_full"

    /// One sentence for the caller; holds no user text.
    package var detail: String {
        switch self {
        case .notLinkable: "The identifier is empty, too long, a placeholder such as `null`, or of another kind."
        case .mergeRefused: "Both persons have a user id; only an alias or a merge by hand may join them."
        case .tooLarge: "The person would have more identifiers or links than a person may have."
        case .full: "The installation holds as many linked identifiers as it may."
        }
    }
}

/// One end of a link: the keyed hash of an identifier, and whether its value may be linked at all.
package struct LinkEnd: Sendable, Equatable {
    package var key: UInt64
    package var namespace: PersonIdentifier.Namespace
    package var isLinkable: Bool

    package init(key: UInt64, namespace: PersonIdentifier.Namespace, isLinkable: Bool = true) {
        (self.key, self.namespace, self.isLinkable) = (key, namespace, isLinkable)
    }

    init(_ identifier: PersonIdentifier, _ keys: IdentityKeys) {
        self.init(
            key: keys.person(identifier).high, namespace: identifier.namespace,
            isLinkable: !NeverLinked.contains(identifier.value))
    }
}

/// The name of one merge: the identifier that was linked, and the keyed hash of the event that did it.
package struct MergeID: Hashable, Sendable {
    package var from: UInt64
    package var tag: UInt64

    package init(from: UInt64, tag: UInt64) { (self.from, self.tag) = (from, tag) }

    /// nil unless it is `mrg_` and 32 hex digits.
    package init?(_ text: String) {
        guard text.hasPrefix("mrg_"), let id = UID(text.dropFirst(4)), text.utf8.count == 36 else { return nil }
        self.init(from: id.high, tag: id.low)
    }

    package var text: String { "mrg_" + UID(high: from, low: tag).hex }
}

/// Values that senders write where they know nobody: linking them would make strangers one person.
package enum NeverLinked {
    static let valueBytesMax = 200
    private static let words: [[UInt8]] = [
        "null", "undefined", "none", "nan", "0", "-1", "guest", "anonymous", "unknown", "true", "false",
        "[object object]",
    ].map { Array($0.utf8) }

    static func contains(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        bytes.count > valueBytesMax || isPlaceholder(bytes)
    }

    /// Upper and lower case and white space around the value make no difference.
    private static func isPlaceholder(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        var start = 0
        var end = bytes.count
        while start < end, bytes[start] <= 0x20 { start += 1 }
        while end > start, bytes[end - 1] <= 0x20 { end -= 1 }
        let value = UnsafeBufferPointer(rebasing: bytes[start..<end])
        if value.isEmpty { return true }
        // All-zero advertising ids come with hyphens or without.
        if value.allSatisfy({ $0 == 0x30 || $0 == 0x2d }) { return true }
        return words.contains { word in
            word.count == value.count
                && zip(word, value).allSatisfy { $0 == ((0x41...0x5a).contains($1) ? $1 | 0x20 : $1) }
        }
    }

    package static func contains(_ text: String) -> Bool {
        Array(text.utf8).withUnsafeBufferPointer { contains($0) }
    }

    /// The same whatever the length.
    package static func isPlaceholder(_ text: String) -> Bool {
        Array(text.utf8).withUnsafeBufferPointer { isPlaceholder($0) }
    }
}
