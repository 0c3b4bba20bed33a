internal import AurumCore

// Fixed-width text written in place: the part of the load generator that runs once an event. Unsafe, and kept here; the
// callers hand in places inside a buffer that they made themselves, 36 and 24 bytes wide.

/// Writes the 36 characters of a version 4 UUID made of these bits (six of them are replaced by version and variant).
@inline(__always)
func writeUUID(_ high: UInt64, _ low: UInt64, into target: UnsafeMutableRawPointer) {
    let first = hexDigits(UInt32(truncatingIfNeeded: high >> 32))
    let second = hexDigits(UInt32(truncatingIfNeeded: high) & 0xFFFF_0FFF | 0x0000_4000)
    let third = hexDigits(UInt32(truncatingIfNeeded: low >> 32) & 0x3FFF_FFFF | 0x8000_0000)
    let fourth = hexDigits(UInt32(truncatingIfNeeded: low))
    let dash = UInt8(ascii: "-")
    target.storeBytes(of: first, as: UInt64.self)
    target.storeBytes(of: dash, toByteOffset: 8, as: UInt8.self)
    target.storeBytes(of: UInt32(truncatingIfNeeded: second), toByteOffset: 9, as: UInt32.self)
    target.storeBytes(of: dash, toByteOffset: 13, as: UInt8.self)
    target.storeBytes(of: UInt32(truncatingIfNeeded: second >> 32), toByteOffset: 14, as: UInt32.self)
    target.storeBytes(of: dash, toByteOffset: 18, as: UInt8.self)
    target.storeBytes(of: UInt32(truncatingIfNeeded: third), toByteOffset: 19, as: UInt32.self)
    target.storeBytes(of: dash, toByteOffset: 23, as: UInt8.self)
    target.storeBytes(of: UInt32(truncatingIfNeeded: third >> 32), toByteOffset: 24, as: UInt32.self)
    target.storeBytes(of: fourth, toByteOffset: 28, as: UInt64.self)
}

/// Eight lower-case hex digits, most significant first in memory (little-endian word), without a table: the nibbles are
/// spread over bytes, then moved to `0`–`9` or `a`–`f` all at once.
@inline(__always)
private func hexDigits(_ value: UInt32) -> UInt64 {
    var spread = UInt64(value.byteSwapped)
    spread = (spread & 0xFFFF) | (spread & 0xFFFF_0000) << 16
    spread = (spread & 0x0000_00FF_0000_00FF) | (spread & 0x0000_FF00_0000_FF00) << 8
    spread = (spread & 0x00F0_00F0_00F0_00F0) >> 4 | (spread & 0x000F_000F_000F_000F) << 8
    let letters = ((spread &+ 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101
    return spread &+ 0x3030_3030_3030_3030 &+ letters &* 0x27
}

/// Times as `2026-11-21T03:44:05.123Z`: the date and minute are rendered once a minute, the rest per event.
struct MinuteText: Sendable {
    private var start: Int64 = .min
    private var millisecondsIn = 0
    private var current: (UInt64, UInt64) = (0, 0)
    private var previous: (UInt64, UInt64) = (0, 0)

    /// Sets the time that ages count back from.
    mutating func move(to milliseconds: Int64) {
        let minute = milliseconds.quotientRoundingDown(60_000)
        if minute != start {
            start = minute
            current = MinuteText.words(minute)
            previous = MinuteText.words(minute - 1)
        }
        millisecondsIn = Int(milliseconds - minute * 60_000)
    }

    /// Writes 24 characters: the time set, less `age` milliseconds (at most one minute).
    @inline(__always)
    func write(age: Int, into target: UnsafeMutableRawPointer) {
        var position = millisecondsIn - age
        var prefix = current
        if position < 0 {
            position += 60_000
            prefix = previous
        }
        target.storeBytes(of: prefix.0, as: UInt64.self)
        target.storeBytes(of: prefix.1, toByteOffset: 8, as: UInt64.self)
        let word = UInt32(truncatingIfNeeded: position)
        let second = word / 1000
        let rest = word - second * 1000
        let tens = second / 10
        let hundred = rest / 100
        let ten = rest / 10 - hundred * 10
        var tail: UInt64 = 0x5A00_0000_2E00_003A  // ':' … '.' … 'Z', first character lowest
        tail |= UInt64(48 + tens) << 8 | UInt64(48 + second - tens * 10) << 16
        tail |= UInt64(48 + hundred) << 32 | UInt64(48 + ten) << 40 | UInt64(48 + rest % 10) << 48
        target.storeBytes(of: tail, toByteOffset: 16, as: UInt64.self)
    }

    private static func words(_ minute: Int64) -> (UInt64, UInt64) {
        let text = Array(Timestamp(milliseconds: minute * 60_000).rfc3339.utf8.prefix(16))
        return text.withUnsafeBytes { raw in
            guard raw.count == 16 else { return (0, 0) }
            return (raw.loadUnaligned(as: UInt64.self), raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        }
    }
}
