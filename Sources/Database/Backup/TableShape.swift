internal import AurumCore

/// A table as a backup sees it: what it is called, its columns in order, and what orders its rows.
package struct TableShape: Sendable, Equatable {
    package let name: String
    package let columns: [String]
    /// The primary key.
    package let key: [String]
    /// Tables that must be filled before this one.
    package let references: Set<String>
    /// What its rows are read from: the table, or words that add what the engine keeps beside it.
    let source: String

    /// Tables whose rows belong to one place and not to the site.
    private static let local: Set<String> = [
        "schema_migrations", "database_probe", "database_incarnation", RestoreMark.table,
    ]

    /// Columns that one engine adds for itself, by table.
    static let engineColumns: [String: Set<String>] = ["outbox": ["xid"]]

    /// All tables of record, those first that others refer to.
    /// - Throws: `SQLError.schema` for a table without a primary key, which nothing could order.
    static func all(_ transaction: Transaction) throws -> [TableShape] {
        let names = try transaction.values(
            String.self,
            .dialect(
                sqlite: """
                    SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name
                    """,
                postgres: """
                    SELECT relname::text FROM pg_class
                    WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace ORDER BY relname
                    """))
        var shapes: [TableShape] = []
        for name in names where !local.contains(name) { shapes.append(try shape(name, transaction)) }
        return ordered(shapes)
    }

    private static func shape(_ name: String, _ transaction: Transaction) throws -> TableShape {
        let columns = try transaction.values(
            String.self,
            .dialect(
                sqlite: "SELECT name FROM pragma_table_info(\(name)) ORDER BY cid",
                postgres: """
                    SELECT attname::text FROM pg_attribute
                    WHERE attrelid = to_regclass(\(name)) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
                    """))
        let key = try transaction.values(
            String.self,
            .dialect(
                sqlite: "SELECT name FROM pragma_table_info(\(name)) WHERE pk > 0 ORDER BY pk",
                postgres: """
                    SELECT attname::text FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey)
                    WHERE indrelid = to_regclass(\(name)) AND indisprimary
                    ORDER BY array_position(indkey::smallint[], attnum)
                    """))
        let references = try transaction.values(
            String.self,
            .dialect(
                sqlite: "SELECT DISTINCT \"table\" FROM pragma_foreign_key_list(\(name))",
                postgres: """
                    SELECT DISTINCT relname::text FROM pg_constraint JOIN pg_class ON pg_class.oid = confrelid
                    WHERE conrelid = to_regclass(\(name)) AND contype = 'f'
                    """))
        guard !key.isEmpty else { throw SQLError.schema("the table \(name) has no primary key") }
        let isFences = name == FenceSequenceState.table
        let hasSequence = try isFences && FenceSequenceState.exists(transaction)
        let own = engineColumns[name] ?? []
        return TableShape(
            name: name, columns: columns.filter { !own.contains($0) }, key: key,
            references: Set(references).subtracting([name]),
            source: hasSequence ? FenceSequenceState.rows : Database.quoted(name))
    }

    /// Each behind those it refers to; names decide where nothing else does.
    private static func ordered(_ shapes: [TableShape]) -> [TableShape] {
        var waiting = shapes
        var done: [TableShape] = []
        var names: Set<String> = []
        let all = Set(shapes.map(\.name))
        while !waiting.isEmpty {
            let ready = waiting.filter { $0.references.intersection(all).isSubset(of: names) }
            // Tables that refer to each other in a circle are taken as they come; none of ours do.
            let next = ready.isEmpty ? waiting : ready
            done += next
            names.formUnion(next.map(\.name))
            waiting.removeAll { names.contains($0.name) }
        }
        return done
    }
}

/// The sequence that fences come from on PostgreSQL. In a backup the row of the table `fences` says how far it has
/// come, as that row does on SQLite; so a site goes from either engine to either and no fence comes twice.
enum FenceSequenceState {
    static let table = "fences"
    /// A sequence stands beside every snapshot: what it says now is never less than what the snapshot's rows hold.
    static let rows = """
        (SELECT name, CASE WHEN reserved < (SELECT last_value FROM fence) THEN (SELECT last_value FROM fence)
            ELSE reserved END AS reserved FROM fences) AS fences
        """

    /// False on SQLite, and in a schema that is older than the sequence.
    static func exists(_ transaction: Transaction) throws -> Bool {
        guard transaction.dialect == .postgres else { return false }
        let count = try transaction.value(
            Int.self,
            """
            SELECT COUNT(*) FROM pg_class
            WHERE relkind = 'S' AND relname = 'fence' AND relnamespace = current_schema()::regnamespace
            """)
        return count ?? 0 > 0
    }

