internal import AurumCore
internal import Foundation

/// What kind of personal text an identifier is.
enum PersonalShape: Equatable {
    case email, phone

    /// Bytes of an identifier that can be a telephone number.
    private static let phoneBytesMax = 24

    /// nil for identifiers that name nobody outside the app. May read 16 bytes past the text.
    ///
    /// A telephone number has a `+` and 8 to 15 digits, or is a North American one in a usual spelling.
    @inline(__always)
    static func of(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> PersonalShape? {
        if hasAt(bytes, count) { return isEmail(bytes, count) ? .email : nil }
        guard count <= phoneBytesMax, count >= 8 else { return nil }
        let first = bytes[0]
        guard first == 0x2b || first == 0x28 || first == 0x20 || first &- 0x30 < 10 else { return nil }
        return isPhone(bytes, count) ? .phone : nil
    }

    static func of(_ text: String) -> PersonalShape? {
        let padded = Array(text.utf8) + [UInt8](repeating: 0, count: 16)
        return padded.withUnsafeBufferPointer { buffer in
            buffer.baseAddress.flatMap { of($0, buffer.count - 16) }
        }
    }

    @inline(__always)
    static func hasAt(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        var index = 0
        while index < count {
            let equal = ByteScan.vector(bytes + index) .== SIMD16<UInt8>(repeating: 0x40)
            let words = unsafeBitCast(equal, to: SIMD2<UInt64>.self)
            if words[0] | words[1] != 0 {
                let place = words[0] != 0 ? words[0].trailingZeroBitCount >> 3 : 8 + words[1].trailingZeroBitCount >> 3
                return index + place < count
            }
            index += 16
        }
        return false
    }

    /// Something, `@`, and a domain with a dot: wide on purpose, since a wrong yes costs a hash and a wrong no a leak.
    @inline(never)
    private static func isEmail(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        let text = UnsafeBufferPointer(start: bytes, count: count)
        guard let at = text.lastIndex(of: 0x40), at > 0 else { return false }
        return text[(at + 1)...].contains(0x2e)
    }

    @inline(never)
    private static func isPhone(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        var digits = 0
        for index in 0..<count {
            switch bytes[index] {
            case 0x30...0x39: digits += 1
            case 0x20, 0x28, 0x29, 0x2d, 0x2e, 0x2f: continue
            case 0x2b where index == 0: continue
            default: return false
            }
        }
        if bytes[0] == 0x2b { return (8...15).contains(digits) }
        let text = String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
        return PhoneNumber(text) != nil
    }
}

/// Which members are personal: the contract's own list and what an app adds. Names are compared without case and
/// without `_` and `-`, so that `firstName` is `first_name`.
struct PersonalKeys: Sendable {
    private static let standard: Set<String> = [
        "email", "phone", "name", "firstname", "lastname", "address", "street", "birthday",
    ]
    private let own: Set<String>

    init(_ names: [String] = []) { own = Set(names.map(Self.plain)) }

    /// Whether the app marks members of its own, so that `props` must be looked at too.
    var hasOwn: Bool { !own.isEmpty }

    func holds(_ name: String) -> Bool {
        let name = Self.plain(name)
        return Self.standard.contains(name) || own.contains(name)
    }

    /// Only what the app itself marks.
    func holdsOwn(_ name: String) -> Bool { own.contains(Self.plain(name)) }

    static func plain(_ name: String) -> String {
        String(
            decoding: name.utf8.compactMap { $0 == 0x5f || $0 == 0x2d ? nil : $0 &- 0x41 < 26 ? $0 | 0x20 : $0 },
            as: UTF8.self)
    }
}

/// The one spelling under which a personal value is hashed.
package enum PersonalCanonical {
    /// Lower case without white space around it; telephone numbers as `+` and digits.
    package static func text(_ value: String) -> String {
        if PersonalShape.of(value) == .phone { return phone(value) }
        let plain = value.drop(while: \.isWhitespace)
        let end = plain.lastIndex { !$0.isWhitespace }
        return end.map { plain[...$0].lowercased() } ?? ""
    }

    private static func phone(_ value: String) -> String {
        if let known = PhoneNumber(value) { return known.exposed }
        return "+" + String(value.unicodeScalars.filter { ("0"..."9").contains($0) })
    }
}

/// Network addresses, cut so that they name no household.
enum NetworkAddress {
    /// The bytes of an address and the text of its network: /24 for IPv4, /48 for IPv6. nil for anything else.
    static func cut(_ text: String) -> (address: [UInt8], network: String)? {
        var four = in_addr()
        if inet_pton(AF_INET, text, &four) == 1 {
            let bytes = withUnsafeBytes(of: four.s_addr) { Array($0) }
            return (bytes, "\(bytes[0]).\(bytes[1]).\(bytes[2]).0")
        }
        var six = in6_addr()
        guard inet_pton(AF_INET6, text, &six) == 1 else { return nil }
        var bytes = withUnsafeBytes(of: six) { Array($0) }
        let address = bytes
        // IPv4 in IPv6 clothes: ::ffff:a.b.c.d.
        if bytes[0..<10].allSatisfy({ $0 == 0 }), bytes[10] == 0xff, bytes[11] == 0xff {
            return (Array(bytes[12...]), "\(bytes[12]).\(bytes[13]).\(bytes[14]).0")
        }
        for index in 6..<16 { bytes[index] = 0 }
        let groups = stride(from: 0, to: 6, by: 2).map {
            String(UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]), radix: 16)
        }
        return (address, groups.joined(separator: ":") + "::")
    }
}
