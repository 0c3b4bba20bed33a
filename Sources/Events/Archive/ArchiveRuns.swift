internal import Synchronization

/// Rows of an archive that stood one behind the other in the log as well.
struct ArchiveRun: Sendable {
    /// Number of the block in the archive.
    var block: Int
    var rows: Range<Int>
    /// Numbers of its requests in the block.
    var requests: Range<Int>
    var earliest: Int64
    var latest: Int64
    /// Where the first of its requests stood.
    var origin: RequestOrigin
    var source: CaptureSource
}

extension SegmentCatalog {
    /// The requests of an archive that fit, in the order of the log; those that also stand together are one run.
    func runs(
        from: Int64 = .min, to: Int64 = .max, where fits: (_ org: String, _ app: String) -> Bool
    ) throws -> [ArchiveRun] {
        var runs: [ArchiveRun] = []
        for (number, entry) in entries.enumerated() where entry.latest >= from && entry.earliest <= to {
            guard try sources(of: entry).contains(where: { fits($0.org, $0.app) }),
                let view = try view(entry.offset)
            else { continue }
            for (place, request) in view.requests.enumerated() where fits(request.org, request.app) {
                runs.append(
                    ArchiveRun(
                        block: number, rows: request.firstRow..<request.firstRow + request.rowCount,
                        requests: place..<place + 1, earliest: entry.earliest, latest: entry.latest,
                        origin: view.origin(place),
                        source: CaptureSource(org: request.org, app: request.app)))
            }
        }
        runs.sort {
            ($0.origin.segment, $0.origin.offset, $0.origin.request)
                < ($1.origin.segment, $1.origin.offset, $1.origin.request)
        }
        var joined: [ArchiveRun] = []
        for run in runs {
            if let last = joined.last, last.block == run.block, last.rows.upperBound == run.rows.lowerBound,
                last.requests.upperBound == run.requests.lowerBound, last.source == run.source
            {
                joined[joined.count - 1].rows = last.rows.lowerBound..<run.rows.upperBound
                joined[joined.count - 1].requests = last.requests.lowerBound..<run.requests.upperBound
            } else {
                joined.append(run)
            }
        }
        return joined
    }

    /// The rows of an archive that a filter may select, as blocks in the order of the log.
    func inLogOrder(_ filter: RowFilter, _ secret: InstallationSecret, identity: UInt64) throws -> ColumnSegment {
        let runs = try runs(from: filter.from, to: filter.to) { filter.mayRead(org: $0, app: $1) }
        let blocks = ArchiveBlocks(self, secret)
        return ColumnSegment(
            identity: identity, isSealed: true,
            blocks: runs.map {
                BlockSummary(
                    rowCount: $0.rows.count, earliest: $0.earliest, latest: $0.latest, sources: [$0.source])
            },
            read: { index in
                try blocks.block(runs[index].block).map { RunBlock($0, runs[index]) }
            })
    }
}

/// The blocks of an archive that were read last: reading in the order of the log goes to and fro between them.
final class ArchiveBlocks: Sendable {
    private static let blocksMax = 24
    private let catalog: SegmentCatalog
    private let secret: InstallationSecret
    /// Least recently used first.
    private let recent = Mutex<[(number: Int, block: WholeBlock)]>([])

    init(_ catalog: SegmentCatalog, _ secret: InstallationSecret) { (self.catalog, self.secret) = (catalog, secret) }

    func block(_ number: Int) throws -> WholeBlock? {
        let known = recent.withLock { recent -> WholeBlock? in
            guard let place = recent.lastIndex(where: { $0.number == number }) else { return nil }
            let found = recent.remove(at: place)
            recent.append(found)
            return found.block
        }
        if let known { return known }
        guard let view = try catalog.view(catalog.entries[number].offset) else { return nil }
        let block = WholeBlock(try DecodedBlock(view, catalog: catalog, secret: secret))
        recent.withLock { recent in
            recent.append((number, block))
            if recent.count > Self.blocksMax { recent.removeFirst() }
        }
        return block
    }
}

/// A block with everything that was worked out of it, shared by the runs in it.
final class WholeBlock: Sendable {
    private struct State: Sendable {
        var types: [UInt8]?
        var texts: [ColumnName: TextColumn?] = [:]
        var numbers: [ColumnName: [Double]?] = [:]
        var values: [Int64]??
        var persons: [String: PersonColumn] = [:]
    }

    let block: DecodedBlock
    private let state = Mutex(State())

    init(_ block: DecodedBlock) { self.block = block }

    func types() throws -> [UInt8] {
        if let known = state.withLock({ $0.types }) { return known }
        let types = try block.types()
        state.withLock { $0.types = types }
        return types
    }

    func text(_ column: ColumnName) throws -> TextColumn? {
        if let known = state.withLock({ $0.texts[column] }) { return known }
        let text = try block.text(column)
        state.withLock { $0.texts[column] = .some(text) }
        return text
    }

    func numbers(_ column: ColumnName) throws -> [Double]? {
        if let known = state.withLock({ $0.numbers[column] }) { return known }
        let numbers = try block.numbers(column)
        state.withLock { $0.numbers[column] = .some(numbers) }
        return numbers
    }

    func values() throws -> [Int64]? {
        if let known = state.withLock({ $0.values }) { return known }
        let values = try block.values()
        state.withLock { $0.values = .some(values) }
        return values
    }

    func persons(_ org: String) throws -> PersonColumn {
        if let known = state.withLock({ $0.persons[org] }) { return known }
        let persons = try block.persons(org: org)
        state.withLock { $0.persons[org] = persons }
        return persons
    }
}

/// Some rows of a block that stand together.
final class RunBlock: ColumnBlock {
    private let whole: WholeBlock
    private let rows: Range<Int>
    let requests: [RequestSpan]

    init(_ whole: WholeBlock, _ run: ArchiveRun) {
        (self.whole, rows) = (whole, run.rows)
        requests = whole.block.requests[run.requests].map { request in
            var span = request
            span.firstRow -= run.rows.lowerBound
            return span
        }
    }

    var rowCount: Int { rows.count }
    var earliest: Int64 { whole.block.earliest }
    var latest: Int64 { whole.block.latest }

    func position(_ row: Int) -> LogPosition { whole.block.position(rows.lowerBound + row) }
    func times() throws -> [Int64] { Array(try whole.block.times()[rows]) }
    func outcomes() throws -> [UInt8] { Array(try whole.block.outcomes()[rows]) }
    func types() throws -> [UInt8] { Array(try whole.types()[rows]) }

    func text(_ column: ColumnName) throws -> TextColumn? {
        guard let text = try whole.text(column) else { return nil }
        return TextColumn(codes: Array(text.codes[rows]), dictionary: text.dictionary)
    }

    func numbers(_ column: ColumnName) throws -> [Double]? { try whole.numbers(column).map { Array($0[rows]) } }
    func values() throws -> [Int64]? { try whole.values().map { Array($0[rows]) } }

    func persons(org: String) throws -> PersonColumn {
        var persons = try whole.persons(org)
        persons.codes = Array(persons.codes[rows])
        return persons
    }

    func event(_ row: Int) throws -> StoredEvent? { try whole.block.event(rows.lowerBound + row) }
}
