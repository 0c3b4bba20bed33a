internal import AurumCore
import Foundation

/// The contract once more, written plainly and apart from the product: the oracle of the mutation test.
///
/// Reads a line into an ordered tree first, then walks it; shares no code with the parser.
struct ContractModel {
    indirect enum Node {
        case null, bool(Bool)
        case number(String)
        /// nil: an escape names half of a surrogate pair.
        case string(String?)
        case array([Node])
        case object([(name: String?, value: Node)])
    }

    struct Violation: Error { var reason: String }

    let now: Timestamp

    /// The reason of quarantine, or the empty string.
    func reason(_ line: [UInt8]) -> String {
        if line.count > 32 << 10 { return "event_too_large" }
        guard String(validating: line, as: UTF8.self) != nil else { return "bad_unicode" }
        var reader = Reader(bytes: line)
        guard let node = reader.document(), case .object(let members) = node else { return "not_json" }
        do {
            try check(members)
            return ""
        } catch let violation as Violation {
            return violation.reason
        } catch {
            return "?"
        }
    }

    private static let limits: [String: Int] = [
        "id": 200, "name": 200, "anonymous_id": 200, "user_id": 200, "device_id": 200, "session_id": 200,
        "click_id": 200, "order_id": 200, "lead_id": 200, "advertising_id": 64, "vendor_id": 64,
        "install_referrer": 2048, "url": 4096, "referrer": 4096, "title": 512, "screen": 512, "group_id": 200,
        "previous_id": 200,
    ]
    private static let aliases: [String: String] = [
        "messageId": "id", "event": "name", "timestamp": "ts", "sentAt": "sent_at", "anonymousId": "anonymous_id",
        "userId": "user_id", "groupId": "group_id", "previousId": "previous_id", "properties": "props",
    ]
    private static let others: Set<String> = [
        "type", "ts", "sent_at", "referral_clicked_at", "install_began_at", "value", "currency", "quantity", "trace_id",
        "props", "traits", "context", "campaign", "consent", "originalTimestamp",
    ]
    private static let types: Set<String> = [
        "click", "impression", "install", "open", "page", "screen", "track", "conversion", "identify", "group", "alias",
        "consent", "ad_revenue", "postback", "internal",
    ]

    private final class Facts {
        var texts: [String: String] = [:]
        var times: [String: Double] = [:]
        var has: Set<String> = []
        var mapped: [String: Node] = [:]
        var contextDevice = ""
        var pageURL = ""
    }

    private func fail(_ reason: String) -> Violation { Violation(reason: reason) }

    private func check(_ members: [(name: String?, value: Node)]) throws {
        let facts = Facts()
        var seen: Set<String> = []
        for (rawName, value) in members {
            guard let rawName else { throw fail("bad_unicode") }
            let name = Self.aliases[rawName] ?? rawName
            guard Self.limits[name] != nil || Self.others.contains(name) else {
                // Long names of the top level have no field of their own to hang on.
                if rawName.utf8.count > 128 { throw fail("too_long") }
                try bounded(value, 1)
                continue
            }
            guard seen.insert(name).inserted else { throw fail("duplicate_key") }
            if case .null = value { continue }
            try field(name, rawName, value, facts)
        }
        try conclude(facts)
    }

