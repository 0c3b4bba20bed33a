/// Writes a run: hashes in sorted order, then directory, filter and header. The file counts only once it is listed.
struct RunWriter: ~Copyable {
    /// Bytes handed to the system at a time, and bytes after which they are made durable, so that one large file does
    /// not delay the log's own sync.
    private static let bufferBytes = 512 << 10
    private static let syncBytes = 8 << 20
    private let storage: any LogStorage
    private let file: LogFile
    private var header: RunHeader
    private let memory = AnonymousMemory(byteCount: RunWriter.bufferBytes)
    private let buffer: UnsafeMutableRawBufferPointer
    private var filled = 0
    private var blockCount = 0
    private var keysInBlock = 0
    private var unsynced = 0
    private var directory: [UInt32]
    private var bucket = 0
    private let filter: IdentifierFilter?
    private let sieve: RunSieve?

    /// - Parameters:
    ///   - keys: how many hashes will come, exactly.
    ///   - filter: of all of them, to be kept in the file; without one the run gets a sieve in memory.
    init(
        _ storage: any LogStorage, header: RunHeader, keys: Int, filter: IdentifierFilter?
    ) throws(LogStorageError) {
        self.filter = filter
        sieve = filter == nil ? RunSieve(keys: keys) : nil
        self.storage = storage
        self.header = header
        self.header.keyCount = UInt64(keys)
        self.header.directoryCount = UInt32(RunFormat.directoryCount(keys: keys))
        directory = []
        directory.reserveCapacity(Int(self.header.directoryCount) + 1)
        file = try LogFile(storage, RunFormat.name(header.number), create: true)
        buffer = UnsafeMutableRawBufferPointer(start: memory.base, count: Self.bufferBytes)
    }

    deinit { memory.deallocate() }

    /// Bytes of memory that one writer takes beside the directory.
    static var workingBytes: Int { bufferBytes }

    mutating func append(_ keys: IdentifierList) throws(LogStorageError) {
        let buckets = UInt64(header.directoryCount)
        for index in 0..<keys.count {
            let key = keys.base[index]
            let own = Int(truncatingIfNeeded: key.0.multipliedFullWidth(by: buckets).high)
            let position = blockCount &* RunFormat.blockKeys &+ keysInBlock
            while bucket <= own {
                directory.append(UInt32(truncatingIfNeeded: position))
                bucket &+= 1
            }
            let offset = filled &+ keysInBlock &* 16
            buffer.storeBytes(of: key.0.littleEndian, toByteOffset: offset, as: UInt64.self)
            buffer.storeBytes(of: key.1.littleEndian, toByteOffset: offset &+ 8, as: UInt64.self)
            sieve?.insert(key.0, key.1)
            keysInBlock &+= 1
            if keysInBlock == RunFormat.blockKeys { try closeBlock() }
        }
    }

