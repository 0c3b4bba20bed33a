import AurumCore
import Runtime

/// The protocol as one reads it: whole input, recursion, no state. The oracle of the incremental parser.
struct RESPModel {
    private enum Stop: Error { case moreBytes, malformed }

    private let bytes: [UInt8]
    private var at = 0
    private(set) var values: [RESPValue] = []
    private(set) var failed = false

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    mutating func run() {
        while at < bytes.count {
            do { values.append(try value(depth: 0)) } catch {
                failed = error == .malformed
                return
            }
        }
    }

    private mutating func line() throws(Stop) -> [UInt8] {
        guard let end = bytes[at...].firstIndex(where: { $0 == 13 || $0 == 10 }) else { throw .moreBytes }
        guard bytes[end] == 13 else { throw .malformed }
        guard end + 1 < bytes.count else { throw .moreBytes }
        guard bytes[end + 1] == 10 else { throw .malformed }
        defer { at = end + 2 }
        return Array(bytes[at..<end])
    }

    private func number(_ line: ArraySlice<UInt8>) throws(Stop) -> Int {
        var text = String(decoding: line, as: UTF8.self)
        if text.hasPrefix("+") { text.removeFirst() }
        let hadPlus = text.utf8.count < line.count
        guard !hadPlus || !text.hasPrefix("-"), !text.hasPrefix("+"), text.utf8.drop(while: { $0 == 0x2d }).count <= 19,
            let number = Int(text)
        else { throw .malformed }
        return number
    }

    private mutating func text(_ line: ArraySlice<UInt8>) throws(Stop) -> [UInt8] {
        let length = try number(line)
        guard (0...RedisLimits.declaredBytesMax).contains(length) else { throw .malformed }
        guard bytes.count - at >= length + 2 else { throw .moreBytes }
        guard bytes[at + length] == 13, bytes[at + length + 1] == 10 else { throw .malformed }
        defer { at += length + 2 }
        return Array(bytes[at..<at + length])
    }

    private mutating func elements(_ line: ArraySlice<UInt8>, _ depth: Int, per: Int = 1) throws(Stop) -> [RESPValue] {
        let count = try number(line)
        guard count >= 0, count <= RedisLimits.elementsMax / per else { throw .malformed }
        guard count == 0 || depth < RedisLimits.nestingMax else { throw .malformed }
        var values: [RESPValue] = []
        for _ in 0..<count * per { values.append(try value(depth: depth + 1)) }
        return values
    }

    private func pairs(_ values: [RESPValue]) -> [RESPPair] {
        stride(from: 0, to: values.count, by: 2).map { RESPPair(key: values[$0], value: values[$0 + 1]) }
    }

    private mutating func value(depth: Int) throws(Stop) -> RESPValue {
        while true {
            let line = try line()
            guard let type = line.first else { throw .malformed }
            let rest = line.dropFirst()
            let text = String(decoding: rest, as: UTF8.self)
            switch Character(UnicodeScalar(type)) {
            case "+": return .simple(text)
            case "-": return .error(RedisServerError(text))
            case ":": return .integer(Int64(try number(rest)))
            case "$": return try number(rest) == -1 ? .null : .bulk(try self.text(rest))
            case "!": return .error(RedisServerError(String(decoding: try self.text(rest), as: UTF8.self)))
            case "=":
                let all = try self.text(rest)
                guard all.count >= 4, all[3] == 0x3a else { throw .malformed }
                return .verbatim(format: String(decoding: all[..<3], as: UTF8.self), bytes: Array(all[4...]))
            case "*": return try number(rest) == -1 ? .null : .array(try elements(rest, depth))
            case "~": return .set(try elements(rest, depth))
            case "%": return .map(pairs(try elements(rest, depth, per: 2)))
            case ">":
                guard depth == 0 else { throw .malformed }
                return .push(try elements(rest, depth))
            case "|": _ = try elements(rest, depth, per: 2)
            case "_":
                guard rest.isEmpty else { throw .malformed }
                return .null
            case "#":
                guard text == "t" || text == "f" else { throw .malformed }
                return .boolean(text == "t")
            case ",":
                if let known = ["inf": Double.infinity, "+inf": .infinity, "-inf": -.infinity][text] {
                    return .double(known)
                }
                guard text.allSatisfy({ "0123456789+-.eE".contains($0) }), let number = Double(text) else {
                    throw .malformed
                }
                return .double(number)
            case "(":
                let digits = text.hasPrefix("-") || text.hasPrefix("+") ? text.dropFirst() : text[...]
                guard !digits.isEmpty, digits.allSatisfy({ "0123456789".contains($0) }) else { throw .malformed }
                return .bigNumber(text)
            default: throw .malformed
            }
        }
    }
}

/// Inputs for the parser: frames of every type, some of them damaged.
enum RESPGenerator {
    static func input(_ random: inout SeededRandom) -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<Int.random(in: 1...3, using: &random) { frame(&bytes, depth: 0, &random) }
        switch Int.random(in: 0..<6, using: &random) {
        case 0: bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes.remove(at: Int.random(in: 0..<bytes.count, using: &random))
        case 2:
            let interesting = Array("\r\n+-:$*%~>|_#,(!=0129".utf8)
            bytes.insert(
                interesting.randomElement(using: &random) ?? 0, at: Int.random(in: 0...bytes.count, using: &random))
        case 3: bytes.removeLast(Int.random(in: 0...min(8, bytes.count - 1), using: &random))
        default: break
        }
        return bytes
    }

    private static func frame(_ bytes: inout [UInt8], depth: Int, _ random: inout SeededRandom) {
        let kinds = depth == 0 ? 15 : depth < 4 ? 14 : 9
        let number = Int.random(in: -3...200, using: &random)
        func line(_ text: String) { bytes += Array((text + "\r\n").utf8) }
        func texts(_ type: String, _ prefix: String = "") {
            let body =
                Array(prefix.utf8) + (0..<abs(number) % 20).map { _ in UInt8.random(in: 0...255, using: &random) }
            line("\(type)\(body.count)")
            bytes += body + [13, 10]
        }
        func many(_ type: String, _ perEntry: Int) {
            let count = Int.random(in: 0...3, using: &random)
            line("\(type)\(count)")
            for _ in 0..<count * perEntry { frame(&bytes, depth: depth + 1, &random) }
        }
        switch Int.random(in: 0..<kinds, using: &random) {
        case 0: line("+text\(number)")
        case 1: line("-ERR \(number)")
        case 2: line(":\(number)")
        case 3: texts("$")
        case 4: line(["_", "$-1", "*-1", "#t", "#f"][abs(number) % 5])
        case 5: line(["inf", "-inf", "1.5", "-2e9", "\(number)"][abs(number) % 5].withCommaBefore)
        case 6: line("(\(number)00000000000000000000")
        case 7: texts("=", "txt:")
        case 8: texts("!", "ERR ")
        case 9, 10: many("*", 1)
        case 11: many("~", 1)
        case 12: many("%", 2)
        case 13:
            many("|", 2)
            frame(&bytes, depth: depth + 1, &random)
        default: many(">", 1)
        }
    }
}

extension String {
    fileprivate var withCommaBefore: String { "," + self }
}