    private func field(_ name: String, _ rawName: String, _ value: Node, _ facts: Facts) throws {
        if let limit = Self.limits[name] {
            facts.texts[name] = try text(value, limit)
            facts.has.insert(name)
            return
        }
        switch name {
        case "type":
            let type = try text(value, .max)
            guard Self.types.contains(type) else { throw fail("unknown_type") }
            facts.texts["type"] = type
        case "ts", "sent_at", "referral_clicked_at", "install_began_at", "originalTimestamp":
            facts.times[name] = try time(value)
        case "value":
            guard try money(value) else { throw fail("bad_money") }
            facts.has.insert("value")
        case "currency":
            let code = try text(value, .max)
            guard code.utf8.count == 3, code.utf8.allSatisfy({ (65...90).contains($0 & 0xdf) && $0 >= 65 }) else {
                throw fail("bad_money")
            }
            facts.has.insert("currency")
        case "quantity":
            guard case .number(let digits) = value, let number = Int64(digits), (0...1_000_000).contains(number) else {
                throw fail("bad_type")
            }
        case "trace_id":
            let plain = try text(value, .max)
            guard Self.isTrace(plain) else { throw fail("bad_type") }
        case "traits", "props": try object(name, rawName, value, facts)
        case "context": try context(value, facts)
        case "campaign":
            try strict(value) { _, value in
                _ = try text(value, 200)
            } names: {
                [
                    "id", "name", "source", "medium", "term", "content", "network", "ad_group_id", "creative_id",
                    "placement_id", "keyword", "publisher_id",
                ].contains($0)
            }
        default:
            facts.has.insert("consent")
            try strict(value) { name, value in
                switch name {
                case "gpc": guard case .bool = value else { throw fail("bad_type") }
                case "tcf": _ = try text(value, 2048)
                default:
                    let word = try text(value, .max)
                    guard ["granted", "denied", "unknown"].contains(word) else { throw fail("bad_type") }
                    facts.texts["consent." + name] = word
                }
            } names: {
                ["gpc", "analytics", "ads", "personalisation", "tcf"].contains($0)
            }
        }
    }

    private static func isTrace(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        let hex = Set("0123456789abcdefABCDEF".utf8)
        if bytes.count == 32 { return bytes.allSatisfy(hex.contains) }
        guard bytes.count == 36 else { return false }
        return bytes.enumerated().allSatisfy { [8, 13, 18, 23].contains($0) ? $1 == 45 : hex.contains($1) }
    }

    /// Known members by rule, others by the bounds; a known one twice is refused.
    private func strict(
        _ value: Node, _ rule: (String, Node) throws -> Void, names: (String) -> Bool
    ) throws {
        guard case .object(let members) = value else { throw fail("bad_type") }
        var seen: Set<String> = []
        for (name, value) in members {
            let name = try key(name)
            guard names(name) else {
                try bounded(value, 2)
                continue
            }
            guard seen.insert(name).inserted else { throw fail("duplicate_key") }
            if case .null = value { continue }
            try rule(name, value)
        }
    }

    private func object(_ name: String, _ rawName: String, _ value: Node, _ facts: Facts) throws {
        guard case .object(let members) = value else { throw fail("bad_type") }
        for (name, value) in members {
            let name = try key(name)
            try bounded(value, 2)
            if rawName == "properties" { facts.mapped[name] = value }
        }
        if members.count > 256 { throw fail("too_many_keys") }
    }

    private func context(_ value: Node, _ facts: Facts) throws {
        guard case .object(let members) = value else { throw fail("bad_type") }
        let texts: Set<String> = [
            "ip", "user_agent", "locale", "timezone", "os", "os_version", "app_version", "app_build", "device_model",
            "device_maker", "library", "library_version",
        ]
        var seen: Set<String> = []
        for (rawName, value) in members {
            let raw = try key(rawName)
            let name = raw == "userAgent" ? "user_agent" : raw
            let isStrict = texts.contains(name) || ["platform", "screen_width", "screen_height"].contains(name)
            guard isStrict else {
                try fallback(name, value, facts)
                continue
            }
            guard seen.insert(name).inserted else { throw fail("duplicate_key") }
            if case .null = value { continue }
            if case .object = value, name == "os" || name == "library" {
                try bounded(value, 2)
                continue
            }
            if texts.contains(name) {
                _ = try text(value, 8192)
            } else if name == "platform" {
                guard ["ios", "android", "web", "server"].contains(try text(value, .max).lowercased()) else {
                    throw fail("bad_type")
                }
            } else {
                guard case .number(let digits) = value, let number = Int64(digits), (0...999_999).contains(number)
                else {
                    throw fail("bad_type")
                }
            }
        }
    }

    private func fallback(_ name: String, _ value: Node, _ facts: Facts) throws {
        try bounded(value, 2)
        guard case .object(let members) = value else { return }
        for (member, value) in members {
            guard case .string(.some(let text)) = value else { continue }
            if name == "device", member == "id", text.utf8.count <= 200 { facts.contextDevice = text }
            if name == "page", member == "url", text.utf8.count <= 4096 { facts.pageURL = text }
        }
    }

