internal import AurumCore

/// Writes one archive under an unfinished name. Confined to one thread; nothing of it is read before `finish`.
final class ArchiveWriter {
    struct Limits: Sendable {
        /// Rows of a block.
        var blockRowsMax = 32_768
        /// Apps with fewer rows share blocks.
        var ownBlockRows = 512
        /// Bytes of rows that wait for their block; beyond it the largest block is written early.
        var bufferBytesMax = 16 << 20
        /// Bytes of texts that blocks share.
        var dictionaryBytesMax = 12 << 20
        /// Entries of the index that wait.
        var indexEntriesMax = 200_000
        var level: Int32 = 1
    }

    private let storage: any LogStorage
    let name: String
    private let file: LogFile
    private let limits: Limits
    private let tables: ArchiveTables
    private var encoder: BlockEncoder
    private var streams: StreamWriter
    private var buffers: [Int: ArchiveBuffer] = [:]
    private var bufferBytes = 0
    private var waiting: [ArchivedRequest] = []
    private var directory = ArchiveDirectory()
    private var offset = ArchiveFormat.headerBytes
    private var sequence: UInt64 = 1
    private var previousCRC: UInt32 = 0
    private(set) var rowCount = 0
    private(set) var requestCount = 0
    private(set) var earliest = Int64.max

    init(
        _ storage: any LogStorage, name: String, segments: ClosedRange<UInt32>, createdAt: Int64, limits: Limits
    ) throws(LogStorageError) {
        (self.storage, self.name, self.limits) = (storage, name, limits)
        file = try LogFile(storage, name, create: true)
        tables = ArchiveTables(bytesMax: limits.dictionaryBytesMax)
        encoder = BlockEncoder(level: limits.level)
        streams = StreamWriter(level: limits.level)
        try file.write(
            ArchiveFormat.header(first: segments.lowerBound, last: segments.upperBound, createdAt: createdAt), at: 0)
    }

    deinit {
        for buffer in buffers.values { buffer.deallocate() }
        encoder.deallocate()
        streams.deallocate()
    }

    /// Adds a request to the block of its kind.
    ///
    /// - Parameter kind: requests of one kind stand together.
    func append(
        _ source: SourceBlock, request: Int, kind: Int, _ verdicts: ArchiveBuffer.Verdicts
    ) throws {
        if tables.isFull(moreShapes: source.unmappedShapes(tables)) {
            try flushAll()
            tables.startEpoch()
            encoder.startSegment()
        }
        var buffer = buffers.removeValue(forKey: kind) ?? ArchiveBuffer()
        let before = buffer.byteCount
        do {
            try buffer.append(source, request: request, verdicts, tables)
        } catch {
            buffer.deallocate()
            throw error
        }
        bufferBytes += buffer.byteCount - before
        buffers[kind] = buffer
        if buffer.rowCount >= limits.blockRowsMax || buffer.requests.count >= limits.blockRowsMax {
            try flush(kind)
        } else if bufferBytes > limits.bufferBytesMax,
            let largest = buffers.max(by: { $0.value.byteCount < $1.value.byteCount })
        {
            try flush(largest.key)
        }
    }

    /// Writes every block that waits.
    func flushAll() throws(LogStorageError) {
        for kind in buffers.keys.sorted() { try flush(kind) }
    }

    private func flush(_ kind: Int) throws(LogStorageError) {
        guard var buffer = buffers.removeValue(forKey: kind) else { return }
        defer { buffer.deallocate() }
        bufferBytes -= buffer.byteCount
        guard !buffer.requests.isEmpty else { return }
        buffer.content.shard = UInt16(truncatingIfNeeded: tables.epoch)
        tables.bring(&buffer.content)
        var header = buffer.blockHeader
        encoder.encode(buffer.content, requests: buffer.requests, into: &header)
        header.shard = tables.epoch
        header.rawBytes = UInt32(clamping: buffer.rawBytes)
        let number = UInt32(directory.blocks.count)
        try write(&header, meta: encoder.tables.bytes, payload: encoder.payload.bytes)
        directory.blocks.append((offset - Int(header.totalBytes), header))
        rowCount += buffer.rowCount
        requestCount += buffer.requests.count
        earliest = min(earliest, header.earliest)
        try index(buffer.requests, block: number)
    }

    private func index(_ requests: [RequestView], block: UInt32) throws(LogStorageError) {
        for (number, request) in requests.enumerated() {
            guard let origin = request.origin else { continue }
            waiting.append(ArchivedRequest(origin: origin, block: block, number: UInt32(number)))
            if request.rowCount > 0 {
                directory.newest = max(directory.newest, origin.position(request.rowCount - 1))
            }
        }
        if waiting.count >= limits.indexEntriesMax { try writeIndex() }
    }

    private func writeIndex() throws(LogStorageError) {
        waiting.sort(by: ArchivedRequest.precedes)
        var start = 0
        while start < waiting.count {
            let part = waiting[start..<min(waiting.count, start + ArchiveIndexPart.requestsMax)]
            let bytes = ArchiveIndexPart.encode(part, &streams)
            defer { bytes.deallocate() }
            var header = BlockHeader()
            header.kind = .index
            try write(&header, meta: bytes.bytes, payload: nil)
            if let first = part.first, let last = part.last {
                directory.index.append(
                    ArchiveIndexPart(
                        offset: offset - Int(header.totalBytes), first: first.origin, last: last.origin))
            }
            start += part.count
        }
        waiting.removeAll(keepingCapacity: true)
    }

    private func write(
        _ header: inout BlockHeader, meta: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer?
    ) throws(LogStorageError) {
        let count = payload?.count ?? 0
        let used = BlockHeader.byteCount + meta.count + count
        let padding = (BlockHeader.alignment - used % BlockHeader.alignment) % BlockHeader.alignment
        (header.sequence, header.previousCRC) = (sequence, previousCRC)
        (header.metaBytes, header.metaCRC) = (UInt32(meta.count), CRC32C.of(meta))
        (header.payloadBytes, header.totalBytes) = (UInt32(count), UInt32(used + padding))
        var bytes = RawBytes(capacity: used + padding)
        defer { bytes.deallocate() }
        header.encode(into: &bytes)
        if let start = meta.baseAddress { bytes.append(start, meta.count) }
        if let start = payload?.baseAddress { bytes.append(start, count) }
        for _ in 0..<padding { bytes.append(UInt8(0)) }
        try file.write([bytes.bytes], at: offset)
        offset += used + padding
        sequence += 1
        previousCRC = header.crc
    }

    /// Writes what waits, the index and the directory, and syncs; answers the bytes of the file.
    func finish() throws(LogStorageError) -> Int {
        try flushAll()
        try writeIndex()
        var content = RawBytes()
        defer { content.deallocate() }
        directory.encode(into: &content)
        var packed = RawBytes()
        defer { packed.deallocate() }
        streams.append(content.bytes, to: &packed)
        var header = BlockHeader()
        header.kind = .directory
        let place = offset
        try write(&header, meta: packed.bytes, payload: nil)
        try file.write(
            ArchiveFormat.trailer(directoryOffset: place, directoryBytes: offset - place), at: offset)
        try file.sync()
        return offset + ArchiveFormat.trailerBytes
    }
}
