internal import Synchronization

/// Some thousand rows of an archive that follow one another in the log.
struct ArchiveWindow: Sendable {
    var first: RequestOrigin
    var last: RequestOrigin
    /// What is known of it without reading it.
    var summary: BlockSummary
    /// Numbers of the archive's blocks that it takes rows from.
    var blocks: [Int]
}

/// An archive in the order of the log, in windows: what is held of it are some hundred bytes a window, and the rows of
/// the one that was read last.
final class ArchiveWindows: Sendable {
    static let rowsMax = 8192
    let windows: [ArchiveWindow]
    private let blocks: ArchiveBlocks
    private let fits: @Sendable (_ org: String, _ app: String) -> Bool
    private let recent = Mutex<(index: Int, block: WindowBlock)?>(nil)

    init(
        _ catalog: SegmentCatalog, _ secret: InstallationSecret, from: Int64 = .min, to: Int64 = .max,
        rowsMax: Int = ArchiveWindows.rowsMax, where fits: @escaping @Sendable (_ org: String, _ app: String) -> Bool
    ) throws {
        self.fits = fits
        blocks = ArchiveBlocks(catalog, secret)
        windows = try Self.cut(catalog, from, to, rowsMax, fits)
    }

    private static func cut(
        _ catalog: SegmentCatalog, _ from: Int64, _ to: Int64, _ rowsMax: Int,
        _ fits: @escaping (_ org: String, _ app: String) -> Bool
    ) throws -> [ArchiveWindow] {
        let entries = catalog.entries
        var order = ArchiveOrder(try catalog.blocks(from: from, to: to, where: fits)) { number in
            guard let view = try catalog.view(entries[number].offset) else { return [] }
            return view.requests.enumerated().compactMap { place, request in
                guard fits(request.org, request.app) else { return nil }
                return ArchiveOrder.Item(
                    origin: view.origin(place), low: UInt32(place), high: UInt32(request.rowCount))
            }
        }
        var windows: [ArchiveWindow] = []
        var known: Set<Int> = []
        while let (number, item) = try order.next() {
            let rows = Int(item.high)
            if let last = windows.last, last.summary.rowCount + rows <= rowsMax {
                windows[windows.count - 1].last = item.origin
            } else {
                known = []
                windows.append(
                    ArchiveWindow(
                        first: item.origin, last: item.origin,
                        summary: BlockSummary(rowCount: 0, earliest: .max, latest: .min, sources: []), blocks: []))
            }
            let place = windows.count - 1
            windows[place].summary.rowCount += rows
            guard known.insert(number).inserted else { continue }
            windows[place].blocks.append(number)
            windows[place].summary.earliest = min(windows[place].summary.earliest, entries[number].earliest)
            windows[place].summary.latest = max(windows[place].summary.latest, entries[number].latest)
            for source in try catalog.sources(of: entries[number])
            where fits(source.org, source.app) && !windows[place].summary.sources.contains(source) {
                windows[place].summary.sources.append(source)
            }
        }
        return windows
    }

    /// The rows of a window.
    func read(_ index: Int) throws -> WindowBlock {
        if let known = recent.withLock({ $0 }), known.index == index { return known.block }
        let block = WindowBlock(try parts(windows[index]), windows[index].summary)
        recent.withLock { $0 = (index, block) }
        return block
    }

    /// The rows of a window, those of each of its blocks for themselves: for windows of which a block is damaged.
    func pieces(_ index: Int) throws -> [WindowBlock] {
        let window = windows[index]
        return try window.blocks.map { number in
            var alone = window
            alone.blocks = [number]
            return WindowBlock(try parts(alone), window.summary)
        }
    }

    private func parts(_ window: ArchiveWindow) throws -> [WindowBlock.Part] {
        var found: [(origin: RequestOrigin, whole: WholeBlock, request: Int)] = []
        for number in window.blocks {
            guard let whole = try blocks.block(number) else { continue }
            let view = whole.block.view
            for place in whole.places(from: window.first, to: window.last)
            where fits(view.requests[place].org, view.requests[place].app) {
                found.append((view.origin(place), whole, place))
            }
        }
        found.sort { $0.origin < $1.origin }
        var parts: [WindowBlock.Part] = []
        for (_, whole, place) in found {
            let rows = whole.block.requests[place].rows
            if let last = parts.last, last.whole === whole, last.requests.upperBound == place,
                last.rows.upperBound == rows.lowerBound
            {
                parts[parts.count - 1].requests = last.requests.lowerBound..<place + 1
                parts[parts.count - 1].rows = last.rows.lowerBound..<rows.upperBound
            } else {
                parts.append(WindowBlock.Part(whole: whole, requests: place..<place + 1, rows: rows))
            }
        }
        return parts
    }
}

extension RequestSpan {
    fileprivate var rows: Range<Int> { firstRow..<firstRow + rowCount }
}

extension WholeBlock {
    /// The requests that stood in a stretch of the log: found by halves where they are in its order, as they are
    /// unless the bounds of archives were changed.
    fileprivate func places(from first: RequestOrigin, to last: RequestOrigin) -> [Int] {
        let view = block.view
        guard isOrdered else {
            return view.requests.indices.filter { !(view.origin($0) < first) && !(last < view.origin($0)) }
        }
        var (low, high) = (0, view.requests.count)
        while low < high {
            let middle = (low + high) / 2
            if view.origin(middle) < first { low = middle + 1 } else { high = middle }
        }
        var end = low
        while end < view.requests.count, !(last < view.origin(end)) { end += 1 }
        return Array(low..<end)
    }
}