    private func conclude(_ facts: Facts) throws {
        func filled(_ name: String) -> Bool { !(facts.texts[name] ?? "").isEmpty }
        guard let type = facts.texts["type"] else { throw fail("missing_field") }
        if type == "internal" || type == "postback" { throw fail("reserved_type") }
        guard filled("id") else { throw fail("missing_field") }
        if type == "track" || type == "conversion", !filled("name") { throw fail("missing_field") }
        let hasDevice = filled("device_id") || !facts.contextDevice.isEmpty
        let isDenied = facts.texts["consent.analytics"] == "denied"
        let known = filled("anonymous_id") || filled("user_id") || hasDevice || isDenied
        switch type {
        case "click", "impression": guard known || filled("click_id") else { throw fail("missing_identifier") }
        case "install":
            guard hasDevice || filled("click_id") || filled("install_referrer") || isDenied else {
                throw fail(known ? "missing_field" : "missing_identifier")
            }
        default: guard known else { throw fail("missing_identifier") }
        }
        if !isDenied || ["page", "screen", "consent"].contains(type) {
            try fieldsOfType(type, hasDevice, facts, filled)
        }
        try moneyOfEvent(type, facts)
        try timeOfEvent(facts)
    }

    private func fieldsOfType(
        _ type: String, _ hasDevice: Bool, _ facts: Facts, _ filled: (String) -> Bool
    ) throws {
        var propertyURL = ""
        if case .string(.some(let text)) = facts.mapped["url"], text.utf8.count <= 4096 { propertyURL = text }
        let isComplete =
            switch type {
            case "open": hasDevice
            case "page": filled("url") || !propertyURL.isEmpty || !facts.pageURL.isEmpty
            case "screen": filled("screen")
            case "identify": filled("user_id")
            case "group": filled("group_id")
            case "alias": filled("previous_id") && filled("user_id")
            case "consent": facts.has.contains("consent")
            default: true
            }
        guard isComplete else { throw fail("missing_field") }
    }

    private func moneyOfEvent(_ type: String, _ facts: Facts) throws {
        var hasValue = facts.has.contains("value")
        if hasValue {
            guard facts.has.contains("currency") else { throw fail("missing_field") }
        } else {
            for name in ["revenue", "value", "total"] {
                guard let node = facts.mapped[name] else { continue }
                if case .number(let digits) = node {
                    guard Self.isExact(digits) else { throw fail("bad_money") }
                    hasValue = true
                    break
                }
                guard case .string(let text) = node else { continue }
                if let digits = text, Self.isPlainDecimal(digits), Self.isExact(digits) {
                    hasValue = true
                    break
                }
                // Text that is no decimal is money all the same where it can be nothing else.
                var isMoney = name == "revenue" || facts.has.contains("currency")
                if case .string = facts.mapped["currency"] { isMoney = true }
                if isMoney { throw fail("bad_money") }
            }
        }
        guard type == "ad_revenue" else { return }
        guard hasValue else { throw fail("missing_field") }
        var hasCurrency = facts.has.contains("currency")
        if case .string = facts.mapped["currency"] { hasCurrency = true }
        guard hasCurrency else { throw fail("missing_field") }
    }

    private func timeOfEvent(_ facts: Facts) throws {
        guard var moment = facts.times["ts"] ?? facts.times["originalTimestamp"] else { return }
        let received = Double(now.microseconds)
        if let sent = facts.times["sent_at"], abs(received - sent) > 60_000_000 { moment += received - sent }
        if moment > received + 86_400_000_000 { throw fail("ts_future") }
        if moment < received - 400 * 86_400_000_000 { throw fail("ts_too_old") }
    }

    // MARK: values

    private func key(_ name: String?) throws -> String {
        guard let name else { throw fail("bad_unicode") }
        if name.utf8.count > 128 { throw fail("too_long") }
        return name
    }

