/// Glob patterns over bytes with the meaning that Redis gives them (`stringmatchlen`): `*` any bytes, `?` one byte,
/// `[…]` one of a set with ranges and `^`, `\` takes the next byte as it is.
struct GlobPattern: Sendable, Hashable {
    private enum Part: Sendable, Hashable {
        case byte(UInt8)
        case any
        case many
        case set([ClosedRange<UInt8>], isNegated: Bool)
    }

    private let parts: [Part]

    init(_ text: String) {
        var parts: [Part] = []
        var bytes = Array(text.utf8)[...]
        while let byte = bytes.popFirst() {
            switch byte {
            case UInt8(ascii: "*"): if parts.last != .many { parts.append(.many) }
            case UInt8(ascii: "?"): parts.append(.any)
            case UInt8(ascii: "["): parts.append(Self.set(&bytes))
            case UInt8(ascii: "\\"): parts.append(.byte(bytes.popFirst() ?? byte))
            default: parts.append(.byte(byte))
            }
        }
        self.parts = parts
    }

    /// What stands after `[`, through its `]` or to the end.
    private static func set(_ bytes: inout ArraySlice<UInt8>) -> Part {
        var ranges: [ClosedRange<UInt8>] = []
        let isNegated = bytes.first == UInt8(ascii: "^")
        if isNegated { bytes.removeFirst() }
        while let byte = bytes.popFirst(), byte != UInt8(ascii: "]") {
            if byte == UInt8(ascii: "\\"), let literal = bytes.popFirst() {
                ranges.append(literal...literal)
            } else if bytes.count >= 2, bytes.first == UInt8(ascii: "-") {
                bytes.removeFirst()
                let end = bytes.removeFirst()
                ranges.append(min(byte, end)...max(byte, end))
            } else {
                ranges.append(byte...byte)
            }
        }
        return .set(ranges, isNegated: isNegated)
    }

    /// Time at most the product of the lengths: a star that fails is retried from the last one only.
    func matches(_ text: some Collection<UInt8>) -> Bool {
        let text = Array(text)
        var (part, at) = (0, 0)
        var star: (part: Int, at: Int)?
        while at < text.count {
            if part < parts.count, parts[part] == .many {
                star = (part, at)
                part += 1
            } else if part < parts.count, fits(parts[part], text[at]) {
                part += 1
                at += 1
            } else if let last = star {
                star = (last.part, last.at + 1)
                (part, at) = (last.part + 1, last.at + 1)
            } else {
                return false
            }
        }
        return parts[part...].allSatisfy { $0 == .many }
    }

    private func fits(_ part: Part, _ byte: UInt8) -> Bool {
        switch part {
        case .byte(let wanted): wanted == byte
        case .any, .many: true
        case .set(let ranges, let isNegated): ranges.contains { $0.contains(byte) } != isNegated
        }
    }
}
