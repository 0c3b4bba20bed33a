/// Packs a filled block into the parts of its payload. One a writer thread; freed by its owner.
struct BlockEncoder {
    private var streams: StreamWriter
    private var words = RawBytes(capacity: 64 << 10)
    private(set) var payload = RawBytes(capacity: 1 << 20)
    private(set) var parts: [PartEntry] = []
    /// Request table and part directory.
    private(set) var tables = RawBytes(capacity: 16 << 10)
    private var requests = RawBytes()
    /// What the last block of each shard brought new: the next one repeats it, so that the loss of one block never
    /// makes another unreadable.
    private var repeated: [UInt16: [(part: PartEntry, bytes: [UInt8])]] = [:]

    init(level: Int32) { streams = StreamWriter(level: level) }

    func deallocate() {
        streams.deallocate()
        words.deallocate()
        payload.deallocate()
        tables.deallocate()
        requests.deallocate()
    }

    /// Starts another segment.
    mutating func startSegment() { repeated.removeAll() }

    /// Packs the block; `payload` and `parts` hold the result until the next call.
    mutating func encode(_ block: BlockContent) {
        payload.reset(keeping: 4 << 20)
        parts.removeAll(keepingCapacity: true)
        if block.newColumns.count > 0 { bytes(block.newColumns, .newColumns) }
        if block.newShapes.count > 0 { shapes(block) }
        part(.shapes) { encoder in
            encoder.streams.append(
                planesOf: UnsafeRawBufferPointer(block.shapes.bytes).bindMemory(to: UInt16.self),
                to: &encoder.payload)
        }
        times(block)
        bytes(block.outcomes, .outcomes)
        bytes(block.flags, .flags)
        if block.exceptions.count > 0 { bytes(block.exceptions, .exceptions) }
        if block.touches.count > 0 { bytes(block.touches, .touches) }
        for index in 0..<block.columnCount { column(UInt16(index), block.column(index).pointee) }
        repeatLast(of: block.shard)
    }

    private mutating func repeatLast(of shard: UInt16) {
        let news: [UInt8] = [PartRole.newShapes, .newColumns, .entries].map(\.rawValue)
        let own = parts.filter { news.contains($0.role) }.map { part in
            (part, Array(payload.bytes[Int(part.offset)..<Int(part.offset) + Int(part.count)]))
        }
        for (part, bytes) in repeated[shard] ?? [] {
            var copy = part
            copy.role |= PartRole.repeatedBit
            copy.offset = UInt32(payload.count)
            payload.append(bytes)
            parts.append(copy)
        }
        repeated[shard] = own.map { (part: $0.0, bytes: $0.1) }
    }

    /// Packs the block and its tables, and says so in the header.
    mutating func encode(_ block: BlockContent, into header: inout BlockHeader) {
        encode(block, requests: block.requests.map { RequestView($0) }, into: &header)
    }

    /// The same with requests that say more than a waiting one does.
    mutating func encode(_ block: BlockContent, requests views: [RequestView], into header: inout BlockHeader) {
        encode(block)
        requests.truncate(to: 0)
        for request in views { request.encode(into: &requests) }
        tables.reset(keeping: 256 << 10)
        streams.append(requests.bytes, to: &tables)
        header.requestTableBytes = UInt32(tables.count)
        for part in parts { part.encode(into: &tables) }
        header.shard = UInt32(block.shard)
        header.rowCount = UInt32(block.rowCount)
        header.requestCount = UInt32(views.count)
        header.partCount = UInt32(parts.count)
        header.metaBytes = UInt32(tables.count)
        header.metaCRC = CRC32C.of(tables.bytes)
        header.payloadBytes = UInt32(payload.count)
        header.rawBytes = UInt32(truncatingIfNeeded: block.rawBytes)
        let news: [UInt8] = [PartRole.newShapes, .newColumns, .entries].map(\.rawValue)
        header.bringsNew = parts.contains { news.contains($0.role & ~PartRole.repeatedBit) }
        header.sources = Self.sources(views)
    }

