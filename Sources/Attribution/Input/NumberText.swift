internal import Foundation

/// Decimal numbers from bytes.
enum NumberText {
    /// Numbers from here on are refused: doubles are no longer exact to the unit there, and sums and products of huge
    /// ones end as infinities.
    static let magnitudeMax = 1e16

    /// The nearest double of decimal text such as `12`, `-3.5` or `1.2e6`; nil for anything else, infinities and
    /// numbers of `magnitudeMax` and more included.
    static func double(_ bytes: UnsafeBufferPointer<UInt8>) -> Double? {
        let bytes = trimmed(bytes)
        if let quick = quick(bytes) { return quick }
        guard !bytes.isEmpty, bytes.count <= lengthMax, bytes.allSatisfy(isNumeric),
            let value = Double(String(decoding: bytes, as: UTF8.self)), value.magnitude < magnitudeMax
        else { return nil }
        return value
    }

    /// Blanks and tabs taken off both ends.
    static func trimmed(_ bytes: UnsafeBufferPointer<UInt8>) -> UnsafeBufferPointer<UInt8> {
        var (start, end) = (0, bytes.count)
        while start < end, isBlank(bytes[start]) { start += 1 }
        while end > start, isBlank(bytes[end - 1]) { end -= 1 }
        return UnsafeBufferPointer(rebasing: bytes[start..<end])
    }

    static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

    private static let lengthMax = 64
    private static func isNumeric(_ byte: UInt8) -> Bool {
        (48...57).contains(byte)
            || [
                UInt8(ascii: "."), UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: "e"),
                UInt8(ascii: "E"),
            ].contains(byte)
    }

    /// At most 15 digits with at most 15 of them after the point: mantissa and power of ten are exact doubles, so one
    /// division rounds correctly. Source: W. D. Clinger, "How to read floating point numbers accurately", 1990.
    private static func quick(_ bytes: UnsafeBufferPointer<UInt8>) -> Double? {
        var at = 0
        let isNegative = bytes.first == UInt8(ascii: "-")
        if isNegative { at = 1 }
        var mantissa: Int64 = 0
        var (digits, decimals) = (0, 0)
        var hasPoint = false
        while at < bytes.count {
            let byte = bytes[at]
            if byte == UInt8(ascii: "."), !hasPoint {
                hasPoint = true
            } else {
                let digit = byte &- 48
                guard digit <= 9, digits < 15 else { return nil }
                mantissa = mantissa * 10 + Int64(digit)
                digits += 1
                if hasPoint { decimals += 1 }
            }
            at += 1
        }
        guard digits > 0 else { return nil }
        let value = decimals == 0 ? Double(mantissa) : Double(mantissa) / powers[decimals]
        return isNegative ? -value : value
    }

    private static let powers: [Double] = [
        1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
    ]
}
