internal import GRDB

/// Why a row could not become a value. No default ever replaces a bad value.
package enum RowError: Error, Equatable, Sendable {
    case missingColumn(String)
    case wrongType(column: String, expected: String, found: String)
    case null(column: String)
    /// A number that does not fit 64 bits, or a type that no table of ours has.
    case outOfRange(column: String)
}

/// One row of an answer, valid inside the transaction that read it.
package struct Row {
    enum Source {
        case sqlite(GRDB.Row)
        case postgres(PostgresRow)
    }

    private let source: Source

    init(_ source: Source) { self.source = source }

    /// The value of `column`; a NULL is an error.
    package func get<Value: SQLBindable>(_ column: String, as type: Value.Type = Value.self) throws(RowError) -> Value {
        guard let value = try optional(column, as: type) else { throw .null(column: column) }
        return value
    }

    /// The value of `column`, or nil for NULL.
    package func optional<Value: SQLBindable>(
        _ column: String, as type: Value.Type = Value.self
    ) throws(RowError) -> Value? {
        try decode(try stored(column), column: column)
    }

    /// The value as the engine keeps it.
    func stored(_ column: String) throws(RowError) -> SQLValue {
        switch source {
        case .sqlite(let row):
            guard row.hasColumn(column) else { throw .missingColumn(column) }
            return SQLValue(row[column] as DatabaseValue)
        case .postgres(let row):
            guard let index = row.index(of: column) else { throw .missingColumn(column) }
            return try row.value(index, column: column)
        }
    }

    /// The value of the column at `index` from 0, for tables whose rows are read by the thousand: finding a column by
    /// its name costs more than reading it.
    package func value(at index: Int) throws(RowError) -> SQLValue {
        switch source {
        case .sqlite(let row): SQLValue(row[index] as DatabaseValue)
        case .postgres(let row): try row.value(Int32(index), column: "\(index)")
        }
    }

    /// The first column, whatever its name.
    func first<Value: SQLBindable>(as type: Value.Type) throws(RowError) -> Value? {
        switch source {
        case .sqlite(let row): try decode(SQLValue(row[0] as DatabaseValue), column: "1")
        case .postgres(let row): try decode(try row.value(0, column: "1"), column: "1")
        }
    }

    private func decode<Value: SQLBindable>(_ found: SQLValue, column: String) throws(RowError) -> Value? {
        if found == .null { return nil }
        guard let value = Value(sqlValue: found) else {
            throw .wrongType(column: column, expected: "\(Value.self)", found: found.typeName)
        }
        return value
    }
}

/// A type made from a row.
package protocol RowDecodable {
    init(row: Row) throws
}

extension SQLValue {
    /// The kind of value, for error messages that must not hold the value.
    var typeName: String {
        switch self {
        case .null: "null"
        case .integer: "integer"
        case .real: "real"
        case .text: "text"
        case .bytes: "bytes"
        }
    }
}
