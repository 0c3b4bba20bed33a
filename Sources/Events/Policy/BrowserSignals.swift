internal import AurumCore
internal import Synchronization

/// How often each identifier was seen in the current ten seconds. Fixed memory: two identifiers that share a place
/// count together, so a busy table may call somebody suspect too early and never too late.
final class RateWindow: Sendable {
    static let eventsMax = 60
    static let windowMicroseconds: Int64 = 10_000_000
    private static let slotCount = 1 << 16

    /// Window number and count in one word.
    private let slots: [Slot]

    private final class Slot: Sendable {
        let word = Atomic<UInt64>(0)
    }

    init() { slots = (0..<Self.slotCount).map { _ in Slot() } }

    /// Counts one event; true when the identifier has had more than `eventsMax` in these ten seconds.
    func isOver(_ person: UInt64, at moment: Int64) -> Bool {
        let window = UInt64(truncatingIfNeeded: moment / Self.windowMicroseconds) & 0xffff_ffff
        let slot = slots[Int(person & UInt64(Self.slotCount - 1))]
        var known = slot.word.load(ordering: .relaxed)
        while true {
            let next = known >> 32 == window ? known &+ 1 : window << 32 | 1
            let (exchanged, original) = slot.word.weakCompareExchange(
                expected: known, desired: next, ordering: .relaxed)
            if exchanged { return next & 0xffff_ffff > UInt64(Self.eventsMax) }
            known = original
        }
    }
}

/// Networks of data centres: one `address/bits` a line.
package struct AddressRanges: Sendable {
    private struct Range: Sendable {
        var low: [UInt8]
        var high: [UInt8]
    }

    /// Sorted by their first address, IPv4 apart from IPv6; no two of one kind share an address.
    private let four: [Range]
    private let six: [Range]

    /// Lines that are no range are left out; `#` starts a comment.
    package init(_ text: String) {
        var ranges: [Range] = []
        for line in text.split(separator: "\n") {
            let plain = line.split(separator: "#", omittingEmptySubsequences: false)[0].filter { !$0.isWhitespace }
            let parts = plain.split(separator: "/")
            guard let first = parts.first, let address = NetworkAddress.cut(String(first))?.address else { continue }
            let bits = parts.count > 1 ? Int(parts[1]) ?? -1 : address.count * 8
            guard (0...address.count * 8).contains(bits) else { continue }
            var (low, high) = (address, address)
            for index in address.indices {
                let kept = min(8, max(0, bits - index * 8))
                let mask = UInt8(truncatingIfNeeded: 0xff00 >> kept)
                low[index] &= mask
                high[index] |= ~mask
            }
            ranges.append(Range(low: low, high: high))
        }
        let sorted = ranges.sorted { $0.low.lexicographicallyPrecedes($1.low) }
        four = Self.joined(sorted.filter { $0.low.count == 4 })
        six = Self.joined(sorted.filter { $0.low.count == 16 })
    }

    /// Ranges that lie in others, or begin in them, become part of them.
    private static func joined(_ sorted: [Range]) -> [Range] {
        var joined: [Range] = []
        for range in sorted {
            guard let last = joined.last, !last.high.lexicographicallyPrecedes(range.low) else {
                joined.append(range)
                continue
            }
            if last.high.lexicographicallyPrecedes(range.high) { joined[joined.count - 1].high = range.high }
        }
        return joined
    }

    package var isEmpty: Bool { four.isEmpty && six.isEmpty }

    func holds(_ address: [UInt8]) -> Bool {
        let ranges = address.count == 4 ? four : six
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if address.lexicographicallyPrecedes(ranges[middle].low) { high = middle } else { low = middle + 1 }
        }
        return low > 0 && !ranges[low - 1].high.lexicographicallyPrecedes(address)
    }
}

extension EventRewrite {
    /// What the event of a page says of who is there, beside its user agent.
    mutating func signals(_ parser: inout EventParser) -> [BotReason] {
        guard parser.has(.context) else { return [] }
        var reasons: [BotReason] = []
        for member in JSONPlaces.members(raw, range(parser.slice(.context))) {
            let value = String(decoding: raw[member.value], as: UTF8.self)
            switch member.name {
            case "honeypot" where !["false", "null", "\"\""].contains(value): reasons.append(.honeypot)
            case "focus" where value == "false": reasons.append(.noFocus)
            default: break
            }
        }
        return reasons
    }
}
