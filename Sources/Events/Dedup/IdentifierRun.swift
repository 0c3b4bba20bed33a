/// A sorted file of hashes that never changes. Its directory is in memory, its hashes stay on disk.
final class IdentifierRun: Sendable {
    let header: RunHeader
    let file: LogFile
    /// For each bucket of the hash range the number of hashes before it; one entry more than buckets.
    private let directory: [UInt32]
    /// Nil in the one run of a finished generation, whose filter says the same.
    let sieve: RunSieve?

    init(header: RunHeader, file: LogFile, directory: [UInt32], sieve: RunSieve?) {
        self.header = header
        self.file = file
        self.directory = directory
        self.sieve = sieve
    }

    /// Opens a run that the manifest lists, and checks everything but its hashes. A sieve is empty: `load` fills it.
    init(
        _ storage: any LogStorage, number: UInt32, identity: UInt64, crc: UInt32
    ) throws(DeduplicationError) {
        let name = RunFormat.name(number)
        do throws(LogStorageError) {
            file = try LogFile(storage, name)
            guard let header = RunHeader(try file.read(at: 0, count: RunFormat.headerBytes)), header.number == number,
                header.identity == identity, header.crc == crc, try file.size() >= header.fileBytes
            else { throw LogStorageError.failed(operation: "check", code: 0) }
            let bytes = try file.read(at: header.directoryOffset, count: header.directoryBytes)
            let sum = bytes.withUnsafeBytes { WordSum.of($0, seed: identity ^ UInt64(number)) }
            var reader = WordReader(bytes)
            let entries = (0...Int(header.directoryCount)).map { _ in reader.next(UInt32.self) }
            guard bytes.count == header.directoryBytes, sum == header.directorySum,
                entries.last == UInt32(header.keyCount)
            else { throw LogStorageError.failed(operation: "check", code: 0) }
            self.header = header
            directory = entries
            sieve = header.filterBlocks > 0 ? nil : RunSieve(keys: Int(header.keyCount))
        } catch {
            throw .damaged(file: name)
        }
    }

    var number: UInt32 { header.number }
    var count: Int { Int(header.keyCount) }
    var memoryBytes: Int { directory.count * 4 + (sieve?.byteCount ?? 0) }
    var hasFilter: Bool { header.filterBlocks > 0 }

