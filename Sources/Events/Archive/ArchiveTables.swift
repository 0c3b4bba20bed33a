/// The shapes, columns and numbered texts that the blocks of an archive share, until they are full. Confined to one
/// thread; freed by its owner.
final class ArchiveTables {
    struct Column {
        var kind: HoleKind
        var path: String
        var table = TextTable()
        /// Texts that blocks before this one brought.
        var written = 0
        var isDeclared = false
        var isPlain: Bool
        var lookups = 0
    }

    private struct Name: Hashable {
        var kind: HoleKind
        var path: String
    }

    private static let columnsMax = 1000
    private let bytesMax: Int
    private(set) var columns: [Column] = []
    private var numbers: [Name: Int] = [:]
    private var shapes: [[UInt8]: UInt16] = [:]
    /// Columns of which most values were new.
    private var plain: Set<Name> = []
    /// What the next block has to bring.
    private var newShapes: [UInt8] = []
    private var firstNewShape = 1
    private var scratch = RawBytes(capacity: 4096)
    /// Rises when everything starts anew: what was numbered before means nothing after.
    private(set) var epoch: UInt32 = 0

    init(bytesMax: Int) {
        self.bytesMax = bytesMax
        _ = column(.whole, "", isPlain: true)
    }

    deinit {
        for column in columns { column.table.deallocate() }
        scratch.deallocate()
    }

    /// Bytes that the texts take.
    var byteCount: Int { columns.reduce(0) { $0 + $1.table.byteCount } }

    /// Whether so many more shapes have to begin new tables: a reader takes no more of them than a segment has.
    func isFull(moreShapes: Int) -> Bool {
        byteCount > bytesMax || columns.count >= Self.columnsMax
            || !shapes.isEmpty && shapes.count + moreShapes > ShapeTree.endingsMax
    }

    /// Starts with empty tables. No block may wait that was filled before.
    func startEpoch() {
        for column in columns {
            if column.lookups > 2048, column.table.count * 2 > column.lookups {
                plain.insert(Name(kind: column.kind, path: column.path))
            }
            column.table.deallocate()
        }
        columns = []
        numbers = [:]
        shapes = [:]
        newShapes = []
        firstNewShape = 1
        epoch += 1
        _ = column(.whole, "", isPlain: true)
    }

    /// The number of a column; a new one is plain when its first values are.
    func column(_ kind: HoleKind, _ path: String, isPlain: Bool) -> Int {
        let name = Name(kind: kind, path: path)
        if let known = numbers[name] { return known }
        numbers[name] = columns.count
        columns.append(Column(kind: kind, path: path, isPlain: kind.isText && (isPlain || plain.contains(name))))
        return columns.count - 1
    }

    /// The number of a shape; `column` answers the numbers of its columns.
    func shape(_ shape: StoredShape, column: (UInt16) -> Int?) -> UInt16? {
        var bytes = RawBytes()
        defer { bytes.deallocate() }
        bytes.append(shape.type)
        bytes.pushVarint(shape.pieces.count - 1)
        for piece in shape.pieces {
            bytes.pushVarint(piece.literal.count)
            bytes.append(piece.literal)
            guard let source = piece.column else { continue }
            guard let number = column(source) else { return nil }
            bytes.append(UInt16(number))
            bytes.append(piece.field)
        }
        let text = Array(bytes.bytes)
        if let known = shapes[text] { return known }
        let number = UInt16(shapes.count + 1)
        shapes[text] = number
        newShapes += text
        return number
    }

    /// The shape of a row that was taken out: nothing at all.
    var gone: UInt16 {
        shape(StoredShape(type: 0, pieces: [StoredShape.Piece(literal: [], column: nil, field: ShapeTree.noField)])) {
            _ in nil
        } ?? 0
    }

    /// The number of a text in a column.
    func number(_ column: Int, _ text: UnsafeRawBufferPointer) -> UInt32 {
        scratch.truncate(to: 0)
        scratch.reserve(text.count + ByteScan.padding)
        if let start = text.baseAddress { scratch.append(start, text.count) }
        let bytes = UnsafePointer(scratch.base.assumingMemoryBound(to: UInt8.self))
        columns[column].lookups += 1
        let hash = columns[column].table.hash(bytes, text.count)
        let known = columns[column].table.find(bytes, text.count, hash: hash)
        return known != 0 ? known : columns[column].table.add(bytes, text.count, hash: hash)
    }

    /// Hands a block what it has to bring, and takes it for written.
    func bring(_ block: inout BlockContent) {
        block.reserveColumns(columns.count)
        block.firstShape = firstNewShape
        block.newShapes.append(newShapes)
        firstNewShape = shapes.count + 1
        newShapes = []
        for index in columns.indices {
            let values = block.column(index)
            values.pointee.isPlain = columns[index].isPlain
            if !columns[index].isDeclared {
                columns[index].isDeclared = true
                block.newColumns.append(UInt16(index))
                block.newColumns.append(columns[index].kind.rawValue)
                let path = Array(columns[index].path.utf8)
                block.newColumns.pushVarint(path.count)
                block.newColumns.append(path)
            }
            let table = columns[index].table
            values.pointee.firstEntry = columns[index].written + 1
            values.pointee.entryCount = table.count - columns[index].written
            guard values.pointee.entryCount > 0 else { continue }
            for number in columns[index].written + 1...table.count {
                EventEncoder.append(table.text(UInt32(number)), to: &values.pointee)
            }
            columns[index].written = table.count
        }
    }
}
