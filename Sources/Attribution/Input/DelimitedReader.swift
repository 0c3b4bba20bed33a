/// Why an input cannot be read to its end. Single bad rows are no such error: they are listed and left out.
package enum InputError: Error, Sendable, Equatable {
    case unreadable(String)
    case empty
    case missingColumn(name: String, header: [String])
    case repeatedColumn(String)
    case wrongColumnNames(String)
    case recordTooLong(line: Int, bytesMax: Int)
    case tooManyChannels(Int)
    case tooManyTouches(Int)
    /// Names that read the same and differ in their bytes.
    case equalNames(String)
    case noGoodRows(bad: Int)
    /// The first bad row of a strict reading.
    case badRow(BadRow)

    /// One sentence for the operator.
    package var sentence: String {
        switch self {
        case .unreadable(let what): what
        case .empty: "The input is empty: not even a header line."
        case .missingColumn(let name, let header):
            "There is no column \(name); the header has: \(header.joined(separator: ", ")). Name them with --columns."
        case .repeatedColumn(let name): "The header has the column \(name) twice."
        case .wrongColumnNames(let why): why
        case .recordTooLong(let line, let bytesMax):
            "The record that begins in line \(line) is longer than \(bytesMax) bytes; is a quote left open?"
        case .tooManyChannels(let most): "There are more than \(most) channels; is this the right path column?"
        case .tooManyTouches(let most): "There are more than \(most) touchpoints."
        case .equalNames(let name):
            "Two channels read “\(name)” and differ in their bytes; write them alike (one Unicode normal form, UTF-8)."
        case .noGoodRows(let bad): "No row can be used: all \(bad) are bad."
        case .badRow(let row): row.sentence
        }
    }
}

/// A row that was left out.
package struct BadRow: Sendable, Equatable {
    /// Line of the file in which the record begins, from 1.
    package var line: Int
    package var column: String
    package var reason: String

    package init(line: Int, column: String, reason: String) {
        self.line = line
        self.column = column
        self.reason = reason
    }

    package var sentence: String { "line \(line), column \(column): \(reason)" }
}

