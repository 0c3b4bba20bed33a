internal import Foundation
internal import GRDB

/// Why a row could not become a value. No default ever replaces a bad value.
package enum RowError: Error, Equatable, Sendable {
    case missingColumn(String)
    case wrongType(column: String, expected: String, found: String)
    case null(column: String)
}

/// One row of an answer, valid inside the transaction that read it.
package struct Row {
    let row: GRDB.Row

    /// The value of `column`; a NULL is an error.
    package func get<Value: SQLBindable>(_ column: String, as type: Value.Type = Value.self) throws(RowError) -> Value {
        guard let value = try optional(column, as: type) else { throw .null(column: column) }
        return value
    }

    /// The value of `column`, or nil for NULL.
    package func optional<Value: SQLBindable>(
        _ column: String, as type: Value.Type = Value.self
    ) throws(RowError) -> Value? {
        guard row.hasColumn(column) else { throw .missingColumn(column) }
        let stored: DatabaseValue = row[column]
        return try decode(stored, column: column)
    }

    /// The first column, whatever its name.
    func first<Value: SQLBindable>(as type: Value.Type) throws(RowError) -> Value? {
        try decode(row[0] as DatabaseValue, column: "1")
    }

    private func decode<Value: SQLBindable>(_ stored: DatabaseValue, column: String) throws(RowError) -> Value? {
        let found: SQLValue =
            switch stored.storage {
            case .null: .null
            case .int64(let value): .integer(value)
            case .double(let value): .real(value)
            case .string(let value): .text(value)
            case .blob(let value): .bytes(Array(value))
            }
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

    var databaseValue: DatabaseValue {
        switch self {
        case .null: .null
        case .integer(let value): value.databaseValue
        case .real(let value): value.databaseValue
        case .text(let value): value.databaseValue
        case .bytes(let value): Data(value).databaseValue
        }
    }
}
