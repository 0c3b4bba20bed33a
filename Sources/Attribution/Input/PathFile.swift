/// Reads files of paths and of touches into a `PathTable`.
package enum PathFile {
    /// Called with the bytes read so far, about once for every `progressEvery` rows.
    package typealias Progress = (_ bytes: Int) -> Void
    static let progressEvery = 1 << 17

    private static let pathNames = ["path", "channel_path", "journey"]
    private static let conversionNames = ["total_conversions", "conversions", "conv", "conversion"]
    private static let valueNames = ["total_conversion_value", "conversion_value", "value", "revenue"]
    private static let nullNames = ["total_null", "total_nulls", "nulls", "null"]

    /// Reads a header and every row after it.
    /// - Throws: `InputError`, for a strict reading also for the first bad row.
    package static func read(
        _ reader: consuming DelimitedReader, _ reading: PathReading, progress: Progress = { _ in }
    ) throws(InputError) -> PathInput {
        reader.delimiter = if let known = reading.delimiter { known } else { try reader.detectDelimiter() }
        guard try reader.next() else { throw .empty }
        let header = try Header(reader)
        var input: PathInput
        if let names = reading.columns {
            guard (1...6).contains(names.count) else {
                throw .wrongColumnNames(
                    "--columns takes up to four names for paths (path, conversions, value, nulls) or five and more for "
                        + "touches (person, time, channel, conversion, value, milestone).")
            }
            input =
                try names.count >= 5
                ? TouchFile.read(&reader, reading, try TouchFile.Columns(header, names), progress)
                : paths(&reader, reading, try Columns(header, names), progress)
        } else if TouchFile.fits(header) {
            input = try TouchFile.read(&reader, reading, try TouchFile.Columns(header), progress)
        } else {
            input = try paths(&reader, reading, try Columns(header), progress)
        }
        if input.rows == input.badCount, input.rows > 0 { throw .noGoodRows(bad: input.badCount) }
        return input
    }

    /// The names of the first record.
    struct Header {
        let names: [String]

        init(_ reader: borrowing DelimitedReader) throws(InputError) {
            var names: [String] = []
            for index in 0..<reader.fieldCount {
                names.append(reader.withField(index) { String(decoding: NumberText.trimmed($0), as: UTF8.self) })
            }
            self.names = names
            // Spreadsheets leave delimiters after the last column: a column without a name is nobody's.
            var seen: Set<String> = []
            for name in names where !name.isEmpty && !seen.insert(name.lowercased()).inserted {
                throw .repeatedColumn(name)
            }
        }

        func place(of name: String) throws(InputError) -> Int {
            guard let place = names.firstIndex(of: name) else { throw .missingColumn(name: name, header: names) }
            return place
        }

        func place(ofAny known: [String]) -> Int? {
            for name in known {
                if let place = names.firstIndex(where: { $0.lowercased() == name }) { return place }
            }
            return nil
        }

        /// The place of the name that stands at `index` of what the operator gave; nil for an empty one.
        func place(_ given: [String], _ index: Int) throws(InputError) -> Int? {
            guard index < given.count, !given[index].isEmpty else { return nil }
            return try place(of: given[index])
        }
    }

    /// Where a file of paths has what.
    struct Columns {
        let count: Int
        let names: [String]
        let path: Int
        let conversions: Int
        let value: Int?
        let nulls: Int?

        init(_ header: Header) throws(InputError) {
            names = header.names
            count = names.count
            guard let path = header.place(ofAny: pathNames) else {
                throw .missingColumn(name: "path", header: header.names)
            }
            guard let conversions = header.place(ofAny: conversionNames) else {
                throw .missingColumn(name: "total_conversions", header: header.names)
            }
            (self.path, self.conversions) = (path, conversions)
            value = header.place(ofAny: valueNames)
            nulls = header.place(ofAny: nullNames)
        }

        init(_ header: Header, _ given: [String]) throws(InputError) {
            names = header.names
            count = names.count
            guard let path = try header.place(given, 0), let conversions = try header.place(given, 1) else {
                throw .wrongColumnNames("--columns must name the path and the conversions, in this order.")
            }
            (self.path, self.conversions) = (path, conversions)
            value = try header.place(given, 2)
            nulls = try header.place(given, 3)
        }
    }

    private static func paths(
        _ reader: inout DelimitedReader, _ reading: PathReading, _ columns: Columns, _ progress: Progress
    ) throws(InputError) -> PathInput {
        var input = PathInput()
        var names = NameTable()
        input.table.hasValues = columns.value != nil
        input.table.hasNulls = columns.nulls != nil
        let plain = PlainPaths(columns, separator: reading.separator, delimiter: reader.delimiter)
        while true {
            if let lines = plain == nil ? nil : try reader.wholeLines(),
                let taken = plain?.read(lines, &input.table, &names), taken.rows > 0
            {
                reader.skip(bytes: taken.bytes, lines: taken.rows)
                input.rows += taken.rows
                if input.rows / progressEvery > (input.rows - taken.rows) / progressEvery { progress(reader.bytesRead) }
                try checkSize(input.table, names)
            }
            guard try reader.next() else { break }
            input.rows += 1
            if input.rows % progressEvery == 0 { progress(reader.bytesRead) }
            if let (column, reason) = row(reader, columns, reading.separator, &input.table, &names) {
                let name = column < columns.count ? columns.names[column] : "\(column + 1)"
                try input.refuse(BadRow(line: reader.line, column: name, reason: reason), strict: reading.strict)
            }
            try checkSize(input.table, names)
        }
        input.table.adopt(names)
        try input.table.checkNames()
        return input
    }

    private static func checkSize(_ table: borrowing PathTable, _ names: borrowing NameTable) throws(InputError) {
        if names.count > PathTable.channelsMax { throw .tooManyChannels(PathTable.channelsMax) }
        if table.tokens.count > PathTable.touchesMax { throw .tooManyTouches(PathTable.touchesMax) }
    }

    /// Appends one row, or answers the column and the reason for which it is left out.
    private static func row(
        _ reader: borrowing DelimitedReader, _ columns: Columns, _ separator: UInt8, _ table: inout PathTable,
        _ names: inout NameTable
    ) -> (Int, String)? {
        if let (column, reason) = shape(reader, columns.count) { return (column, reason) }
        guard let conversions = reader.withField(columns.conversions, NumberText.double), conversions >= 0 else {
            return (columns.conversions, notACount(reader, columns.conversions))
        }
        var (value, nulls) = (0.0, 0.0)
        if let column = columns.nulls {
            guard let found = reader.withField(column, NumberText.double), found >= 0 else {
                return (column, notACount(reader, column))
            }
            nulls = found
        }
        if let column = columns.value {
            guard let found = reader.withField(column, NumberText.double) else {
                return (column, notANumber(reader, column))
            }
            if found != 0, conversions == 0 { return (column, "a value without a conversion") }
            value = found
        }
        let before = table.tokens.count
        reader.withField(columns.path) { split($0, separator, &table.tokens, &names) }
        if table.tokens.count == before { return (columns.path, "the path names no channel") }
        table.ends.append(table.tokens.count)
        table.conversions.append(conversions)
        table.values.append(value)
        table.nulls.append(nulls)
        return nil
    }

    /// What is wrong with the shape of the current record.
    static func shape(_ reader: borrowing DelimitedReader, _ count: Int) -> (column: Int, reason: String)? {
        switch reader.defect {
        case .openQuote:
            return (reader.defectField, "a quote is opened and never closed; everything after it is lost")
        case .textAfterQuote: return (reader.defectField, "text stands after a closing quote")
        case nil: break
        }
        guard reader.fieldCount != count else { return nil }
        return (min(reader.fieldCount, count), "the row has \(reader.fieldCount) columns, the header \(count)")
    }

    static func notACount(_ reader: borrowing DelimitedReader, _ column: Int) -> String {
        "\(shown(reader, column)) is no number of 0 or more, below 1e16"
    }

    static func notANumber(_ reader: borrowing DelimitedReader, _ column: Int) -> String {
        "\(shown(reader, column)) is no number below 1e16"
    }

    /// A field in a message: short, and visible when it is empty.
    static func shown(_ reader: borrowing DelimitedReader, _ column: Int) -> String {
        let text = reader.text(column)
        return text.isEmpty ? "an empty field" : "“\(text.prefix(40))”"
    }

    /// Splits a path at the separator, trims blanks and drops what is empty.
    private static func split(
        _ path: UnsafeBufferPointer<UInt8>, _ separator: UInt8, _ tokens: inout [UInt16], _ names: inout NameTable
    ) {
        guard let base = path.baseAddress else { return }
        var at = 0
        while at < path.count {
            var start = at
            at = ByteSearch.first(separator, or: separator, in: base, from: at, to: path.count)
            var end = at
            while start < end, NumberText.isBlank(base[start]) { start += 1 }
            while end > start, NumberText.isBlank(base[end - 1]) { end -= 1 }
            if end > start {
                let number = names.number(UnsafeBufferPointer(start: base + start, count: end - start))
                tokens.append(UInt16(truncatingIfNeeded: number))
            }
            at += 1
        }
    }
}
