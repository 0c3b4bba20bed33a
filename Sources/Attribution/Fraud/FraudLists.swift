package import AurumCore
internal import Foundation

/// An entry of the lists that are looked at before any rule.
package struct FraudEntry: Sendable, Equatable {
    /// `suspend` rejects touches from its own moment on, `deny` all of them; `allow` wins over both.
    package enum List: String, Sendable, CaseIterable { case allow, deny, suspend }
    package enum Kind: String, Sendable, CaseIterable { case network, publisher, address, device }

    package var id: UID
    package var list: List
    package var kind: Kind
    /// A network's name; a publisher's id, after its network and a slash when `network` names one; a range of addresses
    /// or a hash of an address as the log keeps it; the digest of a device.
    package var value: String
    /// Of a publisher: the network that it belongs to; empty for any.
    package var network: String
    package var note: String
    package var actor: String
    package var addedAt: Timestamp
    /// The version of the settings that it came with, and that it was removed with.
    package var addedVersion: Int
    package var removedVersion: Int?

    /// `deny publisher p-17`, as verdicts name it.
    package var reason: String {
        "\(list.rawValue) \(kind.rawValue) \(network.isEmpty ? "" : network + "/")\(value)"
    }

    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "id": .string(id.hex), "list": .string(list.rawValue), "kind": .string(kind.rawValue),
            "value": .string(value), "note": .string(note), "actor": .string(actor),
            "added_at": .string(addedAt.rfc3339), "version": .integer(Int64(addedVersion)),
        ]
        if !network.isEmpty { members["network"] = .string(network) }
        return .object(members)
    }
}

/// What somebody wants on a list: read and checked.
package struct FraudEntryWish: Sendable, Equatable {
    package var list: FraudEntry.List
    package var kind: FraudEntry.Kind
    package var value: String
    package var network = ""
    package var note = ""

    static let valueBytesMax = 500
    static let noteBytesMax = 1000

    init(list: FraudEntry.List, kind: FraudEntry.Kind, value: String, network: String = "", note: String = "") {
        (self.list, self.kind, self.value, self.network, self.note) = (list, kind, value, network, note)
    }

    /// - Throws: `FraudError.invalid`.
    package init(_ body: JSONValue, org: String) throws(FraudError) {
        guard let members = body.object else { throw .invalid("body", "must be an object.") }
        if let other = members.keys.sorted().first(where: {
            !["list", "kind", "value", "network", "note"].contains($0)
        }) {
            throw .invalid(String(other.prefix(40)), "is no member of an entry.")
        }
        guard let list = members["list"]?.string.flatMap(FraudEntry.List.init(rawValue:)) else {
            throw .invalid("list", "must be \(FraudEntry.List.allCases.map(\.rawValue).joined(separator: ", ")).")
        }
        guard let kind = members["kind"]?.string.flatMap(FraudEntry.Kind.init(rawValue:)) else {
            throw .invalid("kind", "must be \(FraudEntry.Kind.allCases.map(\.rawValue).joined(separator: ", ")).")
        }
        guard let value = try Self.text(members, "value", Self.valueBytesMax), !value.isEmpty else {
            throw .invalid("value", "must be a text of 1 to \(Self.valueBytesMax) bytes.")
        }
        (self.list, self.kind, self.value) = (list, kind, value)
        network = try Self.text(members, "network", Self.valueBytesMax) ?? ""
        note = try Self.text(members, "note", Self.noteBytesMax) ?? ""
        guard network.isEmpty || kind == .publisher else {
            throw .invalid("network", "stands beside a publisher only.")
        }
        switch kind {
        case .address: self.value = try Self.address(value)
        case .device:
            guard let digest = FraudInstall.digest(value, org: org) else {
                throw .invalid("value", "names no device.")
            }
            self.value = digest.hex
        case .network, .publisher: break
        }
    }

    private static func text(
        _ members: [String: JSONValue], _ name: String, _ most: Int
    ) throws(FraudError) -> String? {
        guard let member = members[name], member != .null else { return nil }
        guard let text = member.string, text.utf8.count <= most, !text.utf8.contains(0) else {
            throw .invalid(name, "must be a text of at most \(most) bytes.")
        }
        return text
    }

    private static func address(_ text: String) throws(FraudError) -> String {
        if let range = AddressRange(text) {
            guard range.bits <= (range.bytes.count == 4 ? 24 : 48) else {
                throw .invalid(
                    "value", "must not be narrower than /24, or /48 of IPv6: the log keeps no more of an address.")
            }
            return text
        }
        guard !text.contains("/"), !text.contains("."), !text.contains(":") else {
            throw .invalid("value", "must be a range such as 203.0.113.0/24, or a hash of an address.")
        }
        return text
    }
}

