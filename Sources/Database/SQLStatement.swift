package import AurumCore
internal import Foundation

/// A value as the engines store it.
package enum SQLValue: Sendable, Hashable {
    case null
    case integer(Int64)
    case real(Double)
    case text(String)
    case bytes([UInt8])
}

/// A type that can be bound to a statement and read from a column.
package protocol SQLBindable: Sendable {
    var sqlValue: SQLValue { get }
    /// nil when the stored value has another type or is out of range.
    init?(sqlValue: SQLValue)
}

/// One statement. Interpolating a value binds it as a parameter; text can only be spliced with `\(unsafe:)`,
/// which is forbidden outside this target.
package struct SQLStatement: ExpressibleByStringInterpolation, Sendable {
    package private(set) var text: String
    package private(set) var values: [SQLValue]
    /// The same for PostgreSQL where one text cannot serve both; empty or one.
    private var postgres: [SQLStatement] = []

    /// Two statements of the same meaning, for the few places where the engines differ.
    package static func dialect(sqlite: SQLStatement, postgres: SQLStatement) -> SQLStatement {
        var both = sqlite
        both.postgres = [postgres]
        return both
    }

    func resolved(for dialect: Dialect) -> SQLStatement { dialect == .postgres ? postgres.first ?? self : self }

    /// No engine may keep what another could not: PostgreSQL has no text with a NUL character.
    func checkValues() throws(SQLError) {
        for case .text(let text) in values where text.utf8.contains(0) {
            throw .statement("a text holds a NUL character")
        }
    }

    /// Text that was put together; of names that the schema itself gave.
    init(unsafe text: String, values: [SQLValue] = []) {
        self.text = text
        self.values = values
    }

    package init(stringLiteral value: String) {
        text = value
        values = []
    }

    package init(stringInterpolation: StringInterpolation) {
        text = stringInterpolation.text
        values = stringInterpolation.values
    }

    package struct StringInterpolation: StringInterpolationProtocol {
        var text = ""
        var values: [SQLValue] = []

        package init(literalCapacity: Int, interpolationCount: Int) {
            text.reserveCapacity(literalCapacity + interpolationCount)
            values.reserveCapacity(interpolationCount)
        }

        package mutating func appendLiteral(_ literal: String) { text += literal }

        package mutating func appendInterpolation(_ value: some SQLBindable) {
            text += "?"
            values.append(value.sqlValue)
        }

        package mutating func appendInterpolation(_ value: (some SQLBindable)?) {
            text += "?"
            values.append(value?.sqlValue ?? .null)
        }

        /// A part of a statement with its own values, for what two dialects share. Its other dialect is not looked at.
        package mutating func appendInterpolation(part: SQLStatement) {
            text += part.text
            values += part.values
        }

        /// Rows for `VALUES`, each in its brackets.
        package mutating func appendInterpolation(rows: [SQLStatement]) {
            for (place, row) in rows.enumerated() {
                if place > 0 { text += ", " }
                text += row.text
                values += row.values
            }
        }

        /// A comma-separated list for `IN (…)`; an empty list becomes `NULL`, which matches nothing.
        package mutating func appendInterpolation(list: [some SQLBindable]) {
            text += list.isEmpty ? "NULL" : Array(repeating: "?", count: list.count).joined(separator: ", ")
            values += list.map(\.sqlValue)
        }

        /// A list of numbers as one parameter of a statement for PostgreSQL, whatever its length.
        package mutating func appendInterpolation(array: [Int64?]) {
            text += "CAST(? AS BIGINT[])"
            values.append(.text(PostgresArray.text(array)))
        }

        /// A list of texts as one parameter of a statement for PostgreSQL.
        package mutating func appendInterpolation(array: [String?]) {
            text += "CAST(? AS TEXT[])"
            values.append(.text(PostgresArray.text(array)))
        }

        /// A list of ids as one parameter of a statement for PostgreSQL.
        package mutating func appendInterpolation(array: [UID?]) {
            text += "CAST(? AS BYTEA[])"
            values.append(.text(PostgresArray.text(array)))
        }

        /// A value as an engine gave it.
        mutating func appendInterpolation(value: SQLValue) {
            text += "?"
            values.append(value)
        }

        mutating func appendInterpolation(unsafe fragment: String) { text += fragment }
    }
}

extension String: SQLBindable {
    package var sqlValue: SQLValue { .text(self) }
    package init?(sqlValue: SQLValue) {
        guard case .text(let text) = sqlValue else { return nil }
        self = text
    }
}

extension Int64: SQLBindable {
    package var sqlValue: SQLValue { .integer(self) }
    package init?(sqlValue: SQLValue) {
        guard case .integer(let value) = sqlValue else { return nil }
        self = value
    }
}

extension Int: SQLBindable {
    package var sqlValue: SQLValue { .integer(Int64(self)) }
    package init?(sqlValue: SQLValue) {
        guard case .integer(let value) = sqlValue else { return nil }
        self = Int(value)
    }
}

extension Bool: SQLBindable {
    package var sqlValue: SQLValue { .integer(self ? 1 : 0) }
    package init?(sqlValue: SQLValue) {
        guard case .integer(let value) = sqlValue, value == 0 || value == 1 else { return nil }
        self = value == 1
    }
}

extension Double: SQLBindable {
    package var sqlValue: SQLValue { .real(self) }
    package init?(sqlValue: SQLValue) {
        switch sqlValue {
        case .real(let value): self = value
        case .integer(let value): self = Double(value)
        default: return nil
        }
    }
}

extension Array: SQLBindable where Element == UInt8 {
    package var sqlValue: SQLValue { .bytes(self) }
    package init?(sqlValue: SQLValue) {
        guard case .bytes(let bytes) = sqlValue else { return nil }
        self = bytes
    }
}

extension UID: SQLBindable {
    package var sqlValue: SQLValue { .bytes(bytes) }
    package init?(sqlValue: SQLValue) {
        guard case .bytes(let bytes) = sqlValue else { return nil }
        self.init(bytes: bytes)
    }
}

extension Timestamp: SQLBindable {
    package var sqlValue: SQLValue { .integer(microseconds) }
    package init?(sqlValue: SQLValue) {
        guard case .integer(let value) = sqlValue else { return nil }
        self.init(microseconds: value)
    }
}

extension Currency: SQLBindable {
    package var sqlValue: SQLValue { .text(code) }
    package init?(sqlValue: SQLValue) {
        guard case .text(let text) = sqlValue else { return nil }
        self.init(text)
    }
}

extension JSONValue: SQLBindable {
    package var sqlValue: SQLValue { .text(canonical) }
    package init?(sqlValue: SQLValue) {
        guard case .text(let text) = sqlValue,
            let value = try? JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
        else { return nil }
        self = value
    }
}
