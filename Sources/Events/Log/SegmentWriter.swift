internal import AurumCore

/// The one writer of the log: places blocks in segment files and makes them durable. Confined to the writer thread.
final class SegmentWriter {
    private let storage: any LogStorage
    private let directory: SegmentDirectory
    private let limits: EventLimits
    private let clock: any WallClock
    private var tail: LogRecovery.Tail
    /// Bytes of the open segment that are durable.
    private var durableOffset: Int
    /// Bytes of the open segment that are reserved on disk.
    private var reservedBytes: Int

    /// Goes on behind `tail`, or starts segment `next`. The file is cut to what was acknowledged.
    ///
    /// - Parameter totals: the counts up to here, for a segment that has none of its own yet.
    init(
        storage: any LogStorage, directory: SegmentDirectory, limits: EventLimits, clock: any WallClock,
        tail: LogRecovery.Tail?, next: UInt32 = 1, totals: [UInt8] = []
    ) throws(LogStorageError) {
        self.storage = storage
        self.directory = directory
        self.limits = limits
        self.clock = clock
        startedAt = clock.now.microseconds
        hasRows = tail.map { $0.offset > SegmentFormat.headerBytes } ?? false
        durableOffset = tail?.offset ?? SegmentFormat.headerBytes
        if let tail {
            self.tail = tail
            if try tail.file.size() > tail.offset { try tail.file.truncate(to: tail.offset) }
            reservedBytes = tail.offset
            if SegmentFormat.check(try tail.file.read(at: 0, count: SegmentFormat.headerBytes)) != .valid {
                try Self.writeHeader(tail.file, tail.segment, clock)
            }
            try tail.file.sync()
        } else {
            self.tail = try Self.create(next, storage, clock)
            reservedBytes = SegmentFormat.headerBytes
            directory.add(
                SegmentDirectory.Segment(
                    number: next, file: self.tail.file, durableBytes: SegmentFormat.headerBytes, damagedOffsets: []))
        }
        guard self.tail.segment > 1, self.tail.offset == SegmentFormat.headerBytes else { return }
        // A process was killed before the counts were there, or a segment was lost. Without them a start would need
        // the segments before, which archives may take the place of.
        do {
            try write(totals)
        } catch .noSpace {
            // Reading goes on; the first commit that finds room begins another segment.
            hasRows = true
        }
    }

    /// Writes the counts so far as the first block of the open segment. Durable when it returns.
    private func write(_ totals: [UInt8]) throws(LogStorageError) {
        var header = BlockHeader()
        header.kind = .totals
        header.metaBytes = UInt32(totals.count)
        header.metaCRC = CRC32C.of(totals)
        _ = try write(&header, meta: totals.withUnsafeBytes { Array($0) }, payload: nil)
        try sync()
    }

    private static func create(
        _ number: UInt32, _ storage: any LogStorage, _ clock: any WallClock
    ) throws(LogStorageError) -> LogRecovery.Tail {
        let file = try LogFile(storage, SegmentFormat.name(number), create: true)
        try writeHeader(file, number, clock)
        try file.sync()
        try storage.syncFolder()
        return LogRecovery.Tail(
            segment: number, file: file, offset: SegmentFormat.headerBytes, nextSequence: 1, previousCRC: 0)
    }

    private static func writeHeader(
        _ file: LogFile, _ number: UInt32, _ clock: any WallClock
    ) throws(LogStorageError) {
        try file.write(SegmentFormat.header(number: number, createdAt: clock.now.microseconds), at: 0)
    }

    /// Whether the next block belongs into a new segment.
    var isFull: Bool {
        tail.offset >= limits.segmentBytesMax || rowCount >= limits.segmentRowsMax
            || hasRows && clock.now.microseconds - startedAt > limits.segmentSeconds * 1_000_000
    }

    /// Whether the open segment holds a block of rows.
    private(set) var hasRows: Bool
    private var rowCount = 0
    private var startedAt: Int64

