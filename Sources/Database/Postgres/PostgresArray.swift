internal import AurumCore

/// Lists in the words that PostgreSQL reads as an array: `{1,NULL,3}`. A statement with one has the same text whatever
/// the length, so that it is prepared once. Source: PostgreSQL's documentation, "Array Input and Output Syntax".
enum PostgresArray {
    static func text(_ values: [Int64?]) -> String {
        list(values.count) { index, out in
            if let value = values[index] { out += Array(String(value).utf8) } else { out += null }
        }
    }

    /// A text stands in quotes, with a backslash before quotes and backslashes. An empty one is no NULL.
    static func text(_ values: [String?]) -> String {
        list(values.count) { index, out in
            guard let value = values[index] else {
                out += null
                return
            }
            out.append(UInt8(ascii: "\""))
            for byte in value.utf8 {
                if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { out.append(UInt8(ascii: "\\")) }
                out.append(byte)
            }
            out.append(UInt8(ascii: "\""))
        }
    }

    static func text(_ values: [UID?]) -> String {
        list(values.count) { index, out in
            if let value = values[index] { out += Array("\"\\\\x\(value.hex)\"".utf8) } else { out += null }
        }
    }

    private static let null = Array("NULL".utf8)

    private static func list(_ count: Int, _ append: (Int, inout [UInt8]) -> Void) -> String {
        var out: [UInt8] = []
        out.reserveCapacity(2 + 24 * count)
        out.append(UInt8(ascii: "{"))
        for index in 0..<count {
            if index > 0 { out.append(UInt8(ascii: ",")) }
            append(index, &out)
        }
        out.append(UInt8(ascii: "}"))
        return String(decoding: out, as: UTF8.self)
    }
}
