/// An ISO 4217 currency code: three upper-case letters.
package struct Currency: Hashable, Sendable, Codable, CustomStringConvertible {
    package let code: String

    /// nil unless `code` is three ASCII letters; lower case is raised.
    package init?(_ code: some StringProtocol) {
        let upper = code.uppercased()
        guard upper.utf8.count == 3, upper.utf8.allSatisfy({ (65...90).contains($0) }) else { return nil }
        self.code = upper
    }

    private init(known code: String) { self.code = code }

    package static let usd = Currency(known: "USD")

    /// Digits after the decimal point of one minor unit. Source: ISO 4217 list one.
    package var fractionDigits: Int {
        switch code {
        case "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF",
            "XOF", "XPF":
            0
        case "BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND": 3
        default: 2
        }
    }

    package var description: String { code }

    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let currency = Currency(text) else {
            throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: "not a currency"))
        }
        self = currency
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(code)
    }
}

/// An exact amount of money: whole minor units (cents of a dollar) of one currency. Never a floating-point number.
package struct Money: Hashable, Sendable, Codable, CustomStringConvertible {
    package var minorUnits: Int64
    package var currency: Currency

    package init(minorUnits: Int64, currency: Currency) {
        self.minorUnits = minorUnits
        self.currency = currency
    }

    package static func usd(cents: Int64) -> Money { Money(minorUnits: cents, currency: .usd) }

    package var isZero: Bool { minorUnits == 0 }

    /// Reads decimal text such as `250`, `181.5` or `-3.00`; nil when it is not a number or finer than one minor unit.
    package init?(decimal text: some StringProtocol, currency: Currency) {
        guard let millionths = Millionths(decimal: text) else { return nil }
        var unit: Int64 = 1_000_000
        for _ in 0..<currency.fractionDigits { unit /= 10 }
        guard millionths.value.isMultiple(of: unit) else { return nil }
        self.init(minorUnits: millionths.value / unit, currency: currency)
    }

    /// Decimal text with the currency's digits, for example `250.00`.
    package var decimal: String {
        let digits = currency.fractionDigits
        guard digits > 0 else { return String(minorUnits) }
        var scale: UInt64 = 1
        for _ in 0..<digits { scale *= 10 }
        let magnitude = minorUnits.magnitude
        let fraction = String(magnitude % scale)
        let padding = String(repeating: "0", count: digits - fraction.utf8.count)
        return "\(minorUnits < 0 ? "-" : "")\(magnitude / scale).\(padding)\(fraction)"
    }

    package var description: String { "\(decimal) \(currency)" }
}

/// An exact decimal: millionths of a unit in 64 bits. The form in which event money is stored.
package struct Millionths: Hashable, Sendable {
    package let value: Int64

    package init(value: Int64) { self.value = value }

    /// Reads at most 12 integer and 6 fraction digits (trailing zeros past the sixth are allowed); nil for anything
    /// else.
    package init?(decimal text: some StringProtocol) {
        var rest = Array(text.utf8)[...]
        let negative = rest.first == UInt8(ascii: "-")
        if negative { rest = rest.dropFirst() }
        let parts = rest.split(separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
        guard let whole = parts.first, !whole.isEmpty, whole.count <= 12, parts.count == 1 || !parts[1].isEmpty else {
            return nil
        }
        var value: Int64 = 0
        for byte in whole {
            guard (48...57).contains(byte) else { return nil }
            value = value * 10 + Int64(byte - 48)
        }
        value *= 1_000_000
        var scale: Int64 = 100_000
        for byte in parts.count == 2 ? parts[1] : [] {
            guard (48...57).contains(byte), scale > 0 || byte == 48 else { return nil }
            value += Int64(byte - 48) * scale
            scale /= 10
        }
        self.value = negative ? -value : value
    }

    /// Decimal text without trailing zeros.
    package var decimal: String {
        var fraction = String(value.magnitude % 1_000_000)
        fraction = String(repeating: "0", count: 6 - fraction.utf8.count) + fraction
        while fraction.hasSuffix("0") { fraction.removeLast() }
        let whole = "\(value < 0 ? "-" : "")\(value.magnitude / 1_000_000)"
        return fraction.isEmpty ? whole : "\(whole).\(fraction)"
    }
}
