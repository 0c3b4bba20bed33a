/// Rows on their way into one block of an archive. Freed by its owner.
struct ArchiveBuffer {
    var content = BlockContent()
    private(set) var requests: [RequestView] = []
    private(set) var header = BlockHeader()
    private(set) var byteCount = 0
    private(set) var outcomes = OutcomeCounts()
    private(set) var rawBytes = 0

    func deallocate() { content.deallocate() }

    /// The header of the block, as far as the rows say it.
    var blockHeader: BlockHeader {
        var header = header
        header.kind = .archived
        header.outcomes = (
            UInt32(outcomes.stored), UInt32(outcomes.duplicate), UInt32(outcomes.quarantined), UInt32(outcomes.bot),
            UInt32(outcomes.late)
        )
        return header
    }

    var rowCount: Int { content.rowCount }

    /// What becomes of the rows of a request that is taken over.
    struct Verdicts {
        /// Rows of the block that are left out, their places kept.
        var gone: Set<Int> = []
        /// Rows that turned out to be second copies.
        var duplicates = RowBits()
    }

    /// Takes over a request of a block.
    mutating func append(
        _ source: SourceBlock, request number: Int, _ verdicts: Verdicts, _ tables: ArchiveTables
    ) throws {
        let view = source.block.view
        var request = view.requests[number]
        let rows = request.firstRow..<request.firstRow + request.rowCount
        request.origin = view.origin(number)
        request.firstRow = content.rowCount
        let shapes = source.names.shapes(source.block.storedShapes, plain: source.plain, tables)
        content.reserveColumns(tables.columns.count)
        var hasGone = false
        for row in rows {
            if verdicts.gone.contains(row) {
                hasGone = true
                appendGone(request.receivedAt, tables)
            } else {
                try append(source, row, shapes, verdicts.duplicates.contains(row), &request.counts)
            }
        }
        for column in source.columns {
            guard let target = source.names.column(column.number, tables, isPlain: column.values.isPlain) else {
                throw BlockView.Failure.damaged
            }
            content.reserveColumns(tables.columns.count)
            for range in Self.places(column, rows, hasGone ? verdicts.gone : []) {
                try append(column, range, target, source.names, tables)
            }
        }
        if view.rowCount > 0 { rawBytes += Int(view.header.rawBytes) * rows.count / view.rowCount }
        requests.append(request)
        byteCount += 96 + rows.count * 36
    }

    private mutating func appendGone(_ receivedAt: Int64, _ tables: ArchiveTables) {
        var row = BlockContent.Row()
        row.time = content.rowCount > 0 ? content.time(content.rowCount - 1) : receivedAt
        content.append(row, shape: tables.gone, byteCount: 0, id: BlockContent.IDPlace.none)
        content.outcomes.base.storeBytes(
            of: DecodedBlock.goneOutcome, toByteOffset: content.rowCount - 1, as: UInt8.self)
    }

    private mutating func append(
        _ source: SourceBlock, _ number: Int, _ shapes: [UInt16], _ isDuplicate: Bool, _ counts: inout OutcomeCounts
    ) throws {
        let shape = source.shapes[number]
        guard Int(shape) < shapes.count, shapes[Int(shape)] != .max,
            var outcome = EventOutcome(rawValue: source.outcomes[number])
        else { throw BlockView.Failure.damaged }
        if isDuplicate {
            counts[outcome] -= 1
            counts.duplicate += 1
            outcome = .duplicate
        }
        var row = BlockContent.Row()
        (row.time, row.outcome, row.flags) = (source.times[number], outcome, source.flags[number])
        if outcome == .quarantined { (row.reason, row.field) = try source.block.exception(number) }
        if let touch = source.touch(number) {
            content.appendTouch(
                kind: touch.kind.rawValue, trace: touch.trace, anonymous: touch.persons.0, user: touch.persons.1,
                device: touch.persons.2, click: touch.persons.3)
        }
        content.append(row, shape: shapes[Int(shape)], byteCount: 0, id: BlockContent.IDPlace.none)
        header.earliest = min(header.earliest, row.time)
        header.latest = max(header.latest, row.time)
        outcomes[outcome] += 1
    }

    /// Which values of a column belong to some rows.
    private static func places(_ column: SourceBlock.Column, _ rows: Range<Int>, _ gone: Set<Int>) -> [Range<Int>] {
        if gone.isEmpty, column.rank.isEmpty { return [rows] }
        var ranges: [Range<Int>] = []
        for row in rows where !gone.contains(row) {
            let place = column.rank.isEmpty ? row : Int(column.rank[row])
            guard place >= 0 else { continue }
            if let last = ranges.last, last.upperBound == place {
                ranges[ranges.count - 1] = last.lowerBound..<place + 1
            } else {
                ranges.append(place..<place + 1)
            }
        }
        return ranges
    }

    private mutating func append(
        _ column: SourceBlock.Column, _ range: Range<Int>, _ target: Int, _ names: SourceNames,
        _ tables: ArchiveTables
    ) throws {
        guard range.upperBound <= column.values.count else { throw BlockView.Failure.damaged }
        let values = content.column(target)
        let isPlain = tables.columns[target].isPlain
        let before = values.pointee.main.count
        switch column.values {
        case .codes(let codes) where isPlain:
            for code in codes[range] { Self.append(try names.raw(column.number, code)[...], to: values) }
        case .codes(let codes):
            try names.map(column.number, to: target, codes[range], tables) { values.pointee.main.push($0) }
        case .plain(let starts, let bytes):
            for place in range {
                let text = bytes[starts[place]..<starts[place + 1]]
                if isPlain {
                    Self.append(text, to: values)
                } else {
                    values.pointee.main.push(text.withUnsafeBytes { tables.number(target, $0) })
                }
            }
        case .identifiers(let words):
            words[range.lowerBound * 2..<range.upperBound * 2].withUnsafeBytes {
                if let start = $0.baseAddress { values.pointee.main.append(start, $0.count) }
            }
        case .numbers(let numbers, let fractions):
            numbers[range].withUnsafeBytes {
                if let start = $0.baseAddress { values.pointee.main.append(start, $0.count) }
            }
            if !fractions.isEmpty { values.pointee.fractions.append(Array(fractions[range])) }
        }
        values.pointee.count += range.count
        byteCount += values.pointee.main.count - before
    }

    private static func append(_ text: ArraySlice<UInt8>, to values: UnsafeMutablePointer<ColumnValues>) {
        values.pointee.main.pushVarint(text.count)
        text.withUnsafeBytes { if let start = $0.baseAddress { values.pointee.main.append(start, $0.count) } }
    }
}

extension DecodedBlock.Values {
    var isPlain: Bool { if case .plain = self { true } else { false } }
}
