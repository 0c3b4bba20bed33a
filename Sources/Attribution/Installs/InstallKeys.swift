package import AurumCore
internal import Crypto
internal import Events
internal import Foundation

/// The identifiers by which a touch and an install are found to belong together, as 64-bit hashes of organisation, kind
/// and value. What says nothing has none.
package struct InstallKeys: Sendable, Equatable {
    package var device: Int64?
    package var advertising: Int64?
    package var vendor: Int64?
    package var click: Int64?
    package var user: Int64?

    package init() {}

    package var isEmpty: Bool {
        device == nil && advertising == nil && vendor == nil && click == nil && user == nil
    }

    init(org: String, device: String?, advertising: String?, vendor: String?, click: String?, user: String?) {
        self.device = Self.key(.device, device, org: org)
        self.advertising = Self.key(.advertising, advertising, org: org)
        self.vendor = Self.key(.vendor, vendor, org: org)
        self.click = Self.key(.click, click, org: org)
        self.user = Self.key(.user, user, org: org)
    }

    enum Kind: String { case device, advertising, vendor, click, user }

    /// Bytes of the longest identifier that is looked at.
    package static let bytesMax = 500

    /// Whether a value tells one from another: not empty, no word that stands for nothing, not all zeros. Click ids are
    /// longer than what identities are linked by.
    package static func isUsable(_ value: String) -> Bool {
        value.utf8.count <= bytesMax && !value.utf8.contains(0) && !NeverLinked.isPlaceholder(value)
    }

    /// nil for a value that is none. Identifiers of devices are the same in either case.
    static func key(_ kind: Kind, _ value: String?, org: String) -> Int64? {
        guard let value, isUsable(value) else { return nil }
        let text =
            switch kind {
            case .device, .advertising, .vendor: value.lowercased()
            case .click, .user: value
            }
        var hash = SHA256()
        hash.update(data: Data(org.utf8))
        hash.update(data: Data([0]))
        hash.update(data: Data(kind.rawValue.utf8))
        hash.update(data: Data([0]))
        hash.update(data: Data(text.utf8))
        let word = hash.finalize().prefix(8).reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return Int64(bitPattern: word)
    }
}

/// Click ids in texts of queries.
package enum ClickIDs {
    /// Names of a click id in an install referrer or the address that opened an app, ours first.
    private static let names = [AdvertisingLink.own, "click_id", "clickid"] + AdvertisingLink.clickIDNames

    /// The click id in Play's install referrer: a query, perhaps escaped once more as a whole.
    package static func inReferrer(_ text: String?) -> String? {
        guard let text, text.utf8.count <= 8192 else { return nil }
        if let found = inQuery(text) { return found }
        guard !text.contains("="), let plain = text.removingPercentEncoding, plain != text else { return nil }
        return inQuery(plain)
    }

    /// The click id in the query of an address.
    package static func inAddress(_ text: String?) -> String? {
        guard let text, text.utf8.count <= 8192, let mark = text.firstIndex(of: "?") else { return nil }
        let query = text[text.index(after: mark)...].prefix { $0 != "#" }
        return inQuery(String(query))
    }

    private static func inQuery(_ query: String) -> String? {
        let event = QueryEvent(query: query, type: "")
        return names.lazy.compactMap { event[$0] }.first { InstallKeys.isUsable($0) }
    }
}

extension UID {
    /// An event id as 16 bytes: its own where it is a UUID or 32 hexadecimal digits, else the first of its SHA-256.
    package static func ofEvent(_ id: String) -> UID {
        if let own = UID(id) { return own }
        return UID(bytes: Array(SHA256.hash(data: Data(id.utf8)).prefix(16))) ?? UID(high: 0, low: 0)
    }

    /// The text of an event id that its 16 bytes do not tell; nil for a UUID or 32 digits in small letters.
    static func textOfEvent(_ id: String) -> String? {
        UID(id) != nil && !id.utf8.contains { (65...70).contains($0) } ? nil : id
    }
}