    private func text(_ value: Node, _ limit: Int) throws -> String {
        guard case .string(let text) = value else { throw fail("bad_type") }
        guard let text else { throw fail("bad_unicode") }
        if text.utf8.count > limit { throw fail("too_long") }
        return text
    }

    private func bounded(_ value: Node, _ level: Int) throws {
        switch value {
        case .string(let text):
            guard let text else { throw fail("bad_unicode") }
            if text.utf8.count > 8192 { throw fail("too_long") }
        case .array(let values):
            if level > 32 { throw fail("too_deep") }
            for value in values { try bounded(value, level + 1) }
        case .object(let members):
            if level > 32 { throw fail("too_deep") }
            for (name, value) in members {
                _ = try key(name)
                try bounded(value, level + 1)
            }
        case .null, .bool, .number: break
        }
    }

    /// Microseconds since 1970.
    private func time(_ value: Node) throws -> Double {
        switch value {
        case .number(let digits):
            guard let number = Int64(digits), digits.utf8.count - (digits.hasPrefix("-") ? 1 : 0) <= 15 else {
                throw fail("bad_ts")
            }
            return Double(number) * 1000
        case .string:
            guard let moment = Timestamp(rfc3339: try text(value, .max)) else { throw fail("bad_ts") }
            return Double(moment.microseconds)
        default: throw fail("bad_type")
        }
    }

    private func money(_ value: Node) throws -> Bool {
        switch value {
        case .number(let digits): return Self.isExact(digits)
        case .string:
            let digits = try text(value, .max)
            return Self.isPlainDecimal(digits) && Self.isExact(digits)
        default: throw fail("bad_type")
        }
    }

    /// Digits, perhaps a sign before and a point between.
    private static func isPlainDecimal(_ text: String) -> Bool {
        let body = text.hasPrefix("-") ? text.dropFirst() : text[...]
        let parts = body.split(separator: ".", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), parts[0].utf8.count <= 40 else { return false }
        return parts.allSatisfy { !$0.isEmpty && $0.utf8.allSatisfy { (48...57).contains($0) } }
    }

    /// At most 12 integer digits and 6 fraction digits in value, by decimal arithmetic.
    private static func isExact(_ text: String) -> Bool {
        let lower = text.lowercased()
        let parts = lower.split(separator: "e", maxSplits: 1)
        guard let mantissa = parts.first, let exponent = parts.count == 2 ? Int(parts[1]) : 0, abs(exponent) < 1_000_000
        else {
            return false
        }
        let plain = mantissa.drop { $0 == "-" }.split(separator: ".", omittingEmptySubsequences: false)
        var digits = Array(plain.joined().utf8.map { Int($0) - 48 })
        var scale = (plain.count == 2 ? plain[1].utf8.count : 0) - exponent
        while digits.last == 0 {
            digits.removeLast()
            scale -= 1
        }
        while digits.first == 0 { digits.removeFirst() }
        if digits.isEmpty { return true }
        return scale <= 6 && digits.count - scale <= 12
    }
}

extension ContractModel {
    /// A strict JSON reader that keeps the order and the text of numbers.
    struct Reader {
        let bytes: [UInt8]
        private var index = 0

        init(bytes: [UInt8]) { self.bytes = bytes }

        mutating func document() -> Node? {
            guard let node = value(0) else { return nil }
            space()
            return index == bytes.count ? node : nil
        }

        private var byte: UInt8? { index < bytes.count ? bytes[index] : nil }

        private mutating func space() { while let next = byte, [32, 9, 13, 10].contains(next) { index += 1 } }

        private mutating func value(_ depth: Int) -> Node? {
            space()
            guard depth < 400 else { return nil }
            switch byte {
            case UInt8(ascii: "{"): return object(depth)
            case UInt8(ascii: "["): return array(depth)
            case UInt8(ascii: "\""): return string().map { .string($0) }
            case UInt8(ascii: "t"): return word("true", .bool(true))
            case UInt8(ascii: "f"): return word("false", .bool(false))
            case UInt8(ascii: "n"): return word("null", .null)
            default: return number()
            }
        }

