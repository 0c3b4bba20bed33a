/// Numbers read from their decimal text, never through binary floating point.
enum DecimalText {
    /// A whole number of at most `digitsMax` digits without fraction or exponent; nil for anything else.
    static func integer(_ bytes: UnsafePointer<UInt8>, _ count: Int, digitsMax: Int) -> Int64? {
        let negative = count > 0 && bytes[0] == 0x2d
        let first = negative ? 1 : 0
        guard count > first, count - first <= digitsMax else { return nil }
        var number: Int64 = 0
        for index in first..<count {
            let digit = bytes[index] &- 0x30
            guard digit < 10 else { return nil }
            number = number &* 10 &+ Int64(digit)
        }
        return negative ? -number : number
    }

    /// Millionths of at most 12 integer and 6 fraction digits; zeros past the sixth are allowed. nil for anything else.
    ///
    /// - Parameter exponent: whether `1e-5` is a number; in text it is not.
    static func millionths(_ bytes: UnsafePointer<UInt8>, _ count: Int, exponent: Bool = false) -> Int64? {
        var index = 0
        let negative = count > 0 && bytes[0] == 0x2d
        if negative { index = 1 }
        var value: Int64 = 0
        var whole = 0
        var fraction = 0
        let wholeStart = index
        while index < count, bytes[index] &- 0x30 < 10 {
            guard index - wholeStart < 40 else { return nil }
            if whole < 12 {
                value = value &* 10 &+ Int64(bytes[index] &- 0x30)
            } else {
                return slow(bytes, count, exponent)
            }
            if value != 0 { whole += 1 }
            index += 1
        }
        guard index > wholeStart else { return nil }
        if index < count, bytes[index] == 0x2e {
            index += 1
            let start = index
            while index < count, bytes[index] &- 0x30 < 10 {
                let digit = bytes[index] &- 0x30
                if fraction < 6 {
                    value = value &* 10 &+ Int64(digit)
                    fraction += 1
                } else if digit != 0 {
                    return exponent ? slow(bytes, count, exponent) : nil
                }
                index += 1
            }
            guard index > start else { return nil }
        }
        guard index == count else { return exponent ? slow(bytes, count, exponent) : nil }
        while fraction < 6 {
            value = value &* 10
            fraction += 1
        }
        return negative ? -value : value
    }

    /// Any JSON number, exponent included: its digits and the place of its point, then the exact check.
    private static func slow(_ bytes: UnsafePointer<UInt8>, _ count: Int, _ allowsExponent: Bool) -> Int64? {
        var digits: [UInt8] = []
        var point = 0
        var index = bytes[0] == 0x2d ? 1 : 0
        var behindPoint = false
        while index < count, bytes[index] == 0x2e || bytes[index] &- 0x30 < 10 {
            if bytes[index] == 0x2e {
                guard !behindPoint else { return nil }
                behindPoint = true
            } else {
                if !digits.isEmpty || bytes[index] != 0x30 { digits.append(bytes[index] &- 0x30) }
                if behindPoint { point += 1 }
            }
            index += 1
        }
        var exponent = 0
        if index < count {
            guard allowsExponent, bytes[index] | 0x20 == 0x65 else { return nil }
            index += 1
            if index < count, bytes[index] == 0x2b { index += 1 }
            guard let parsed = integer(bytes + index, count - index, digitsMax: 6) else { return nil }
            exponent = Int(parsed)
        }
        while let last = digits.last, last == 0 {
            digits.removeLast()
            point -= 1
        }
        guard !digits.isEmpty else { return 0 }
        // The number is digits × 10^shift millionths.
        let shift = exponent - point + 6
        guard shift >= 0, digits.count + shift <= 18 else { return nil }
        var value: Int64 = 0
        for digit in digits { value = value * 10 + Int64(digit) }
        for _ in 0..<shift { value *= 10 }
        return bytes[0] == 0x2d ? -value : value
    }
}