/// Reads delimited text record by record as its bytes come in, without a string for any of them.
///
/// RFC 4180 with any one-byte delimiter: quoted fields may hold delimiters, line ends and doubled quotes; lines end in
/// LF or CRLF; a UTF-8 byte order mark is skipped; empty lines are skipped.
package struct DelimitedReader: ~Copyable {
    /// Fills the buffer it is given and answers how many bytes it wrote; 0 at the end.
    package typealias Source = (UnsafeMutableRawBufferPointer) throws(InputError) -> Int

    /// What is wrong with the shape of a record.
    package enum Defect: Sendable, Equatable { case openQuote, textAfterQuote }

    private struct Field {
        var start: Int
        var end: Int
        var isEscaped: Bool
    }

    private enum Scan { case record, more, end }

    /// The longest record; an open quote ends here at the latest.
    package static let recordBytesMax = 16 << 20
    private static let firstCapacity = 1 << 18
    static let quote: UInt8 = 0x22
    static let lineFeed: UInt8 = 0x0A
    static let carriageReturn: UInt8 = 0x0D

    private let source: Source
    private var buffer: UnsafeMutableBufferPointer<UInt8>
    private var filled = 0
    private var position = 0
    private var isAtEnd = false
    private var isFirst = true
    private var nextLine = 1
    private var fields: [Field] = []

    package var delimiter: UInt8
    /// Line in which the current record begins, from 1.
    package private(set) var line = 0
    package private(set) var defect: Defect?
    /// The field with the defect, from 0.
    package private(set) var defectField = 0
    /// Bytes that were taken from the source.
    package private(set) var bytesRead = 0

    package init(delimiter: UInt8 = UInt8(ascii: ","), source: @escaping Source) {
        self.delimiter = delimiter
        self.source = source
        buffer = Self.memory(Self.firstCapacity)
    }

    /// A reader of bytes in memory, `step` at a time.
    package init(
        _ bytes: [UInt8], delimiter: UInt8 = UInt8(ascii: ","), step: Int = .max
    ) {
        var sent = 0
        self.init(delimiter: delimiter) { (target: UnsafeMutableRawBufferPointer) throws(InputError) in
            let count = min(target.count, bytes.count - sent, step)
            bytes.withUnsafeBytes { target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[sent..<sent + count])) }
            sent += count
            return count
        }
    }

    deinit { buffer.deallocate() }

    /// So many bytes, with readable ones behind them.
    private static func memory(_ count: Int) -> UnsafeMutableBufferPointer<UInt8> {
        let all = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: count + ByteMarks.padding)
        all.initialize(repeating: 0)
        return UnsafeMutableBufferPointer(rebasing: all[..<count])
    }

    package var fieldCount: Int { fields.count }

    /// Moves to the next record; false at the end.
    package mutating func next() throws(InputError) -> Bool {
        while true {
            switch scan() {
            case .record: if fields.count > 1 || fields[0].start != fields[0].end || defect != nil { return true }
            case .end: return false
            case .more: try refill()
            }
        }
    }

    /// The lines from here on whose ends are in memory, at least one; nil when the input ends without another line end.
    /// They are valid until the next call of a mutating method, with `ByteMarks.padding` readable bytes behind them.
    mutating func wholeLines() throws(InputError) -> UnsafeBufferPointer<UInt8>? {
        while true {
            if let last = buffer[position..<filled].lastIndex(of: Self.lineFeed) {
                return UnsafeBufferPointer(rebasing: buffer[position...last])
            }
            guard !isAtEnd else { return nil }
            try refill()
        }
    }

    /// Leaves out what was read of `wholeLines`.
    mutating func skip(bytes: Int, lines: Int) {
        position += bytes
        nextLine += lines
    }

    /// The bytes of a field, quotes taken off. They are valid inside `body` only.
    package func withField<Value>(_ index: Int, _ body: (UnsafeBufferPointer<UInt8>) throws -> Value) rethrows -> Value
    {
        let field = fields[index]
        let bytes = UnsafeBufferPointer(rebasing: buffer[field.start..<field.end])
        guard field.isEscaped else { return try body(bytes) }
        var scratch: [UInt8] = []
        var isSecond = false
        for byte in bytes {
            isSecond = byte == Self.quote && !isSecond
            if !isSecond { scratch.append(byte) }
        }
        return try scratch.withUnsafeBufferPointer(body)
    }

    /// A field as text.
    package func text(_ index: Int) -> String { withField(index) { String(decoding: $0, as: UTF8.self) } }

    /// The most frequent of comma, semicolon, tab and bar in the first line, outside quotes; comma when there is none.
    package mutating func detectDelimiter() throws(InputError) -> UInt8 {
        while !isAtEnd, filled < buffer.count, !buffer[..<filled].contains(Self.lineFeed) { try refill() }
        var counts: [UInt8: Int] = [:]
        var inQuotes = false
        for byte in buffer[..<filled] {
            if byte == Self.quote { inQuotes.toggle() }
            if inQuotes { continue }
            if byte == Self.lineFeed { break }
            if [UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: "\t"), UInt8(ascii: "|")].contains(byte) {
                counts[byte, default: 0] += 1
            }
        }
        return counts.max { ($0.value, $1.key) < ($1.value, $0.key) }?.key ?? UInt8(ascii: ",")
    }

    private mutating func refill() throws(InputError) {
        if position > 0 {
            let rest = filled - position
            if rest > 0, let base = buffer.baseAddress { base.update(from: base + position, count: rest) }
            (filled, position) = (rest, 0)
        }
        if filled == buffer.count {
            guard buffer.count < Self.recordBytesMax else {
                throw .recordTooLong(line: nextLine, bytesMax: Self.recordBytesMax)
            }
            let larger = Self.memory(buffer.count * 2)
            if let from = buffer.baseAddress { larger.baseAddress?.initialize(from: from, count: filled) }
            buffer.deallocate()
            buffer = larger
        }
        let count = try source(
            UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(buffer)[filled...]))
        filled += count
        bytesRead += count
        isAtEnd = count == 0
    }

    /// Splits the record at `position`; `.more` when the buffer ends inside it.
    private mutating func scan() -> Scan {
        guard let base = buffer.baseAddress else { return .more }
        if isFirst {
            if self.filled < 3, !self.isAtEnd { return .more }
            if self.filled >= 3, base[0] == 0xEF, base[1] == 0xBB, base[2] == 0xBF { position = 3 }
            isFirst = false
        }
        fields.removeAll(keepingCapacity: true)
        defect = nil
        let (filled, delimiter, isAtEnd) = (self.filled, self.delimiter, self.isAtEnd)
        var at = position
        var inside = 0
        if at >= filled { return isAtEnd ? .end : .more }
        while true {
            var isQuoted = false
            let start = at
            if at < filled, base[at] == Self.quote {
                isQuoted = true
                guard quoted(base, &at, lines: &inside) else { return .more }
            } else {
                at = ByteSearch.first(delimiter, or: Self.lineFeed, in: base, from: at, to: filled)
            }
            if at >= filled, !isAtEnd { return .more }
            let isLast = at >= filled || base[at] == Self.lineFeed
            if !isQuoted {
                let hasReturn = isLast && at > start && base[at - 1] == Self.carriageReturn
                fields.append(Field(start: start, end: hasReturn ? at - 1 : at, isEscaped: false))
            }
            at += 1
            if isLast { break }
        }
        position = min(at, filled)
        line = nextLine
        nextLine += inside + 1
        return .record
    }

    /// Reads a quoted field at `at` up to what follows it; false when the buffer ends inside.
    private mutating func quoted(_ base: UnsafeMutablePointer<UInt8>, _ at: inout Int, lines: inout Int) -> Bool {
        let (filled, delimiter, isAtEnd) = (self.filled, self.delimiter, self.isAtEnd)
        let start = at + 1
        var isEscaped = false
        at = start
        var end = start
        while true {
            while at < filled, base[at] != Self.quote {
                if base[at] == Self.lineFeed { lines += 1 }
                at += 1
            }
            if at >= filled {
                guard isAtEnd else { return false }
                (defect, defectField) = (.openQuote, fields.count)
                end = filled
                break
            }
            if at + 1 >= filled, !isAtEnd { return false }
            if at + 1 < filled, base[at + 1] == Self.quote {
                isEscaped = true
                at += 2
                continue
            }
            end = at
            at += 1
            break
        }
        fields.append(Field(start: start, end: end, isEscaped: isEscaped))
        while at < filled, base[at] != delimiter, base[at] != Self.lineFeed {
            let isLineEnd =
                base[at] == Self.carriageReturn && (at + 1 == filled || base[at + 1] == Self.lineFeed)
            if !isLineEnd { (defect, defectField) = (.textAfterQuote, fields.count - 1) }
            at += 1
        }
        return true
    }
}
