/// The columns of one shard and the numbered texts of each, for as long as one segment is written.
///
/// Memory is bounded by `EventLimits.dictionaryBytesMax`: a full dictionary ends the segment. Not thread-safe: one a
/// shard; a value with shared storage, freed by its owner.
struct ColumnTables {
    struct Column {
        var kind: HoleKind
        var isContext: Bool
        var table = TextTable()
        /// Texts that blocks before this one brought.
        var written = 0
        /// Whether the segment knows the column.
        var isDeclared = false
        /// Values stand as they are: most of them were new in the last block.
        var isPlain = false
        /// Blocks for which the column stays plain.
        var plainBlocks = 0
        var lookups = 0
        /// What each known context means to the parser.
        var facts = RawBytes()
        var factPlaces = RawBytes()
    }

    static let columnsMax = 1024
    private static let plainFor = 64
    let columns: UnsafeMutablePointer<Column>
    private let counts: UnsafeMutablePointer<Int>
    private let names: Names

    private final class Names {
        var numbers: [String: UInt16] = [:]
        var paths: [String] = []
    }

    init() {
        columns = .allocate(capacity: Self.columnsMax)
        counts = .allocate(capacity: 1)
        counts.initialize(to: 0)
        names = Names()
        // Column 0 takes whole events.
        _ = column(.whole, path: "", field: ShapeTree.noField, isContext: false)
    }

    func deallocate() {
        for index in 0..<count {
            columns[index].table.deallocate()
            columns[index].facts.deallocate()
            columns[index].factPlaces.deallocate()
        }
        columns.deallocate()
        counts.deallocate()
    }

    var count: Int { counts.pointee }

    func path(_ column: Int) -> String { names.paths[column] }

    /// The column for values of one kind and meaning under one path, made when it is new; nil when there are too many.
    func column(_ kind: HoleKind, path: String, field: UInt8, isContext: Bool) -> UInt16? {
        let name = "\(kind.rawValue) \(field) \(path)"
        if let number = names.numbers[name] { return number }
        guard count < Self.columnsMax else { return nil }
        let number = UInt16(count)
        var column = Column(kind: kind, isContext: isContext)
        column.isPlain = kind == .whole
        (columns + count).initialize(to: column)
        names.numbers[name] = number
        names.paths.append(path)
        counts.pointee += 1
        return number
    }

    /// Bytes that the texts take.
    var byteCount: Int { (0..<count).reduce(0) { $0 + columns[$1].table.byteCount } }

    /// Starts the dictionaries of another segment.
    func reset() {
        for index in 0..<count {
            let column = columns + index
            column.pointee.table.deallocate()
            column.pointee.table = TextTable()
            column.pointee.written = 0
            column.pointee.isDeclared = false
            column.pointee.isPlain = column.pointee.kind == .whole
            column.pointee.plainBlocks = 0
            column.pointee.lookups = 0
            column.pointee.facts.truncate(to: 0)
            column.pointee.factPlaces.truncate(to: 0)
        }
    }

    // MARK: values

    /// The hash of a text under its column's table, whose slot is asked for on the way.
    @inline(__always)
    func prepare(_ index: UInt16, _ text: UnsafePointer<UInt8>, _ length: Int) -> UInt64 {
        let column = columns + Int(index)
        if column.pointee.isPlain { return 0 }
        let hash = column.pointee.table.hash(text, length)
        column.pointee.table.prefetch(hash: hash)
        return hash
    }

    /// The number of a text, which becomes known.
    @inline(__always)
    func number(_ index: Int, _ text: UnsafePointer<UInt8>, _ length: Int, hash: UInt64) -> UInt32 {
        let column = columns + index
        let number = column.pointee.table.find(text, length, hash: hash)
        return number != 0 ? number : column.pointee.table.add(text, length, hash: hash)
    }

    /// Decides at the end of a block which columns stay numbered: one whose values were mostly new is kept plain for
    /// some blocks, so that its dictionary does not fill.
    func settleModes() {
        for index in 0..<count where columns[index].kind.isText && columns[index].kind != .whole {
            let column = columns + index
            if column.pointee.isPlain {
                column.pointee.plainBlocks -= 1
                if column.pointee.plainBlocks <= 0 { column.pointee.isPlain = false }
            } else if column.pointee.lookups > 2048,
                (column.pointee.table.count - column.pointee.written) * 2 > column.pointee.lookups
            {
                column.pointee.isPlain = true
                column.pointee.plainBlocks = Self.plainFor
            }
            column.pointee.lookups = 0
        }
    }