        private mutating func word(_ text: String, _ node: Node) -> Node? {
            for expected in text.utf8 {
                guard byte == expected else { return nil }
                index += 1
            }
            return node
        }

        private mutating func object(_ depth: Int) -> Node? {
            index += 1
            space()
            var members: [(name: String?, value: Node)] = []
            if byte == UInt8(ascii: "}") {
                index += 1
                return .object(members)
            }
            while true {
                space()
                guard byte == UInt8(ascii: "\""), let name = string() else { return nil }
                space()
                guard byte == UInt8(ascii: ":") else { return nil }
                index += 1
                guard let value = value(depth + 1) else { return nil }
                members.append((name, value))
                space()
                guard let next = byte else { return nil }
                index += 1
                if next == UInt8(ascii: "}") { return .object(members) }
                guard next == UInt8(ascii: ",") else { return nil }
            }
        }

        private mutating func array(_ depth: Int) -> Node? {
            index += 1
            space()
            var values: [Node] = []
            if byte == UInt8(ascii: "]") {
                index += 1
                return .array(values)
            }
            while true {
                guard let value = value(depth + 1) else { return nil }
                values.append(value)
                space()
                guard let next = byte else { return nil }
                index += 1
                if next == UInt8(ascii: "]") { return .array(values) }
                guard next == UInt8(ascii: ",") else { return nil }
            }
        }

        /// nil: no string; .some(nil): a string with half a surrogate pair.
        private mutating func string() -> String?? {
            index += 1
            var units: [UInt16] = []
            var isWhole = true
            var run: [UInt8] = []
            func flush(_ run: inout [UInt8], _ units: inout [UInt16]) {
                units.append(contentsOf: String(decoding: run, as: UTF8.self).utf16)
                run = []
            }
            while let next = byte {
                index += 1
                if next == UInt8(ascii: "\"") {
                    flush(&run, &units)
                    isWhole = isWhole && Self.isPaired(units)
                    return isWhole ? .some(String(decoding: units, as: UTF16.self)) : .some(nil)
                }
                if next < 32 { return nil }
                guard next == UInt8(ascii: "\\") else {
                    run.append(next)
                    continue
                }
                flush(&run, &units)
                guard let unit = escape() else { return nil }
                units.append(unit)
            }
            return nil
        }

        private static func isPaired(_ units: [UInt16]) -> Bool {
            var index = 0
            while index < units.count {
                if units[index] & 0xfc00 == 0xd800 {
                    guard index + 1 < units.count, units[index + 1] & 0xfc00 == 0xdc00 else { return false }
                    index += 1
                } else if units[index] & 0xfc00 == 0xdc00 {
                    return false
                }
                index += 1
            }
            return true
        }

        private mutating func escape() -> UInt16? {
            guard let letter = byte else { return nil }
            index += 1
            let simple: [Character: UInt16] = ["\"": 34, "\\": 92, "/": 47, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9]
            if let unit = simple[Character(Unicode.Scalar(letter))] { return unit }
            guard letter == UInt8(ascii: "u"), index + 4 <= bytes.count else { return nil }
            let digits = bytes[index..<index + 4]
            guard digits.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit && $0 < 128 }) else { return nil }
            index += 4
            return UInt16(String(decoding: digits, as: UTF8.self), radix: 16)
        }

        private mutating func number() -> Node? {
            let start = index
            if byte == UInt8(ascii: "-") { index += 1 }
            let whole = digits()
            guard whole > 0, whole == 1 || bytes[index - whole] != UInt8(ascii: "0") else { return nil }
            if byte == UInt8(ascii: ".") {
                index += 1
                guard digits() > 0 else { return nil }
            }
            if byte == UInt8(ascii: "e") || byte == UInt8(ascii: "E") {
                index += 1
                if byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-") { index += 1 }
                guard digits() > 0 else { return nil }
            }
            return .number(String(decoding: bytes[start..<index], as: UTF8.self))
        }

        private mutating func digits() -> Int {
            let start = index
            while let next = byte, (48...57).contains(next) { index += 1 }
            return index - start
        }
    }
}