    /// Where the next block will begin: every block before it has been written.
    var point: LogPoint { LogPoint(segment: tail.segment, offset: UInt64(tail.offset)) }

    /// Makes sure that `count` more bytes find space; `noSpace` here leaves the log as it was.
    func reserve(_ count: Int) throws(LogStorageError) {
        guard tail.offset + count > reservedBytes else { return }
        let more = max(limits.preallocateBytes, tail.offset + count - reservedBytes)
        do {
            try tail.file.reserve(from: reservedBytes, count: more)
            reservedBytes += more
        } catch .noSpace where more > tail.offset + count - reservedBytes {
            // Near the end of the volume take only what is needed.
            let needed = tail.offset + count - reservedBytes
            try tail.file.reserve(from: reservedBytes, count: needed)
            reservedBytes += needed
        }
    }

    /// Seals the open segment and starts the next one, whose first block keeps the totals so far.
    func roll(totals: [UInt8]) throws(LogStorageError) {
        try tail.file.sync()
        try tail.file.truncate(to: tail.offset)
        try tail.file.sync()
        let (sequence, crc) = (tail.nextSequence, tail.previousCRC)
        directory.publish(tail.segment, durableBytes: tail.offset)
        var next = try Self.create(tail.segment + 1, storage, clock)
        (next.nextSequence, next.previousCRC) = (sequence, crc)
        tail = next
        durableOffset = next.offset
        reservedBytes = SegmentFormat.headerBytes
        try write(totals)
        // Only now the segment before counts as sealed: an archive of it may take the counts that it began with away.
        directory.add(
            SegmentDirectory.Segment(
                number: next.segment, file: next.file, durableBytes: tail.offset, damagedOffsets: []))
        hasRows = false
        rowCount = 0
        startedAt = clock.now.microseconds
    }

    private func write(
        _ header: inout BlockHeader, meta: [UInt8], payload: UnsafeRawBufferPointer?
    ) throws(LogStorageError) -> Place {
        var bytes = RawBytes(capacity: meta.count)
        defer { bytes.deallocate() }
        bytes.append(meta)
        return try append(&header, meta: bytes.bytes, payload: payload ?? UnsafeRawBufferPointer(start: nil, count: 0))
    }

    struct Place {
        var segment: UInt32
        var offset: UInt32
        var file: LogFile
    }

    /// Writes one block behind the last. Durable only after `sync`.
    func append(
        _ header: inout BlockHeader, meta: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer
    ) throws(LogStorageError) -> Place {
        header.sequence = tail.nextSequence
        header.previousCRC = tail.previousCRC
        header.committedAt = clock.now.microseconds
        let used = BlockHeader.byteCount + meta.count + payload.count
        let padding = (BlockHeader.alignment - used % BlockHeader.alignment) % BlockHeader.alignment
        header.totalBytes = UInt32(used + padding)
        var head = RawBytes(capacity: BlockHeader.byteCount)
        defer { head.deallocate() }
        header.encode(into: &head)
        var zeros: UInt64 = 0
        var failure: LogStorageError?
        withUnsafeBytes(of: &zeros) { zeros in
            do throws(LogStorageError) {
                let pad = UnsafeRawBufferPointer(rebasing: zeros[0..<padding])
                try tail.file.write([head.bytes, meta, payload, pad], at: tail.offset)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        let place = Place(segment: tail.segment, offset: UInt32(tail.offset), file: tail.file)
        tail.offset += used + padding
        tail.nextSequence += 1
        tail.previousCRC = header.crc
        if header.kind == .rows {
            hasRows = true
            rowCount += Int(header.rowCount)
        }
        return place
    }

    /// Makes everything appended durable and readable.
    func sync() throws(LogStorageError) {
        try tail.file.sync()
        durableOffset = tail.offset
        directory.publish(tail.segment, durableBytes: tail.offset)
    }

    /// Gives back what was reserved and not used, and what nobody was told of because it could not be made durable.
    func close() {
        try? tail.file.truncate(to: durableOffset)
        try? tail.file.sync()
    }
}
