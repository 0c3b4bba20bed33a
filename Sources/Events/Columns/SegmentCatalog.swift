internal import Synchronization

/// Where the blocks of each segment stand and what they hold, and the dictionaries to read them: found as they are
/// asked for and kept. Blocks that were damaged are left out.
final class LogCatalog: Sendable {
    private let directory: SegmentDirectory
    private let segments = Mutex<[UInt32: SegmentCatalog]>([:])

    init(directory: SegmentDirectory) { self.directory = directory }

    /// The catalogue of every segment, oldest first, up to what is durable now.
    func all() throws -> [SegmentCatalog] {
        try directory.segments.map { try catalog(of: $0) }
    }

    func segment(_ number: UInt32) throws -> SegmentCatalog? {
        try directory[number].map { try catalog(of: $0) }
    }

    var lastNumber: UInt32? { directory.segments.last?.number }

    private func catalog(of segment: SegmentDirectory.Segment) throws -> SegmentCatalog {
        let catalog = segments.withLock { known in
            if let catalog = known[segment.number], catalog.file === segment.file { return catalog }
            let catalog = SegmentCatalog(segment)
            known[segment.number] = catalog
            return catalog
        }
        try catalog.extend(to: segment.durableBytes)
        return catalog
    }

    /// The block at a place, with its tables; nil when none begins there or it is damaged.
    func block(segment number: UInt32, offset: Int) throws -> BlockView? {
        guard let segment = directory[number], offset >= SegmentFormat.headerBytes,
            offset + BlockHeader.byteCount <= segment.durableBytes, offset % BlockHeader.alignment == 0
        else { return nil }
        let bytes = try segment.file.read(at: offset, count: BlockHeader.byteCount)
        guard case .valid(let header) = bytes.withUnsafeBytes({ BlockHeader.decode($0) }), header.kind == .rows else {
            return nil
        }
        return try catalog(of: segment).view(offset, header)
    }
}

/// The blocks of one segment.
final class SegmentCatalog: Sendable {
    struct Entry: Sendable {
        var offset: Int
        var rowCount: Int
        var earliest: Int64
        var latest: Int64
        var shard: UInt32
        var sources: UInt64
        var bringsNew: Bool
    }

    private struct State {
        var entries: [Entry] = []
        var walked = SegmentFormat.headerBytes
        var sources: [UInt64: [CaptureSource]] = [:]
        var shards: [UInt32: ShardDictionary] = [:]
    }

    let number: UInt32
    let file: LogFile
    private let damaged: Set<Int>
    private let state = Mutex(State())

    init(_ segment: SegmentDirectory.Segment) {
        (number, file, damaged) = (segment.number, segment.file, segment.damagedOffsets)
    }

    var entries: [Entry] { state.withLock { $0.entries } }

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
                    state.entries.append(
                        Entry(
                            offset: offset, rowCount: Int(header.rowCount), earliest: header.earliest,
                            latest: header.latest, shard: header.shard, sources: header.sources,
                            bringsNew: header.bringsNew))
                case .damage: continue
                case .end, .unknownVersion: break scan
                }
            }
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