    /// Lets the sequence of an empty database begin again: an earlier run may have raised it.
    static func reset(_ transaction: Transaction) throws {
        guard try exists(transaction) else { return }
        _ = try transaction.value(Int64.self, "SELECT setval('fence', 0, true)")
    }

    /// Lets the sequence go on above what the table holds, and never below where it is.
    static func raise(_ transaction: Transaction) throws {
        guard try exists(transaction) else { return }
        _ = try transaction.value(
            Int64.self,
            """
            SELECT setval('fence', GREATEST((SELECT MAX(reserved) FROM fences), (SELECT last_value FROM fence)), true)
            """)
    }
}

/// One row as a line of text that is the same whatever engine it came from: values apart by tabs, each with a letter
/// for its type (`n`, `i` decimal, `r` bits in hex, `t` text with `\\`, `\t`, `\n` and `\r` escaped, `b` bytes in hex).
package enum RowText {
    static func line(_ values: [SQLValue]) -> [UInt8] {
        var line: [UInt8] = []
        for (index, value) in values.enumerated() {
            if index > 0 { line.append(UInt8(ascii: "\t")) }
            append(value, to: &line)
        }
        line.append(UInt8(ascii: "\n"))
        return line
    }

    private static func append(_ value: SQLValue, to line: inout [UInt8]) {
        switch value {
        case .null: line.append(UInt8(ascii: "n"))
        case .integer(let number): line += Array("i\(number)".utf8)
        case .real(let number): line += Array(("r" + String(number.bitPattern, radix: 16)).utf8)
        case .bytes(let bytes): line += Array(("b" + Hex.encode(bytes)).utf8)
        case .text(let text):
            line.append(UInt8(ascii: "t"))
            for byte in text.utf8 {
                switch byte {
                case UInt8(ascii: "\\"): line += [UInt8(ascii: "\\"), UInt8(ascii: "\\")]
                case UInt8(ascii: "\t"): line += [UInt8(ascii: "\\"), UInt8(ascii: "t")]
                case UInt8(ascii: "\n"): line += [UInt8(ascii: "\\"), UInt8(ascii: "n")]
                case UInt8(ascii: "\r"): line += [UInt8(ascii: "\\"), UInt8(ascii: "r")]
                default: line.append(byte)
                }
            }
        }
    }

    /// The values of a line without its end; nil for text that no line of ours is.
    static func values(_ line: some Collection<UInt8>) -> [SQLValue]? {
        var values: [SQLValue] = []
        for field in line.split(separator: UInt8(ascii: "\t"), omittingEmptySubsequences: false) {
            guard let value = value(field) else { return nil }
            values.append(value)
        }
        return values
    }

    private static func value(_ field: some Collection<UInt8>) -> SQLValue? {
        let rest = field.dropFirst()
        switch field.first {
        case UInt8(ascii: "n"): return rest.isEmpty ? .null : nil
        case UInt8(ascii: "i"): return Int64(String(decoding: rest, as: UTF8.self)).map { .integer($0) }
        case UInt8(ascii: "r"):
            return UInt64(String(decoding: rest, as: UTF8.self), radix: 16).map { .real(Double(bitPattern: $0)) }
        case UInt8(ascii: "b"): return Hex.decode(String(decoding: rest, as: UTF8.self)).map { .bytes($0) }
        case UInt8(ascii: "t"): return text(rest)
        default: return nil
        }
    }

    private static func text(_ escaped: some Collection<UInt8>) -> SQLValue? {
        var bytes: [UInt8] = []
        var isEscaped = false
        for byte in escaped {
            guard isEscaped else {
                if byte == UInt8(ascii: "\\") { isEscaped = true } else { bytes.append(byte) }
                continue
            }
            isEscaped = false
            switch byte {
            case UInt8(ascii: "\\"): bytes.append(byte)
            case UInt8(ascii: "t"): bytes.append(UInt8(ascii: "\t"))
            case UInt8(ascii: "n"): bytes.append(UInt8(ascii: "\n"))
            case UInt8(ascii: "r"): bytes.append(UInt8(ascii: "\r"))
            default: return nil
            }
        }
        guard !isEscaped, let text = String(validating: bytes, as: UTF8.self) else { return nil }
        return .text(text)
    }
}