    // MARK: contexts

    private static let contextBytesMax = 2048
    private static let closingsMax = 8
    private static let factBytes = 10

    /// The context at `value` when exactly these bytes were parsed before: its end and number; what it means goes into
    /// the parser. An object equals a known one only where both end, so the braces in between are tried in turn.
    @inline(__always)
    func knownContext(
        _ index: UInt16, _ value: UnsafePointer<UInt8>, _ parser: inout EventParser
    ) -> (UnsafePointer<UInt8>, UInt32)? {
        let column = columns + Int(index)
        guard !column.pointee.isPlain, column.pointee.table.count > 0 else { return nil }
        var cursor = value
        for _ in 0..<Self.closingsMax {
            guard let brace = Self.closing(cursor, value) else { return nil }
            let length = brace - value + 1
            let number = column.pointee.table.find(value, length, hash: column.pointee.table.hash(value, length))
            if number != 0 {
                recall(column, number, value, &parser)
                return (brace + 1, number)
            }
            cursor = brace + 1
        }
        return nil
    }

    /// The next closing brace; nil at a control byte or too far from `start`.
    @inline(__always)
    private static func closing(
        _ from: UnsafePointer<UInt8>, _ start: UnsafePointer<UInt8>
    ) -> UnsafePointer<UInt8>? {
        var cursor = from
        while cursor - start < contextBytesMax {
            let bytes = ByteScan.vector(cursor)
            let found = unsafeBitCast(
                (bytes .== SIMD16<UInt8>(repeating: 0x7d)) .| (bytes .< SIMD16<UInt8>(repeating: 0x20)),
                to: SIMD2<UInt64>.self)
            if found[0] != 0 || found[1] != 0 {
                let place =
                    found[0] != 0
                    ? found[0].trailingZeroBitCount &>> 3 : 8 &+ (found[1].trailingZeroBitCount &>> 3)
                return cursor[place] == 0x7d ? cursor + place : nil
            }
            cursor += 16
        }
        return nil
    }

    /// Remembers what the parser found in a context that has just become known.
    func remember(_ index: Int, contextAt start: Int, _ parser: borrowing EventParser) {
        let column = columns + index
        column.pointee.factPlaces.append(UInt32(column.pointee.facts.count))
        var list: [(UInt8, UInt32, UInt32)] = []
        for code in Self.contextCodes where parser.hasCode(code) {
            let slice = parser.slots[code]
            list.append((UInt8(code), UInt32(slice.start - start), slice.packedLength))
        }
        column.pointee.facts.append(UInt32(list.count))
        for (code, offset, packed) in list {
            column.pointee.facts.append(UInt16(code))
            column.pointee.facts.append(offset)
            column.pointee.facts.append(packed)
        }
    }

    /// The fields that `context` alone can bring.
    private static let contextCodes =
        Array(Int(EventField.ip.rawValue)...Int(EventField.libraryVersion.rawValue))
        + Array(Int(EventField.contextCampaignID.rawValue)...Int(EventField.contextAdvertisingID.rawValue))

    @inline(__always)
    private func recall(
        _ column: UnsafeMutablePointer<Column>, _ number: UInt32, _ value: UnsafePointer<UInt8>,
        _ parser: inout EventParser
    ) {
        let places = column.pointee.factPlaces.base
        let start = Int(places.loadUnaligned(fromByteOffset: (Int(number) &- 1) &* 4, as: UInt32.self))
        var fact = column.pointee.facts.base + start
        var left = fact.loadUnaligned(as: UInt32.self)
        fact += 4
        let offset = UInt32(truncatingIfNeeded: value - parser.base)
        while left > 0 {
            parser.keep(
                Int(fact.loadUnaligned(as: UInt16.self)),
                ByteSlice(
                    offset: offset &+ fact.loadUnaligned(fromByteOffset: 2, as: UInt32.self),
                    packedLength: fact.loadUnaligned(fromByteOffset: 6, as: UInt32.self)))
            fact += Self.factBytes
            left &-= 1
        }
    }
}

extension EventParser {
    func hasCode(_ code: Int) -> Bool {
        code < 64 ? present.0 & (1 &<< UInt64(code)) != 0 : present.1 & (1 &<< UInt64(code &- 64)) != 0
    }
}
