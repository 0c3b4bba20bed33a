/// Reads rows of paths that need no care – no quotes, plain numbers, as many columns as the header – in one pass over
/// their bytes. The first row that needs any is left to `DelimitedReader`, which says what is wrong with it.
struct PlainPaths {
    private let columns: PathFile.Columns
    private let separator: UInt8
    private let delimiter: UInt8
    private let recent = ShortNames()
    /// A path with more touches needs care.
    private static let touchesMax = 1024

    /// nil when the separators, or columns named twice, leave no row without care.
    init?(_ columns: PathFile.Columns, separator: UInt8, delimiter: UInt8) {
        let special = [
            separator, delimiter, DelimitedReader.quote, DelimitedReader.lineFeed, DelimitedReader.carriageReturn,
        ]
        let used = [columns.path, columns.conversions, columns.value, columns.nulls].compactMap(\.self)
        guard Set(special).count == special.count, Set(used).count == used.count else { return nil }
        self.columns = columns
        self.separator = separator
        self.delimiter = delimiter
    }

    /// Appends rows up to the first that needs care, and answers how many bytes and rows they were.
    /// - Parameter lines: whole lines, the end of the last one included, with `ByteMarks.padding` readable bytes
    ///   behind.
    func read(
        _ lines: UnsafeBufferPointer<UInt8>, _ table: inout PathTable, _ names: inout NameTable
    ) -> (bytes: Int, rows: Int) {
        guard let base = lines.baseAddress else { return (0, 0) }
        return withUnsafeTemporaryAllocation(of: Touch.self, capacity: Self.touchesMax) { touches in
            var marks = ByteMarks(base, from: 0, separator, delimiter)
            var (bytes, rows) = (0, 0)
            while bytes < lines.count, let row = row(base, bytes, &marks, touches) {
                for place in 0..<row.touches {
                    let touch = touches[place]
                    table.tokens.append(recent.number(base + touch.start, touch.count, &names))
                }
                table.close(conversions: row.conversions, value: row.value, nulls: row.nulls)
                bytes = row.end
                rows += 1
            }
            return (bytes, rows)
        }
    }

    private struct Touch {
        var start: Int
        var count: Int
    }

    private struct Row {
        var touches = 0
        var conversions = 0.0
        var value = 0.0
        var nulls = 0.0
        /// Where the next one begins.
        var end = 0
    }

    /// The row at `begin` and the places of its touches; nil for a row that needs care.
    @inline(__always)
    private func row(
        _ base: UnsafePointer<UInt8>, _ begin: Int, _ marks: inout ByteMarks,
        _ touches: UnsafeMutableBufferPointer<Touch>
    ) -> Row? {
        var (start, column, row) = (begin, 0, Row())
        while true {
            var at = marks.next()
            if column == columns.path {
                while true {
                    guard row.touches < Self.touchesMax else { return nil }
                    let touch = Self.trimmed(base, start, at)
                    touches[row.touches] = touch
                    if touch.count > 0 { row.touches &+= 1 }
                    guard base[at] == separator else { break }
                    start = at &+ 1
                    at = marks.next()
                }
            } else {
                while base[at] == separator { at = marks.next() }
                if column == columns.conversions {
                    guard let found = Self.number(base, start, at), found >= 0 else { return nil }
                    row.conversions = found
                } else if column == columns.value {
                    guard let found = Self.number(base, start, at) else { return nil }
                    row.value = found
                } else if column == columns.nulls {
                    guard let found = Self.number(base, start, at), found >= 0 else { return nil }
                    row.nulls = found
                }
            }
            if base[at] == delimiter {
                column &+= 1
                start = at &+ 1
                continue
            }
            if base[at] == DelimitedReader.carriageReturn, base[at &+ 1] == DelimitedReader.lineFeed {
                at = marks.next()
            }
            guard base[at] == DelimitedReader.lineFeed, column == columns.count &- 1, row.touches > 0,
                row.conversions > 0 || row.value == 0
            else { return nil }
            row.end = at &+ 1
            return row
        }
    }

    /// The channel between two places, blanks taken off.
    @inline(__always)
    private static func trimmed(_ base: UnsafePointer<UInt8>, _ from: Int, _ to: Int) -> Touch {
        var (start, end) = (from, to)
        while start < end, NumberText.isBlank(base[start]) { start &+= 1 }
        while end > start, NumberText.isBlank(base[end &- 1]) { end &-= 1 }
        return Touch(start: start, count: end &- start)
    }

    /// The number between two places.
    @inline(__always)
    private static func number(_ base: UnsafePointer<UInt8>, _ start: Int, _ end: Int) -> Double? {
        var whole: Int64 = 0
        guard end > start, end &- start <= 15 else { return careful(base, start, end) }
        for at in start..<end {
            let digit = base[at] &- 48
            guard digit <= 9 else { return careful(base, start, end) }
            whole = whole &* 10 &+ Int64(digit)
        }
        return Double(whole)
    }

    @inline(never)
    private static func careful(_ base: UnsafePointer<UInt8>, _ start: Int, _ end: Int) -> Double? {
        NumberText.double(UnsafeBufferPointer(start: base + start, count: end - start))
    }
}

/// The numbers of names seen lately, found by their bytes as two words, which names of up to sixteen bytes are.
private final class ShortNames {
    private struct Entry {
        var first: UInt64 = 0
        var last: UInt64 = 0
        var count = 0
        var number: UInt16 = 0
    }

    private static let bits = 10
    private let entries = UnsafeMutableBufferPointer<Entry>.allocate(capacity: 1 << ShortNames.bits)

    init() { entries.initialize(repeating: Entry()) }

    deinit { entries.deallocate() }

    /// The number of the name at `bytes`, which must be readable up to the sixteenth byte.
    @inline(__always)
    func number(_ bytes: UnsafePointer<UInt8>, _ count: Int, _ names: inout NameTable) -> UInt16 {
        guard count <= 16 else { return Self.known(bytes, count, &names) }
        let raw = UnsafeRawPointer(bytes)
        // Shifts by 64 and more leave nothing: no branch on the length, which nobody can foresee.
        let first = UInt64(littleEndian: raw.loadUnaligned(as: UInt64.self)) & (UInt64.max >> (64 - min(count, 8) * 8))
        let last =
            UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
            & (UInt64.max >> (64 - max(count - 8, 0) * 8))
        let mixed = (first ^ (last &* 0x94D0_49BB_1331_11EB)) &* 0x9E37_79B9_7F4A_7C15
        let slot = Int(truncatingIfNeeded: mixed &>> UInt64(64 &- Self.bits))
        let entry = entries[slot]
        if entry.first == first, entry.last == last, entry.count == count { return entry.number }
        let number = Self.known(bytes, count, &names)
        entries[slot] = Entry(first: first, last: last, count: count, number: number)
        return number
    }

    @inline(never)
    private static func known(_ bytes: UnsafePointer<UInt8>, _ count: Int, _ names: inout NameTable) -> UInt16 {
        UInt16(truncatingIfNeeded: names.number(UnsafeBufferPointer(start: bytes, count: count)))
    }
}
