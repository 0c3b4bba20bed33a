package import AurumCore
internal import Foundation

/// Reads spend as CSV or JSON. Both end in the same cells, so that one place judges them.
package enum SpendReader {
    /// Reads CSV with a header; the delimiter is found in it.
    /// - Parameter latest: the last day that a row may be about.
    /// - Throws: `SpendError` for a file that cannot be read; single bad rows are listed in the file.
    package static func csv(_ bytes: [UInt8], latest: CivilDate) throws(SpendError) -> SpendFile {
        var reader = DelimitedReader(bytes)
        do {
            reader.delimiter = try reader.detectDelimiter()
            guard try reader.next() else { throw InputError.empty }
            var builder = SpendBuilder(latest: latest)
            var header: [String] = []
            for index in 0..<reader.fieldCount { header.append(name(reader.text(index))) }
            let places = try places(header)
            builder.file.ignoredColumns = header.filter { SpendColumn(rawValue: $0) == nil }
            while try reader.next() {
                guard builder.count < SpendFile.rowsMax else { throw SpendError.tooManyRows(SpendFile.rowsMax) }
                if let problem = defect(reader, header) {
                    builder.refuse(problem)
                    continue
                }
                builder.cells.clear()
                for place in places {
                    guard let place else {
                        builder.cells.append(nil)
                        continue
                    }
                    reader.withField(place) { builder.cells.append($0) }
                }
                builder.add(line: reader.line)
            }
            return builder.finish()
        } catch let error as SpendError { throw error } catch let error as InputError { throw .input(error) } catch {
            throw .input(.unreadable("The file cannot be read."))
        }
    }

    /// Reads `[{"date": …}, …]` or `{"rows": […]}`, a row at a time. Numbers may be texts; columns may be missing or
    /// null.
    package static func json(_ bytes: [UInt8], latest: CivilDate) throws(SpendError) -> SpendFile {
        var builder = SpendBuilder(latest: latest)
        var ignored: Set<String> = []
        var rows = JSONRows(bytes)
        guard try rows.open() else { throw .notRows }
        let decoder = JSONDecoder()
        while let range = try rows.next() {
            guard builder.count < SpendFile.rowsMax else { throw .tooManyRows(SpendFile.rowsMax) }
            guard let row = try? decoder.decode(JSONValue.self, from: Data(bytes[range])) else { throw .malformedJSON }
            let number = builder.count + 1
            guard let members = row.object else {
                builder.refuse(BadRow(line: number, column: "", reason: "is no object"))
                continue
            }
            for name in members.keys where SpendColumn(rawValue: name) == nil { ignored.insert(name) }
            if let wrong = fill(&builder.cells, members) {
                builder.refuse(BadRow(line: number, column: wrong.rawValue, reason: "is no text and no number"))
            } else {
                builder.add(line: number)
            }
        }
        builder.file.ignoredColumns = ignored.sorted()
        return builder.finish()
    }

    /// Answers the column that is neither text nor number.
    private static func fill(_ cells: inout SpendCells, _ members: [String: JSONValue]) -> SpendColumn? {
        cells.clear()
        var wrong: SpendColumn?
        for column in SpendColumn.inCellOrder {
            switch members[column.rawValue] {
            case nil, .null?: cells.append(nil)
            case .string(let text)?: cells.append(text)
            case .integer(let number)?: cells.append(String(number))
            case .number(let number)?: cells.append("\(number)")
            case .bool?, .array?, .object?:
                wrong = wrong ?? column
                cells.append(nil)
            }
        }
        return wrong
    }

    private static func name(_ text: String) -> String {
        text.trimmingCharacters(in: .whitespaces).lowercased()
    }

    /// Where each cell stands in a record; nil for columns that the file lacks.
    private static func places(_ header: [String]) throws(InputError) -> [Int?] {
        for (index, name) in header.enumerated() where header[..<index].contains(name) && !name.isEmpty {
            throw .repeatedColumn(name)
        }
        for column in SpendColumn.required where !header.contains(column.rawValue) {
            throw .missingColumn(name: column.rawValue, header: header)
        }
        if !header.contains(SpendColumn.campaign.rawValue), !header.contains(SpendColumn.campaignID.rawValue) {
            throw .missingColumn(name: SpendColumn.campaign.rawValue, header: header)
        }
        return SpendColumn.inCellOrder.map { header.firstIndex(of: $0.rawValue) }
    }

    private static func defect(_ reader: borrowing DelimitedReader, _ header: [String]) -> BadRow? {
        if let defect = reader.defect {
            let column = reader.defectField < header.count ? header[reader.defectField] : ""
            let reason = defect == .openQuote ? "a quote is left open" : "text after a closing quote"
            return BadRow(line: reader.line, column: column, reason: reason)
        }
        guard reader.fieldCount == header.count else {
            return BadRow(
                line: reader.line, column: "",
                reason: "has \(reader.fieldCount) fields where the header has \(header.count)")
        }
        return nil
    }
}

extension SpendColumn {
    /// Dimensions first: their bytes together are what a line is known by while a file is read.
    static let inCellOrder: [SpendColumn] = [
        .network, .accountID, .campaignID, .campaign, .adGroupID, .creativeID, .country, .currency, .date, .spend,
        .impressions, .clicks, .conversions, .value,
    ]
}

/// The cells of one row in one buffer, blanks around them taken off, each ended by a byte that no good cell holds.
struct SpendCells {
    private(set) var bytes: [UInt8] = []
    private var ends: [Int] = []
    private static let separator: UInt8 = 0x1F
    private static let lineCells = 8

    mutating func clear() {
        bytes.removeAll(keepingCapacity: true)
        ends.removeAll(keepingCapacity: true)
    }

    mutating func append(_ cell: UnsafeBufferPointer<UInt8>?) {
        if let cell {
            var (first, last) = (0, cell.count)
            while first < last, cell[first] == 0x20 || cell[first] == 0x09 { first += 1 }
            while last > first, cell[last - 1] == 0x20 || cell[last - 1] == 0x09 { last -= 1 }
            bytes.append(contentsOf: cell[first..<last])
        }
        bytes.append(Self.separator)
        ends.append(bytes.count)
    }

    mutating func append(_ text: String) {
        var text = text
        text.withUTF8 { append($0) }
    }

    /// The bytes of all dimensions; equal for rows of one line that are written alike.
    var lineKey: String { String(decoding: bytes[..<ends[Self.lineCells - 1]], as: UTF8.self) }

    func slice(_ cell: Int) -> ArraySlice<UInt8> { bytes[(cell == 0 ? 0 : ends[cell - 1])..<(ends[cell] - 1)] }

    func text(_ cell: Int) -> String { String(decoding: slice(cell), as: UTF8.self) }
}