    /// A hash of the set of organisations and apps.
    private static func sources(_ requests: [RequestView]) -> UInt64 {
        var seen: Set<String> = []
        for request in requests { seen.insert(request.org + "\0" + request.app) }
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for name in seen.sorted() {
            for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01B3 }
            hash = (hash ^ 0xff) &* 0x0000_0100_0000_01B3
        }
        return hash
    }

    /// No block takes more than this, what it repeats of the one before it left out.
    static func bytesAtMost(_ block: BlockContent) -> Int {
        let names = block.requests.reduce(0) {
            $0 + $1.org.utf8.count + $1.app.utf8.count + $1.currency.utf8.count + 96
        }
        let columns = (0..<block.columnCount).reduce(0) { sum, index in
            let values = block.column(index).pointee
            return sum + values.main.count + values.fractions.count + values.entries.count + values.uuids.count + 200
        }
        let rows = block.rowCount * 16 + block.exceptions.count + block.touches.count
        return BlockHeader.byteCount + names + columns + rows + block.newShapes.count + block.newColumns.count + 1024
    }

    /// Bytes that the next blocks repeat.
    var repeatedBytes: Int {
        repeated.values.reduce(0) { $0 + $1.reduce(0) { $0 + $1.bytes.count + PartEntry.byteCount } }
    }

    private mutating func part(_ role: PartRole, column: UInt16 = 0, _ body: (inout BlockEncoder) -> Void) {
        let start = payload.count
        body(&self)
        let added = UnsafeRawBufferPointer(rebasing: payload.bytes[start...])
        parts.append(
            PartEntry(
                column: column, role: role.rawValue, offset: UInt32(start), count: UInt32(added.count),
                crc: CRC32C.of(added)))
    }

    private mutating func bytes(_ run: RawBytes, _ role: PartRole) {
        part(role) { $0.streams.append(run.bytes, to: &$0.payload) }
    }

    private mutating func shapes(_ block: BlockContent) {
        part(.newShapes) { encoder in
            encoder.payload.append(UInt32(block.firstShape))
            encoder.streams.append(block.newShapes.bytes, to: &encoder.payload)
        }
    }

    /// Differences from row to row, in milliseconds where all are whole.
    private mutating func times(_ block: BlockContent) {
        let count = block.rowCount
        let times = UnsafeRawBufferPointer(block.times.bytes).bindMemory(to: Int64.self)
        var areMillis = true
        for index in 0..<count where times[index] % 1000 != 0 {
            areMillis = false
            break
        }
        let unit: Int64 = areMillis ? 1000 : 1
        words.truncate(to: 0)
        words.reserve(count * 8)
        let target = words.base.assumingMemoryBound(to: UInt64.self)
        var previous: Int64 = 0
        if count > 0 { previous = times[0] / unit }
        let first = previous
        for index in 0..<count {
            let time = areMillis ? times[index] / 1000 : times[index]
            target[index] = ZigZag.encode(time &- previous)
            previous = time
        }
        part(.times) { encoder in
            encoder.payload.append(UInt8(areMillis ? 1 : 0))
            encoder.payload.append(first)
            encoder.streams.append(planesOf: UnsafeBufferPointer(start: target, count: count), to: &encoder.payload)
        }
    }

    private mutating func column(_ index: UInt16, _ values: ColumnValues) {
        if values.entryCount > 0 {
            part(.entries, column: index) { encoder in
                encoder.payload.append(UInt32(values.firstEntry))
                encoder.payload.append(UInt32(values.entryCount))
                encoder.streams.append(values.entries.bytes, to: &encoder.payload)
                encoder.streams.append(values.uuids.bytes, to: &encoder.payload, isRandom: true)
            }
        }
        guard values.count > 0 else { return }
        if values.isPlain {
            part(.plain, column: index) { encoder in
                encoder.payload.append(UInt32(values.count))
                encoder.streams.append(values.main.bytes, to: &encoder.payload)
            }
            return
        }
        part(.values, column: index) { encoder in
            encoder.payload.append(UInt32(values.count))
            encoder.values(values)
        }
    }

    private mutating func values(_ values: ColumnValues) {
        let width = values.main.count / values.count
        switch width {
        case 4:
            streams.append(
                planesOf: UnsafeRawBufferPointer(values.main.bytes).bindMemory(to: UInt32.self), to: &payload)
        case 16: streams.append(values.main.bytes, to: &payload, isRandom: true)
        default:
            let numbers = UnsafeRawBufferPointer(values.main.bytes).bindMemory(to: Int64.self)
            words.truncate(to: 0)
            words.reserve(values.count * 8)
            let target = words.base.assumingMemoryBound(to: UInt64.self)
            for index in 0..<values.count { target[index] = ZigZag.encode(numbers[index]) }
            streams.append(planesOf: UnsafeBufferPointer(start: target, count: values.count), to: &payload)
            streams.append(values.fractions.bytes, to: &payload)
        }
    }
}
