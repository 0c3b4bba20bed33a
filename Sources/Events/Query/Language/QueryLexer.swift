/// The words and signs of a query's text, each with the byte where it begins.
struct QueryLexer {
    enum Token: Equatable {
        case word(String)
        /// A text in quotation marks.
        case quoted(String)
        /// A column's name in back quotes.
        case name(String)
        case sign(String)
        case end
    }

    struct Place {
        var token: Token
        var offset: Int
    }

    private let bytes: [UInt8]
    private var index = 0

    static func places(_ text: String) throws(QueryParseError) -> [Place] {
        var lexer = QueryLexer(bytes: Array(text.utf8))
        var places: [Place] = []
        while true {
            let place = try lexer.next()
            places.append(place)
            if place.token == .end { return places }
        }
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private static let notEqual = Array("≠".utf8)
    private static let lessOrEqual = Array("≤".utf8)
    private static let greaterOrEqual = Array("≥".utf8)

    private mutating func next() throws(QueryParseError) -> Place {
        while index < bytes.count, [0x20, 0x09, 0x0a, 0x0d].contains(bytes[index]) { index += 1 }
        let start = index
        guard index < bytes.count else { return Place(token: .end, offset: start) }
        switch bytes[index] {
        case UInt8(ascii: "\""), UInt8(ascii: "'"): return Place(token: .quoted(try quoted()), offset: start)
        case UInt8(ascii: "`"): return Place(token: .name(try quoted()), offset: start)
        default: break
        }
        if let sign = sign() { return Place(token: .sign(sign), offset: start) }
        while index < bytes.count, !Self.ends(bytes[index]), !isWideSign { index += 1 }
        return Place(token: .word(String(decoding: bytes[start..<index], as: UTF8.self)), offset: start)
    }

    private static func ends(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x20, 0x09, 0x0a, 0x0d, UInt8(ascii: ","), UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "="),
            UInt8(ascii: "<"), UInt8(ascii: ">"), UInt8(ascii: "!"), UInt8(ascii: "\""), UInt8(ascii: "'"),
            UInt8(ascii: "`"):
            true
        default: false
        }
    }

    private var isWideSign: Bool {
        [Self.notEqual, Self.lessOrEqual, Self.greaterOrEqual].contains { bytes[index...].starts(with: $0) }
    }

    private mutating func sign() -> String? {
        let rest = bytes[index...]
        for (written, meant) in [
            ("≠", "!="), ("≤", "<="), ("≥", ">="), ("!=", "!="), ("<>", "!="), ("<=", "<="), (">=", ">="), ("==", "="),
            ("=", "="), ("<", "<"), (">", ">"), (",", ","), ("(", "("), (")", ")"), ("!", "!"),
        ] where rest.starts(with: written.utf8) {
            index += written.utf8.count
            return meant
        }
        return nil
    }

    /// The text up to the quotation mark that began it; a backslash takes the next character as it is, but for `\n`
    /// and `\t`.
    private mutating func quoted() throws(QueryParseError) -> String {
        let start = index
        let mark = bytes[index]
        var text: [UInt8] = []
        index += 1
        while index < bytes.count, bytes[index] != mark {
            if bytes[index] == UInt8(ascii: "\\") {
                index += 1
                guard index < bytes.count else { break }
                switch bytes[index] {
                case UInt8(ascii: "n"): text.append(0x0a)
                case UInt8(ascii: "t"): text.append(0x09)
                default: text.append(bytes[index])
                }
            } else {
                text.append(bytes[index])
            }
            index += 1
        }
        guard index < bytes.count else { throw QueryParseError(.byte(start), "a closing quotation mark") }
        index += 1
        return String(decoding: text, as: UTF8.self)
    }
}