    /// Reads the filter that the file carries.
    func filter() throws(DeduplicationError) -> IdentifierFilter {
        let filter = IdentifierFilter(blockCount: Int(header.filterBlocks))
        var sum = WordSum(seed: header.identity ^ UInt64(number))
        var offset = 0
        let bytes = filter.bytes
        while offset < bytes.count {
            let count = min(1 << 20, bytes.count - offset)
            let part = UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<offset + count])
            guard try read(part, at: header.filterOffset + offset) == count else { throw damage }
            sum.add(UnsafeRawBufferPointer(part))
            offset += count
        }
        guard sum.value == header.filterSum else { throw damage }
        return filter
    }

    /// Reads all hashes, into the sieve and into the filter of the generation.
    func load(into filter: IdentifierFilter) throws(DeduplicationError) {
        try RunCursor(self).drain(through: .max) { high, low in
            sieve?.insert(high, low)
            filter.insert(high, low)
        }
    }

    var damage: DeduplicationError { .damaged(file: file.name) }

    private func read(_ buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(DeduplicationError) -> Int {
        do throws(LogStorageError) {
            return try file.read(into: buffer, at: offset)
        } catch {
            throw .storage(error)
        }
    }

    // MARK: one hash

    /// Whether memory alone knows that the hash is not in the run.
    @inline(__always)
    func certainlyLacks(_ high: UInt64, _ low: UInt64) -> Bool {
        guard let sieve else { return false }
        return !sieve.mayContain(high, low)
    }

    /// Whether the hash is in the run: reads one block, seldom two. `scratch` holds a block.
    func contains(
        _ high: UInt64, _ low: UInt64, scratch: UnsafeMutableRawBufferPointer
    ) throws(DeduplicationError) -> Bool {
        let (bucket, fraction) = high.multipliedFullWidth(by: UInt64(header.directoryCount))
        let start = UInt64(directory[Int(bucket)])
        let end = UInt64(directory[Int(bucket) + 1])
        guard end > start else { return false }
        // Hashes are spread evenly, so that the place inside the bucket is nearly known.
        let guess = start + fraction.multipliedFullWidth(by: end - start).high
        var block = Int(guess) / RunFormat.blockKeys
        let (first, last) = (Int(start) / RunFormat.blockKeys, Int(end - 1) / RunFormat.blockKeys)
        var direction = 0
        while true {
            let count = try readBlocks(block, 1, into: scratch)
            switch Self.search(scratch, count, high, low) {
            case .found: return true
            case .absent: return false
            case .before:
                guard direction <= 0, block > first else { return false }
                (direction, block) = (-1, block - 1)
            case .behind:
                guard direction >= 0, block < last else { return false }
                (direction, block) = (1, block + 1)
            }
        }
    }

    private enum Place { case found, absent, before, behind }

    private static func search(
        _ block: UnsafeMutableRawBufferPointer, _ count: Int, _ high: UInt64, _ low: UInt64
    ) -> Place {
        func key(_ index: Int) -> IdentifierTable.Key {
            (
                UInt64(littleEndian: block.loadUnaligned(fromByteOffset: index &* 16, as: UInt64.self)),
                UInt64(littleEndian: block.loadUnaligned(fromByteOffset: index &* 16 &+ 8, as: UInt64.self))
            )
        }
        var (from, to) = (0, count)
        while from < to {
            let middle = (from + to) / 2
            let found = key(middle)
            if found.0 == high, found.1 == low { return .found }
            if found.0 < high || (found.0 == high && found.1 < low) { from = middle + 1 } else { to = middle }
        }
        return from == 0 ? .before : from == count ? .behind : .absent
    }

    /// Reads whole blocks and checks each; answers how many hashes they hold.
    func readBlocks(
        _ first: Int, _ count: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(DeduplicationError) -> Int {
        let part = UnsafeMutableRawBufferPointer(rebasing: buffer[0..<count * RunFormat.blockBytes])
        guard try read(part, at: RunFormat.headerBytes + first * RunFormat.blockBytes) == part.count else {
            throw damage
        }
        for block in 0..<count {
            let bytes = UnsafeRawBufferPointer(
                rebasing: part[block * RunFormat.blockBytes..<(block + 1) * RunFormat.blockBytes])
            let tag = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: RunFormat.tagOffset, as: UInt64.self))
            let sum = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: RunFormat.sumOffset, as: UInt64.self))
            let body = UnsafeRawBufferPointer(rebasing: bytes[0..<RunFormat.sumOffset])
            guard tag == UInt64(number) << 32 | UInt64(first + block),
                sum == WordSum.of(body, seed: header.identity)
            else { throw damage }
        }
        return min(self.count - first * RunFormat.blockKeys, count * RunFormat.blockKeys)
    }
}

/// Reads a run front to back.
final class RunCursor {
    static let bufferBlocks = 32
    private let run: IdentifierRun
    /// From the system and back to it: the allocator would keep what a merge of many runs took.
    private let memory = AnonymousMemory(byteCount: bufferBlocks * RunFormat.blockBytes)
    private let buffer: UnsafeMutableRawBufferPointer
    private var nextBlock = 0
    private var index = 0
    private var count = 0

    init(_ run: IdentifierRun) {
        self.run = run
        buffer = UnsafeMutableRawBufferPointer(start: memory.base, count: memory.byteCount)
    }

    deinit { memory.deallocate() }

    /// Hands over the hashes whose upper half is at most `bound`, in order.
    @inline(__always)
    func drain(through bound: UInt64, _ body: (UInt64, UInt64) -> Void) throws(DeduplicationError) {
        while try fill() {
            let (block, place) = index.quotientAndRemainder(dividingBy: RunFormat.blockKeys)
            let keys = buffer.baseAddress.map { $0 + block &* RunFormat.blockBytes }
            guard let keys = keys?.assumingMemoryBound(to: IdentifierTable.Key.self) else { return }
            let end = min(RunFormat.blockKeys, place &+ count &- index)
            var next = place
            while next < end {
                let high = UInt64(littleEndian: keys[next].0)
                if high > bound { break }
                body(high, UInt64(littleEndian: keys[next].1))
                next &+= 1
            }
            index &+= next &- place
            if next < end { return }
        }
    }

    /// Makes sure that there is a hash to look at; false at the end.
    private func fill() throws(DeduplicationError) -> Bool {
        guard index == count else { return true }
        let blocks = min(Self.bufferBlocks, run.header.blockCount - nextBlock)
        guard blocks > 0 else { return false }
        count = try run.readBlocks(nextBlock, blocks, into: buffer)
        index = 0
        nextBlock += blocks
        return true
    }
}
