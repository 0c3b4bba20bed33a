internal import AurumCore

/// RFC 3339 times, with the minute of the last one remembered: events of one body share it.
struct MinuteMemo {
    private var first: UInt64 = 0
    private var second: UInt64 = 0
    /// Microseconds since 1970 of the remembered minute.
    private var minute: Int64 = 0

    /// Microseconds since 1970 of `2026-11-21T01:29:28.032Z` or the same with an offset; nil for anything else,
    /// impossible dates and second 60 included. Digits past the sixth of the fraction are cut.
    ///
    /// Reads 16 bytes past `bytes` whatever `count` says.
    @inline(__always)
    mutating func microseconds(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int64? {
        guard count >= 20, count <= 40 else { return nil }
        let words = (ByteScan.word(bytes), ByteScan.word(bytes + 8))
        if words.0 != first || words.1 != second {
            guard let parsed = Self.minute(bytes) else { return nil }
            (first, second) = words
            minute = parsed
        }
        if count == 24, bytes[23] == 0x5a, bytes[19] == 0x2e, bytes[16] == 0x3a {
            let tens = bytes[17] &- 0x30, ones = bytes[18] &- 0x30
            let tenths = bytes[20] &- 0x30, hundredths = bytes[21] &- 0x30, thousandths = bytes[22] &- 0x30
            guard tens < 6, ones < 10, tenths < 10, hundredths < 10, thousandths < 10 else { return nil }
            let seconds = Int64(tens) &* 10 &+ Int64(ones)
            let thousands = Int64(tenths) &* 100 &+ Int64(hundredths) &* 10 &+ Int64(thousandths)
            return minute &+ seconds &* 1_000_000 &+ thousands &* 1000
        }
        return seconds(bytes, count)
    }

    /// The same without what follows the digits: `2026-11-21T01:29:28` with 0, 3 or 6 digits of a fraction (`count` 19,
    /// 23 or 26) and a capital T, read as if it were UTC. Reads 32 bytes whatever `count` says.
    @inline(__always)
    mutating func local(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int64? {
        let words = (ByteScan.word(bytes), ByteScan.word(bytes + 8))
        if words.0 != first || words.1 != second {
            guard let parsed = Self.minute(bytes) else { return nil }
            (first, second) = words
            minute = parsed
        }
        let tens = bytes[17] &- 0x30, ones = bytes[18] &- 0x30
        guard bytes[10] == 0x54, bytes[16] == 0x3a, tens < 6, ones < 10 else { return nil }
        let moment = minute &+ (Int64(tens) &* 10 &+ Int64(ones)) &* 1_000_000
        if count == 19 { return moment }
        let tenths = bytes[20] &- 0x30, hundredths = bytes[21] &- 0x30, thousandths = bytes[22] &- 0x30
        guard bytes[19] == 0x2e, tenths < 10, hundredths < 10, thousandths < 10 else { return nil }
        let millis = Int64(tenths) &* 100 &+ Int64(hundredths) &* 10 &+ Int64(thousandths)
        if count == 23 { return moment &+ millis &* 1000 }
        let fourth = bytes[23] &- 0x30, fifth = bytes[24] &- 0x30, sixth = bytes[25] &- 0x30
        guard fourth < 10, fifth < 10, sixth < 10 else { return nil }
        return moment &+ millis &* 1000 &+ Int64(fourth) &* 100 &+ Int64(fifth) &* 10 &+ Int64(sixth)
    }

    @inline(never)
    private func seconds(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int64? {
        guard bytes[16] == 0x3a, let seconds = Self.digits(bytes + 17, 2), seconds < 60 else { return nil }
        var moment = minute + Int64(seconds) * 1_000_000
        var index = 19
        if bytes[index] == 0x2e {
            index += 1
            let start = index
            var scale: Int64 = 100_000
            while index < count, bytes[index] &- 0x30 < 10 {
                moment += Int64(bytes[index] &- 0x30) * scale
                scale /= 10
                index += 1
            }
            guard index > start else { return nil }
        }
        if index + 1 == count, bytes[index] | 0x20 == 0x7a { return moment }
        guard index + 6 == count, bytes[index] == 0x2b || bytes[index] == 0x2d, bytes[index + 3] == 0x3a,
            let hours = Self.digits(bytes + index + 1, 2), let minutes = Self.digits(bytes + index + 4, 2),
            hours < 24, minutes < 60
        else { return nil }
        let offset = Int64(hours * 60 + minutes) * 60_000_000
        return bytes[index] == 0x2b ? moment - offset : moment + offset
    }

    /// `2026-11-21T01:29` as microseconds since 1970.
    @inline(never)
    private static func minute(_ bytes: UnsafePointer<UInt8>) -> Int64? {
        guard bytes[4] == 0x2d, bytes[7] == 0x2d, bytes[10] | 0x20 == 0x74, bytes[13] == 0x3a,
            let year = digits(bytes, 4), let month = digits(bytes + 5, 2), let day = digits(bytes + 8, 2),
            let date = CivilDate(year: year, month: month, day: day),
            let hour = digits(bytes + 11, 2), hour < 24, let minute = digits(bytes + 14, 2), minute < 60
        else { return nil }
        return (Int64(date.daysSince1970) * 1440 + Int64(hour * 60 + minute)) * 60_000_000
    }

    private static func digits(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int? {
        var number = 0
        for index in 0..<count {
            let digit = bytes[index] &- 0x30
            guard digit < 10 else { return nil }
            number = number * 10 + Int(digit)
        }
        return number
    }
}
