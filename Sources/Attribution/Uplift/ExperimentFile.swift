package import AurumCore
internal import Foundation

/// The regions of an experiment as CSV with a header: `region,side,conversions` and, where known, `spend` as a decimal
/// of the experiment's currency and `size`. What each region may hold, `Experiment` says.
package enum ExperimentFile {
    private enum Column: String, CaseIterable {
        case region, side, conversions, spend, size

        var isNeeded: Bool { self != .spend && self != .size }
    }

    /// - Returns: the member `regions` of an experiment.
    /// - Throws: `InputError`; the first bad row ends the reading.
    package static func regions(_ bytes: [UInt8], currency: Currency) throws(InputError) -> JSONValue {
        var reader = DelimitedReader(bytes)
        reader.delimiter = try reader.detectDelimiter()
        guard try reader.next() else { throw .empty }
        let columns = try columns((0..<reader.fieldCount).map { reader.text($0) })
        var rows: [JSONValue] = []
        while try reader.next() {
            guard reader.defect == nil, reader.fieldCount == columns.count else {
                throw .badRow(
                    BadRow(line: reader.line, column: "", reason: "the row is cut, or has a quote that is left open"))
            }
            guard rows.count < Experiment.regionsMax else {
                throw .unreadable("There are more than \(Experiment.regionsMax) rows.")
            }
            var members: [String: JSONValue] = [:]
            for (index, column) in columns.enumerated() {
                let text = reader.text(index).trimmingCharacters(in: .whitespaces)
                guard !text.isEmpty || column.isNeeded else { continue }
                guard let (name, value) = member(column, text, currency) else {
                    throw .badRow(
                        BadRow(line: reader.line, column: column.rawValue, reason: "“\(text)” is no such number"))
                }
                members[name] = value
            }
            rows.append(.object(members))
        }
        return .array(rows)
    }

    private static func columns(_ header: [String]) throws(InputError) -> [Column] {
        var found: [Column] = []
        for name in header {
            guard let column = Column(rawValue: name.trimmingCharacters(in: .whitespaces).lowercased()) else {
                let known = Column.allCases.map(\.rawValue).joined(separator: ", ")
                throw .wrongColumnNames("The column \(name) is not known; there are \(known).")
            }
            guard !found.contains(column) else { throw .repeatedColumn(column.rawValue) }
            found.append(column)
        }
        for column in Column.allCases where column.isNeeded && !found.contains(column) {
            throw .wrongColumnNames(
                "There is no column \(column.rawValue); the header has: \(header.joined(separator: ", ")).")
        }
        return found
    }

    private static func member(_ column: Column, _ text: String, _ currency: Currency) -> (String, JSONValue)? {
        switch column {
        case .region, .side: (column.rawValue, .string(text))
        case .conversions, .size: Int64(text).map { (column.rawValue, .integer($0)) }
        case .spend: Money(decimal: text, currency: currency).map { ("spend_minor", .integer($0.minorUnits)) }
        }
    }
}