extension SegmentCatalog {
    /// The rows of an archive that a filter may select, as blocks in the order of the log.
    func inLogOrder(_ filter: RowFilter, _ secret: InstallationSecret, identity: UInt64) throws -> ColumnSegment {
        let windows = try ArchiveWindows(self, secret, from: filter.from, to: filter.to) {
            filter.mayRead(org: $0, app: $1)
        }
        return ColumnSegment(
            identity: identity, isSealed: true, blocks: windows.windows.map(\.summary),
            read: { try windows.read($0) })
    }
}

/// Rows of several blocks of an archive, in the order of the log.
final class WindowBlock: ColumnBlock {
    /// Rows of one block that stand together in the log as well.
    struct Part: Sendable {
        var whole: WholeBlock
        var requests: Range<Int>
        var rows: Range<Int>
    }

    private let parts: [Part]
    /// The first row of each part.
    private let starts: [Int]
    let requests: [RequestSpan]
    let rowCount: Int
    let earliest: Int64
    let latest: Int64

    init(_ parts: [Part], _ summary: BlockSummary) {
        self.parts = parts
        (earliest, latest) = (summary.earliest, summary.latest)
        var starts: [Int] = []
        var requests: [RequestSpan] = []
        var row = 0
        for part in parts {
            starts.append(row)
            for request in part.whole.block.requests[part.requests] {
                var span = request
                span.firstRow += row - part.rows.lowerBound
                requests.append(span)
            }
            row += part.rows.count
        }
        (self.starts, self.requests, rowCount) = (starts, requests, row)
    }

    /// The block and the row in it.
    private func place(_ row: Int) -> (block: DecodedBlock, row: Int) {
        var (low, high) = (0, starts.count)
        while low + 1 < high {
            let middle = (low + high) / 2
            if starts[middle] <= row { low = middle } else { high = middle }
        }
        return (parts[low].whole.block, parts[low].rows.lowerBound + row - starts[low])
    }

    func position(_ row: Int) -> LogPosition {
        let (block, row) = place(row)
        return block.position(row)
    }

    func event(_ row: Int) throws -> StoredEvent? {
        let (block, row) = place(row)
        return try block.event(row)
    }

    private func joined<Value>(_ column: (WholeBlock) throws -> [Value]) rethrows -> [Value] {
        var all: [Value] = []
        all.reserveCapacity(rowCount)
        for part in parts { all.append(contentsOf: try column(part.whole)[part.rows]) }
        return all
    }

    /// The same for columns that some blocks do not have.
    private func joined<Value>(_ missing: Value, _ column: (WholeBlock) throws -> [Value]?) rethrows -> [Value]? {
        var all: [Value] = []
        all.reserveCapacity(rowCount)
        var hasAny = false
        for part in parts {
            if let values = try column(part.whole) {
                all.append(contentsOf: values[part.rows])
                hasAny = true
            } else {
                all.append(contentsOf: repeatElement(missing, count: part.rows.count))
            }
        }
        return hasAny ? all : nil
    }

    func times() throws -> [Int64] { try joined { try $0.block.times() } }
    func outcomes() throws -> [UInt8] { try joined { try $0.block.outcomes() } }
    func types() throws -> [UInt8] { try joined { try $0.types() } }
    func numbers(_ column: ColumnName) throws -> [Double]? { try joined(.nan) { try $0.numbers(column) } }
    func values() throws -> [Int64]? { try joined(.min) { try $0.values() } }

    func text(_ column: ColumnName) throws -> TextColumn? {
        let columns = try parts.map { try $0.whole.text(column) }
        guard let first = columns.lazy.compactMap({ $0 }).first else { return nil }
        if columns.allSatisfy({ $0?.dictionary.id ?? first.dictionary.id == first.dictionary.id }) {
            let codes = try joined(0) { try $0.text(column)?.codes } ?? []
            return TextColumn(codes: codes, dictionary: first.dictionary)
        }
        var (texts, codes): ([String], [UInt32]) = ([], [])
        var numbers: [String: UInt32] = [:]
        var known: [Int: [UInt32: UInt32]] = [:]
        for (part, column) in zip(parts, columns) {
            guard let column else {
                codes.append(contentsOf: repeatElement(0, count: part.rows.count))
                continue
            }
            var own = known.removeValue(forKey: column.dictionary.id) ?? [0: 0]
            for code in column.codes[part.rows] {
                if own[code] == nil {
                    let text = column.dictionary.text(code)
                    if numbers[text] == nil {
                        texts.append(text)
                        numbers[text] = UInt32(texts.count)
                    }
                    own[code] = numbers[text]
                }
                codes.append(own[code] ?? 0)
            }
            known[column.dictionary.id] = own
        }
        return TextColumn(codes: codes, dictionary: TextList(texts))
    }

    func persons(org: String) throws -> PersonColumn {
        var keys: [UInt64] = [0]
        var known: [UInt64: UInt32] = [:]
        var codes: [UInt32] = []
        codes.reserveCapacity(rowCount)
        for part in parts {
            let persons = try part.whole.persons(org)
            for code in persons.codes[part.rows] {
                guard code != 0 else {
                    codes.append(0)
                    continue
                }
                let key = persons.keys[Int(code)]
                let number = known[key] ?? UInt32(keys.count)
                if Int(number) == keys.count {
                    known[key] = number
                    keys.append(key)
                }
                codes.append(number)
            }
        }
        return PersonColumn(codes: codes, keys: keys, id: DictionaryNumber.next())
    }
}
