/// How what a shard of a segment calls its shapes, columns and texts is called in the archive that is written.
final class SourceNames {
    private let dictionary: ShardDictionary
    private let catalog: SegmentCatalog
    private var epoch = UInt32.max
    private var shapes: [UInt16] = []
    private var codes: [UInt16: [UInt32]] = [:]
    private var columns: [UInt16: Int] = [:]

    init(_ dictionary: ShardDictionary, _ catalog: SegmentCatalog) {
        (self.dictionary, self.catalog) = (dictionary, catalog)
    }

    func column(_ number: UInt16, _ tables: ArchiveTables, isPlain: Bool = false) -> Int? {
        renew(tables)
        if let known = columns[number] { return known }
        guard let stored = dictionary.column(number) else { return nil }
        let target = tables.column(stored.kind, stored.path, isPlain: isPlain)
        columns[number] = target
        return target
    }

    private func renew(_ tables: ArchiveTables) {
        guard epoch != tables.epoch else { return }
        epoch = tables.epoch
        (shapes, codes, columns) = ([], [:], [:])
    }

    /// How many shapes of so many `shapes` would still bring to the tables at most.
    func unmapped(_ stored: Int, _ tables: ArchiveTables) -> Int {
        max(0, stored - 1 - (epoch == tables.epoch ? max(0, shapes.count - 1) : 0))
    }

    /// The archive's numbers of all shapes; `UInt16.max` for one that was lost.
    func shapes(_ stored: [StoredShape?], plain: Set<UInt16>, _ tables: ArchiveTables) -> [UInt16] {
        renew(tables)
        while shapes.count < stored.count {
            let number = shapes.count
            if number == 0 {
                shapes.append(0)
            } else {
                let shape = stored[number].flatMap { shape in
                    tables.shape(shape) { self.column($0, tables, isPlain: plain.contains($0)) }
                }
                shapes.append(shape ?? .max)
            }
        }
        return shapes
    }

    /// The archive's numbers of some of a column's texts.
    func map(
        _ column: UInt16, to target: Int, _ source: ArraySlice<UInt32>, _ tables: ArchiveTables,
        _ body: (UInt32) -> Void
    ) throws {
        renew(tables)
        let texts = try dictionary.texts(column, of: catalog)
        var known = codes.removeValue(forKey: column) ?? []
        let missing = texts.count + 1 - known.count
        if missing > 0 { known.append(contentsOf: repeatElement(0, count: missing)) }
        for code in source {
            guard Int(code) < known.count else { throw BlockView.Failure.damaged }
            if known[Int(code)] == 0 {
                guard let raw = texts.raw(code) else { throw BlockView.Failure.damaged }
                known[Int(code)] = raw.withUnsafeBytes { tables.number(target, $0) }
            }
            body(known[Int(code)])
        }
        codes[column] = known
    }

    func raw(_ column: UInt16, _ code: UInt32) throws -> [UInt8] {
        guard let raw = try dictionary.texts(column, of: catalog).raw(code) else { throw BlockView.Failure.damaged }
        return raw
    }
}

/// A block that is copied into an archive, request by request.
final class SourceBlock {
    struct Column {
        var number: UInt16
        var kind: HoleKind
        var values: DecodedBlock.Values
        /// For each row its place among the values, or -1; empty where every row has one.
        var rank: [Int32]
    }

    let block: DecodedBlock
    let names: SourceNames
    let shapes: [UInt16]
    let times: [Int64]
    let outcomes: [UInt8]
    let flags: [UInt8]
    let columns: [Column]
    /// Columns whose values stand as they are.
    let plain: Set<UInt16>
    private let touches: [Int: TouchView]

    init(_ block: DecodedBlock, _ names: SourceNames) throws {
        self.block = block
        self.names = names
        (shapes, times) = (try block.shapes(), try block.times())
        (outcomes, flags) = (try block.storedOutcomes(), try block.flags())
        let roles: Set<UInt8> = [PartRole.values.rawValue, PartRole.plain.rawValue]
        columns = try block.view.parts.filter { roles.contains($0.role) }.map { part in
            guard let kind = block.dictionary.column(part.column)?.kind, let values = try block.values(part.column)
            else { throw BlockView.Failure.damaged }
            let rank = values.count == block.rowCount ? [] : try block.rank(part.column)
            return Column(number: part.column, kind: kind, values: values, rank: rank)
        }
        plain = Set(columns.filter(\.values.isPlain).map(\.number))
        touches = try Self.touches(block)
    }

    private static func touches(_ block: DecodedBlock) throws -> [Int: TouchView] {
        guard let bytes = try block.view.read(.touches, { $0.bytesOfRun() }) else { return [:] }
        var found: [Int: TouchView] = [:]
        bytes.withUnsafeBytes { raw in
            for place in stride(from: 0, to: raw.count - TouchLayout.byteCount + 1, by: TouchLayout.byteCount) {
                if let start = raw.baseAddress, let touch = TouchView(start + place) { found[touch.row] = touch }
            }
        }
        return found
    }

    /// How many shapes this block's dictionary would still bring to the tables at most.
    func unmappedShapes(_ tables: ArchiveTables) -> Int { names.unmapped(block.storedShapes.count, tables) }

    func touch(_ row: Int) -> TouchView? { touches.isEmpty ? nil : touches[row] }
}
