internal import Synchronization

/// Where the blocks of each segment and archive stand and what they hold, and the dictionaries to read them: found as
/// they are asked for and kept. Blocks that were damaged are left out.
final class LogCatalog: Sendable {
    private struct State: Sendable {
        var segments: [UInt32: SegmentCatalog] = [:]
        var archives: [String: SegmentCatalog] = [:]
    }

    private let directory: SegmentDirectory
    private let visibility: LogVisibility?
    private let state = Mutex(State())

    /// - Parameter visibility: what of the rows may be seen; nil shows what is on disk.
    init(directory: SegmentDirectory, visibility: LogVisibility? = nil) {
        self.directory = directory
        self.visibility = visibility
    }

    /// The catalogue of every archive and segment, oldest first, up to what is durable now.
    /// - Parameter after: only those that hold later segments than this one.
    func all(after: UInt32 = 0) throws -> [SegmentCatalog] {
        let (archives, segments) = directory.snapshot
        let all =
            try archives.filter { $0.last > after }.map { catalog(of: $0) }
            + segments.filter { $0.number > after }.map { try catalog(of: $0) }
        forget(archives, segments)
        return archives.isEmpty ? all : all.sorted { $0.number < $1.number }
    }

    /// Drops what is known of files that others took the place of.
    private func forget(_ archives: [ArchiveFile], _ segments: [SegmentDirectory.Segment]) {
        state.withLock { state in
            if state.segments.count > segments.count {
                let numbers = Set(segments.map(\.number))
                state.segments = state.segments.filter { numbers.contains($0.key) }
            }
            if state.archives.count > archives.count {
                let names = Set(archives.map(\.entry.name))
                state.archives = state.archives.filter { names.contains($0.key) }
            }
        }
    }

    func segment(_ number: UInt32) throws -> SegmentCatalog? {
        try directory[number].map { try catalog(of: $0) }
    }

    var lastNumber: UInt32? { directory.segments.last?.number }

    private func catalog(of segment: SegmentDirectory.Segment) throws -> SegmentCatalog {
        let catalog = state.withLock { state in
            if let catalog = state.segments[segment.number], catalog.file === segment.file { return catalog }
            let catalog = SegmentCatalog(segment, visibility)
            state.segments[segment.number] = catalog
            return catalog
        }
        try catalog.extend(to: segment.durableBytes)
        return catalog
    }

    private func catalog(of archive: ArchiveFile) -> SegmentCatalog {
        state.withLock { state in
            if let catalog = state.archives[archive.entry.name] { return catalog }
            let catalog = SegmentCatalog(archive, visibility)
            state.archives[archive.entry.name] = catalog
            return catalog
        }
    }

    /// A request, or a row, where it is kept now.
    struct Found {
        var catalog: SegmentCatalog
        var view: BlockView
        /// Number of the request in the block.
        var request: Int
        /// Its first row, or the row that was asked for.
        var row: Int
    }

    /// The request with this number in the block that was committed at a place; nil when there is none any more.
    func request(segment number: UInt32, offset: UInt32, request: UInt16) throws -> Found? {
        if let (catalog, view) = try block(segment: number, offset: Int(offset)) {
            guard view.requests.indices.contains(Int(request)) else { return nil }
            return Found(
                catalog: catalog, view: view, request: Int(request), row: view.requests[Int(request)].firstRow)
        }
        guard let archive = directory.archive(of: number) else { return nil }
        let known = try archive.requests(segment: number, offset: offset).first { $0.origin.request == request }
        return try known.flatMap { try found($0, archive) }
    }

    /// The row at a position; nil when none stands there any more.
    func row(at position: LogPosition) throws -> Found? {
        if let (catalog, view) = try block(segment: position.segment, offset: Int(position.offset)) {
            guard let request = view.request(of: Int(position.row)), Int(position.row) < view.rowCount else {
                return nil
            }
            return Found(catalog: catalog, view: view, request: request, row: Int(position.row))
        }
        guard let archive = directory.archive(of: position.segment) else { return nil }
        let known = try archive.requests(segment: position.segment, offset: position.offset)
            .last { $0.origin.firstRow <= position.row }
        guard let known, var found = try found(known, archive) else { return nil }
        let index = Int(position.row - known.origin.firstRow)
        guard index < found.view.requests[found.request].rowCount else { return nil }
        found.row += index
        return found
    }

    private func found(_ request: ArchivedRequest, _ archive: ArchiveFile) throws -> Found? {
        let catalog = catalog(of: archive)
        let blocks = archive.directory.blocks
        guard blocks.indices.contains(Int(request.block)) else { return nil }
        let place = blocks[Int(request.block)]
        guard let view = try catalog.view(place.offset, place.header),
            view.requests.indices.contains(Int(request.number))
        else { return nil }
        return Found(
            catalog: catalog, view: view, request: Int(request.number),
            row: view.requests[Int(request.number)].firstRow)
    }

    /// The block at a place of a segment, with its tables; nil when none begins there or it is damaged.
    private func block(segment number: UInt32, offset: Int) throws -> (SegmentCatalog, BlockView)? {
        guard let segment = directory[number], offset >= SegmentFormat.headerBytes,
            offset + BlockHeader.byteCount <= segment.durableBytes, offset % BlockHeader.alignment == 0
        else { return nil }
        let bytes = try segment.file.read(at: offset, count: BlockHeader.byteCount)
        guard case .valid(let header) = bytes.withUnsafeBytes({ BlockHeader.decode($0) }), header.kind == .rows else {
            return nil
        }
        let catalog = try catalog(of: segment)
        return try catalog.view(offset, header).map { (catalog, $0) }
    }
}