/// A network and its length: `203.0.113.0/24`.
struct AddressRange: Sendable, Equatable {
    let bytes: [UInt8]
    let bits: Int

    init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let bytes = Self.bytes(String(parts[0])), let bits = Int(parts[1]),
            (0...bytes.count * 8).contains(bits)
        else { return nil }
        (self.bytes, self.bits) = (bytes, bits)
    }

    static func bytes(_ text: String) -> [UInt8]? {
        var four = in_addr()
        if inet_pton(AF_INET, text, &four) == 1 { return withUnsafeBytes(of: four) { Array($0) } }
        var six = in6_addr()
        return inet_pton(AF_INET6, text, &six) == 1 ? withUnsafeBytes(of: six) { Array($0) } : nil
    }

    func holds(_ address: [UInt8]) -> Bool {
        guard address.count == bytes.count else { return false }
        for index in bytes.indices {
            let kept = min(8, max(0, bits - index * 8))
            let mask = UInt8(truncatingIfNeeded: 0xff00 >> kept)
            if address[index] & mask != bytes[index] & mask { return false }
        }
        return true
    }
}

/// The entries that hold, found by what they name.
struct FraudLists: Sendable {
    private var byValue: [String: [FraudEntry]] = [:]
    private var ranges: [(range: AddressRange, entry: FraudEntry)] = []
    /// Entries of one organisation.
    static let entriesMax = 10_000
    private(set) var count = 0

    init(_ entries: [FraudEntry] = []) {
        count = entries.count
        for entry in entries {
            if entry.kind == .address, let range = AddressRange(entry.value) {
                ranges.append((range, entry))
            } else {
                byValue[Self.key(entry.kind, entry.network, entry.value), default: []].append(entry)
            }
        }
    }

    private static func key(_ kind: FraudEntry.Kind, _ network: String, _ value: String) -> String {
        "\(kind.rawValue)|\(network.utf8.count)|\(network)|\(value)"
    }

    /// The entry that decides on a touch of an install; nil for none. Without a touch, on the install itself.
    func entry(_ install: FraudInstall, _ touch: FraudTouch?) -> FraudEntry? {
        guard count > 0 else { return nil }
        var found: [FraudEntry] = []
        func look(_ kind: FraudEntry.Kind, _ network: String, _ value: String?) {
            if let value { found += byValue[Self.key(kind, network, value)] ?? [] }
        }
        if let touch {
            look(.network, "", touch.network)
            look(.publisher, "", touch.publisher)
            if let network = touch.network { look(.publisher, network, touch.publisher) }
        }
        for device in [install.device, touch?.device] { look(.device, "", device?.hex) }
        for address in [install.address, touch?.address] { look(.address, "", address) }
        if !ranges.isEmpty {
            for address in [install.range, touch?.range].compactMap({ $0 }).compactMap({ AddressRange.bytes($0) }) {
                found += ranges.filter { $0.range.holds(address) }.map(\.entry)
            }
        }
        let moment = touch?.at ?? install.at
        let fitting = found.filter { $0.list != .suspend || moment >= $0.addedAt.microseconds }
        // Of several the one that is first on the strongest list, so that a verdict always names the same.
        return fitting.min { (Self.rank($0.list), $0.addedAt, $0.id) < (Self.rank($1.list), $1.addedAt, $1.id) }
    }

    private static func rank(_ list: FraudEntry.List) -> Int {
        switch list {
        case .allow: 0
        case .deny: 1
        case .suspend: 2
        }
    }
}
