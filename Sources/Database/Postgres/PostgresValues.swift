internal import CPostgres

/// Object ids of PostgreSQL's own types: `src/include/catalog/pg_type.dat`.
enum PostgresType {
    static let unspecified: Oid = 0
    static let bool: Oid = 16
    static let bytea: Oid = 17
    static let name: Oid = 19
    static let int8: Oid = 20
    static let int2: Oid = 21
    static let int4: Oid = 23
    static let text: Oid = 25
    static let oid: Oid = 26
    static let json: Oid = 114
    static let float4: Oid = 700
    static let float8: Oid = 701
    static let unknown: Oid = 705
    static let bpchar: Oid = 1042
    static let varchar: Oid = 1043
    static let numeric: Oid = 1700
    static let uuid: Oid = 2950
    static let void: Oid = 2278
    static let jsonb: Oid = 3802
    static let xid8: Oid = 5069
}

extension SQLValue {
    /// The type that a parameter is sent as; a NULL takes whatever the statement needs.
    var postgresType: Oid {
        switch self {
        case .null: PostgresType.unspecified
        case .integer: PostgresType.int8
        case .real: PostgresType.float8
        case .text: PostgresType.text
        case .bytes: PostgresType.bytea
        }
    }

    /// Appends the value in PostgreSQL's binary form. NULL has none.
    func append(to bytes: inout [UInt8]) {
        switch self {
        case .null: break
        case .integer(let value): withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
        case .real(let value): withUnsafeBytes(of: value.bitPattern.bigEndian) { bytes.append(contentsOf: $0) }
        case .text(let value): bytes.append(contentsOf: value.utf8)
        case .bytes(let value): bytes.append(contentsOf: value)
        }
    }

    /// A value of a result in binary form.
    /// - Returns: nil for a type that no table of ours has, or a number beyond 64 bits.
    init?(postgres bytes: UnsafeRawBufferPointer, type: Oid) {
        switch type {
        case PostgresType.int8, PostgresType.xid8: self = .integer(Int64(bitPattern: Self.big(bytes, 8)))
        case PostgresType.int4: self = .integer(Int64(Int32(truncatingIfNeeded: Self.big(bytes, 4))))
        case PostgresType.int2: self = .integer(Int64(Int16(truncatingIfNeeded: Self.big(bytes, 2))))
        case PostgresType.oid: self = .integer(Int64(Self.big(bytes, 4)))
        case PostgresType.bool: self = .integer(bytes.first == 1 ? 1 : 0)
        case PostgresType.text, PostgresType.varchar, PostgresType.bpchar, PostgresType.name, PostgresType.json,
            PostgresType.unknown:
            self = .text(String(decoding: bytes, as: UTF8.self))
        case PostgresType.jsonb: self = .text(String(decoding: bytes.dropFirst(), as: UTF8.self))
        case PostgresType.bytea, PostgresType.uuid: self = .bytes(Array(bytes))
        case PostgresType.float8: self = .real(Double(bitPattern: Self.big(bytes, 8)))
        case PostgresType.float4: self = .real(Double(Float(bitPattern: UInt32(Self.big(bytes, 4)))))
        case PostgresType.void: self = .null
        case PostgresType.numeric:
            guard let value = Self.numeric(bytes) else { return nil }
            self = value
        default: return nil
        }
    }

    private static func big(_ bytes: UnsafeRawBufferPointer, _ count: Int) -> UInt64 {
        bytes.prefix(count).reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Sums of 64-bit columns are NUMERIC: digits in base 10,000. A whole number becomes an integer as on SQLite, a
    /// fraction a real. Format: `src/backend/utils/adt/numeric.c`, `numeric_send`.
    private static func numeric(_ bytes: UnsafeRawBufferPointer) -> SQLValue? {
        guard bytes.count >= 8 else { return nil }
        func word(_ at: Int) -> Int { Int(Int16(truncatingIfNeeded: big(.init(rebasing: bytes[at...]), 2))) }
        let (count, weight, sign, scale) = (word(0), word(2), UInt16(truncatingIfNeeded: word(4)), word(6))
        guard count >= 0, bytes.count >= 8 + 2 * count, sign == 0 || sign == 0x4000 else { return nil }
        if scale > 0 {
            var value = 0.0
            for index in 0..<count {
                var digit = Double(word(8 + 2 * index))
                for _ in 0..<abs(weight - index) { digit = weight > index ? digit * 10_000 : digit / 10_000 }
                value += digit
            }
            return .real(sign == 0 ? value : -value)
        }
        var value: Int64 = 0
        for index in 0...max(0, weight) where count > 0 && weight >= 0 {
            let digit = index < count ? Int64(word(8 + 2 * index)) : 0
            let (shifted, overflow) = value.multipliedReportingOverflow(by: 10_000)
            // Summed on the negative side, which reaches one further.
            let (sum, beyond) = shifted.subtractingReportingOverflow(digit)
            if overflow || beyond { return nil }
            value = sum
        }
        if sign != 0 { return .integer(value) }
        let (positive, overflow) = Int64(0).subtractingReportingOverflow(value)
        return overflow ? nil : .integer(positive)
    }
}

/// An answer of the server; freed with the last row that looks at it.
final class PostgresResult {
    let raw: OpaquePointer
    let columns: PostgresColumns

    init(_ raw: OpaquePointer, columns: PostgresColumns) {
        self.raw = raw
        self.columns = columns
    }

    deinit { PQclear(raw) }

    var count: Int32 { PQntuples(raw) }
}

/// Names and types of the columns of one statement.
final class PostgresColumns {
    let indexes: [String: Int32]
    let types: [Oid]

    init(_ result: OpaquePointer) {
        let count = PQnfields(result)
        var indexes: [String: Int32] = [:]
        for index in 0..<count {
            guard let name = PQfname(result, index) else { continue }
            indexes[String(cString: name)] = index
        }
        self.indexes = indexes
        types = (0..<count).map { PQftype(result, $0) }
    }
}

/// One row of an answer.
struct PostgresRow {
    let result: PostgresResult
    let row: Int32

    func index(of column: String) -> Int32? { result.columns.indexes[column] }

    func value(_ index: Int32, column: String) throws(RowError) -> SQLValue {
        guard Int(index) < result.columns.types.count else { throw .missingColumn(column) }
        if PQgetisnull(result.raw, row, index) == 1 { return .null }
        let length = Int(PQgetlength(result.raw, row, index))
        let bytes = UnsafeRawBufferPointer(start: PQgetvalue(result.raw, row, index), count: length)
        guard let value = SQLValue(postgres: bytes, type: result.columns.types[Int(index)]) else {
            throw .outOfRange(column: column)
        }
        return value
    }
}