/// The blocks of one segment or archive.
final class SegmentCatalog: Sendable {
    struct Entry: Sendable {
        var offset: Int
        var rowCount: Int
        var earliest: Int64
        var latest: Int64
        var shard: UInt32
        var sources: UInt64
        var bringsNew: Bool
        /// The time that retention counts from at the latest: rows brought in from before count from their arrival.
        var latestKept: Int64

        init(_ offset: Int, _ header: BlockHeader) {
            (self.offset, rowCount) = (offset, Int(header.rowCount))
            (earliest, latest) = (header.earliest, header.latest)
            (shard, sources, bringsNew) = (header.shard, header.sources, header.bringsNew)
            latestKept = max(header.latest, header.committedAt)
        }
    }

    private struct State {
        var entries: [Entry] = []
        var walked = SegmentFormat.headerBytes
        var hasGap = false
        var sources: [UInt64: [CaptureSource]] = [:]
        var shards: [UInt32: ShardDictionary] = [:]
        /// Of an archive's blocks, by number.
        var spans: [Int: OriginSpan] = [:]
    }

    let number: UInt32
    let file: LogFile
    /// nil for a segment.
    let archive: ArchiveFile?
    let visibility: LogVisibility?
    private let damaged: Set<Int>
    private let state: Mutex<State>

    init(_ segment: SegmentDirectory.Segment, _ visibility: LogVisibility? = nil) {
        (number, file, damaged) = (segment.number, segment.file, segment.damagedOffsets)
        (archive, self.visibility) = (nil, visibility)
        state = Mutex(State())
    }

    /// The blocks of an archive are known from its directory; it never grows.
    init(_ archive: ArchiveFile, _ visibility: LogVisibility? = nil) {
        (number, file, damaged) = (archive.first, archive.file, [])
        (self.archive, self.visibility) = (archive, visibility)
        var known = State()
        known.walked = .max
        known.entries = archive.directory.blocks.map { Entry($0.offset, $0.header) }
        state = Mutex(known)
    }

    /// The last segment that it stands for.
    var lastNumber: UInt32 { archive?.last ?? number }

    var entries: [Entry] { state.withLock { $0.entries } }

    /// Whether there is more in the segment than `entries`: blocks whose headers were broken since the log was opened.
    var hasGap: Bool { state.withLock { $0.hasGap } }

    /// Takes in the blocks up to `end`.
    func extend(to end: Int) throws {
        try state.withLock { state in
            guard state.walked < end else { return }
            var walk = SegmentWalk(file, from: state.walked, end: end)
            scan: while true {
                switch try walk.next() {
                case .block(let offset, let header):
                    state.walked = offset + Int(header.totalBytes)
                    guard header.kind == .rows, header.rowCount > 0, !damaged.contains(offset) else { continue }
                    state.entries.append(Entry(offset, header))
                case .damage: state.hasGap = true
                case .end, .unknownVersion: break scan
                }
            }
            if state.walked < end { state.hasGap = true }
        }
    }

    /// Reads the tables of a block; nil when they are damaged.
    func view(_ offset: Int, _ header: BlockHeader? = nil) throws -> BlockView? {
        guard !damaged.contains(offset) else { return nil }
        var header = header
        if header == nil {
            let bytes = try file.read(at: offset, count: BlockHeader.byteCount)
            guard case .valid(let found) = bytes.withUnsafeBytes({ BlockHeader.decode($0) }) else { return nil }
            header = found
        }
        guard let header else { return nil }
        do throws(BlockView.Failure) {
            return try BlockView(file, segment: number, offset: offset, header: header)
        } catch {
            if case .storage(let failure) = error { throw failure }
            return nil
        }
    }

    /// Organisations and apps of a block; a set that was seen before is not read again.
    func sources(of entry: Entry) throws -> [CaptureSource] {
        if let known = state.withLock({ $0.sources[entry.sources] }) { return known }
        // Of a damaged block any other with the same set can tell.
        for same in [entry] + entries.filter({ $0.sources == entry.sources }) {
            guard let view = try view(same.offset) else { continue }
            var found: [CaptureSource] = []
            for request in view.requests {
                let source = CaptureSource(org: request.org, app: request.app)
                if !found.contains(source) { found.append(source) }
            }
            let sources = found
            state.withLock { $0.sources[entry.sources] = sources }
            return sources
        }
        return []
    }

    /// Where the requests of an archive's block stood in the log; nil for one that is damaged.
    func span(of number: Int) throws -> OriginSpan? {
        if let known = state.withLock({ $0.spans[number] }) { return known }
        guard let view = try view(entries[number].offset), let span = OriginSpan(view) else { return nil }
        state.withLock { $0.spans[number] = span }
        return span
    }

    /// The dictionaries of a shard, read up to and with the block at `offset`.
    func dictionary(shard: UInt32, through offset: Int) throws -> ShardDictionary {
        let (dictionary, entries) = state.withLock { state in
            let known = state.shards[shard] ?? ShardDictionary()
            state.shards[shard] = known
            return (known, state.entries)
        }
        try dictionary.extend(through: offset, entries: entries, shard: shard, of: self)
        return dictionary
    }
}