    private mutating func closeBlock() throws(LogStorageError) {
        let block = UnsafeMutableRawBufferPointer(rebasing: buffer[filled..<filled + RunFormat.blockBytes])
        for offset in stride(from: keysInBlock * 16, to: RunFormat.tagOffset, by: 8) {
            block.storeBytes(of: 0, toByteOffset: offset, as: UInt64.self)
        }
        let tag = UInt64(header.number) << 32 | UInt64(blockCount)
        block.storeBytes(of: tag.littleEndian, toByteOffset: RunFormat.tagOffset, as: UInt64.self)
        let body = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(block)[0..<RunFormat.sumOffset])
        let sum = WordSum.of(body, seed: header.identity)
        block.storeBytes(of: sum.littleEndian, toByteOffset: RunFormat.sumOffset, as: UInt64.self)
        filled += RunFormat.blockBytes
        blockCount += 1
        keysInBlock = 0
        if filled == buffer.count { try writeOut() }
    }

    private mutating func writeOut() throws(LogStorageError) {
        guard filled > 0 else { return }
        let offset = RunFormat.headerBytes + blockCount * RunFormat.blockBytes - filled
        try file.write([UnsafeRawBufferPointer(rebasing: buffer[0..<filled])], at: offset)
        unsynced += filled
        filled = 0
        if unsynced >= Self.syncBytes {
            try file.sync()
            unsynced = 0
        }
    }

    /// Writes what is left and makes the file durable.
    consuming func finish() throws(LogStorageError) -> IdentifierRun {
        if keysInBlock > 0 { try closeBlock() }
        try writeOut()
        let seed = header.identity ^ UInt64(header.number)
        while directory.count <= Int(header.directoryCount) { directory.append(UInt32(header.keyCount)) }
        var entries = RawBytes(capacity: header.directoryBytes)
        defer { entries.deallocate() }
        for entry in directory { entries.append(entry) }
        while entries.count < header.directoryBytes { entries.append(UInt32(0)) }
        header.directorySum = WordSum.of(entries.bytes, seed: seed)
        try file.write([entries.bytes], at: header.directoryOffset)
        if let filter {
            header.filterBlocks = UInt32(filter.blockCount)
            try write(filter, seed: seed)
        }
        try file.write(header.encoded(), at: 0)
        try file.sync()
        try storage.syncFolder()
        return IdentifierRun(header: header, file: file, directory: directory, sieve: sieve)
    }

    private mutating func write(_ filter: IdentifierFilter, seed: UInt64) throws(LogStorageError) {
        var sum = WordSum(seed: seed)
        let bytes = UnsafeRawBufferPointer(filter.bytes)
        var offset = 0
        while offset < bytes.count {
            let part = UnsafeRawBufferPointer(rebasing: bytes[offset..<min(bytes.count, offset + Self.syncBytes)])
            sum.add(part)
            try file.write([part], at: header.filterOffset + offset)
            try file.sync()
            offset += part.count
        }
        header.filterSum = sum.value
    }
}

/// Several runs into one, a slice of the hash range at a time: a slice of each is thrown into a small table, whose
/// order
/// is the sorted order.
struct RunMerge {
    /// Hashes of one slice: their table stays in the processor's cache.
    private static let sliceKeys = 11_000
    private static let sliceSlots = 16_384
    let runs: [IdentifierRun]
    let filter: IdentifierFilter?
    /// Asked once a slice.
    let isCancelled: @Sendable () -> Bool

    /// Bytes of memory that a merge takes.
    static func workingBytes(_ runs: Int) -> Int {
        runs * RunCursor.bufferBlocks * RunFormat.blockBytes + sliceSlots * 16 + sliceKeys * 32
            + RunWriter.workingBytes
    }

    /// nil when it was cancelled; the file is then worth nothing.
    func write(
        _ storage: any LogStorage, identity: UInt64, number: UInt32
    ) throws(DeduplicationError) -> IdentifierRun? {
        guard let last = runs.last else { return nil }
        let count = runs.reduce(0) { $0 + $1.count }
        let header = RunHeader(
            identity: identity, number: number, level: (runs.map(\.header.level).max() ?? 0) + 1,
            latest: runs.map(\.header.latest).max() ?? last.header.latest, through: last.header.through)
        do {
            var writer = try RunWriter(storage, header: header, keys: count, filter: filter)
            guard try merge(count, into: &writer) else { return nil }
            return try writer.finish()
        } catch let error as DeduplicationError {
            throw error
        } catch let error as LogStorageError {
            throw .storage(error)
        } catch {
            throw last.damage
        }
    }

    private func merge(_ count: Int, into writer: inout RunWriter) throws -> Bool {
        var bits = 0
        while count >> bits > Self.sliceKeys { bits += 1 }
        let cursors = runs.map { RunCursor($0) }
        var table = IdentifierTable(capacity: Self.sliceSlots, skippedBits: bits)
        var output = IdentifierList(capacity: Self.sliceKeys * 2)
        defer {
            table.deallocate()
            output.deallocate()
        }
        var written = 0
        for slice in 0..<UInt64(1) << UInt64(bits) {
            if isCancelled() { return false }
            let bound = bits == 0 ? UInt64.max : (slice + 1) << UInt64(64 - bits) &- 1
            for cursor in cursors { try cursor.drain(through: bound) { table.place($0, $1) } }
            var scan = IdentifierTable.Scan()
            table.sorted(&scan, into: &output, atLeast: .max)
            try writer.append(output)
            written += output.count
            output.removeAll()
            table.removeAll()
        }
        if written != count, let first = runs.first { throw first.damage }
        return true
    }
}
