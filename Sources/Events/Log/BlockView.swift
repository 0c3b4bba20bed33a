internal import AurumCore
internal import CZstd

/// A row of a block that was read back.
struct RowView {
    let base: UnsafeRawPointer

    @inline(__always)
    private func load<Word: FixedWidthInteger>(_ offset: Int, as type: Word.Type) -> Word {
        Word(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: type))
    }

    var idHigh: UInt64 { load(RowLayout.idHigh, as: UInt64.self) }
    var idLow: UInt64 { load(RowLayout.idLow, as: UInt64.self) }
    var person: UInt64 { load(RowLayout.person, as: UInt64.self) }
    var trace: UInt64 { load(RowLayout.trace, as: UInt64.self) }
    var time: Int64 { load(RowLayout.time, as: Int64.self) }
    var payloadOffset: Int { Int(load(RowLayout.payloadOffset, as: UInt32.self)) }
    var payloadCount: Int { Int(load(RowLayout.payloadCount, as: UInt32.self)) }
    var name: UInt32 { load(RowLayout.name, as: UInt32.self) }
    var type: UInt8 { load(RowLayout.type, as: UInt8.self) }
    var outcomeCode: UInt8 { load(RowLayout.outcome, as: UInt8.self) }
    var outcome: EventOutcome { EventOutcome(rawValue: outcomeCode) ?? .quarantined }
    var reason: QuarantineReason { QuarantineReason(rawValue: load(RowLayout.reason, as: UInt8.self)) ?? .none }
    var field: EventField { EventField(rawValue: load(RowLayout.field, as: UInt8.self)) ?? .event }
    var flags: UInt16 { load(RowLayout.flags, as: UInt16.self) }
    var request: Int { Int(load(RowLayout.request, as: UInt16.self)) }
}

/// A request as the block's table keeps it.
struct RequestView: Sendable, Equatable {
    var org: String
    var app: String
    var currency: String
    var format: WireFormat
    var isHistorical: Bool
    var firstRow: Int
    var rowCount: Int
    var receivedAt: Int64
    var envelopeSentAt: Int64?
    var nonce: UInt64
    var counts: OutcomeCounts

    init(_ request: PendingRequest) {
        org = request.org
        app = request.app
        currency = request.currency
        format = request.format
        isHistorical = request.isHistorical
        firstRow = request.firstRow
        rowCount = request.rowCount
        receivedAt = request.receivedAt
        envelopeSentAt = request.envelopeSentAt
        nonce = request.nonce
        counts = request.counts
    }

    func encode(into bytes: inout RawBytes) {
        bytes.append(format.rawValue)
        bytes.append(UInt8((isHistorical ? 1 : 0) | (envelopeSentAt == nil ? 0 : 2)))
        for text in [org, app, currency] {
            let utf8 = Array(text.utf8.prefix(Int(UInt16.max)))
            bytes.append(UInt16(utf8.count))
            bytes.append(utf8)
        }
        bytes.append(UInt32(firstRow))
        bytes.append(UInt32(rowCount))
        bytes.append(receivedAt)
        bytes.append(envelopeSentAt ?? 0)
        bytes.append(nonce)
        for outcome in EventOutcome.allCases { bytes.append(UInt32(counts[outcome])) }
    }

    /// Reads one entry and moves `offset` behind it; nil when the bytes end or make no sense.
    init?(_ bytes: UnsafeRawBufferPointer, _ offset: inout Int) {
        var place = offset
        func number<Word: FixedWidthInteger>(_ type: Word.Type) -> Word? {
            guard place + MemoryLayout<Word>.size <= bytes.count else { return nil }
            defer { place += MemoryLayout<Word>.size }
            return Word(littleEndian: bytes.loadUnaligned(fromByteOffset: place, as: type))
        }
        func text() -> String? {
            guard let count = number(UInt16.self), place + Int(count) <= bytes.count else { return nil }
            defer { place += Int(count) }
            return String(decoding: UnsafeRawBufferPointer(rebasing: bytes[place..<place + Int(count)]), as: UTF8.self)
        }
        guard let code = number(UInt8.self), let format = WireFormat(rawValue: code), let flags = number(UInt8.self),
            let org = text(), let app = text(), let currency = text(), let first = number(UInt32.self),
            let count = number(UInt32.self), let receivedAt = number(Int64.self), let sentAt = number(Int64.self),
            let nonce = number(UInt64.self)
        else { return nil }
        var counts = OutcomeCounts()
        for outcome in EventOutcome.allCases {
            guard let value = number(UInt32.self) else { return nil }
            counts[outcome] = Int(value)
        }
        (self.org, self.app, self.currency, self.format) = (org, app, currency, format)
        (isHistorical, envelopeSentAt) = (flags & 1 != 0, flags & 2 != 0 ? sentAt : nil)
        (firstRow, rowCount) = (Int(first), Int(count))
        (self.receivedAt, self.nonce, self.counts) = (receivedAt, nonce, counts)
        offset = place
    }
}

/// A touchpoint candidate as the block's table keeps it.
struct TouchView {
    var row: Int
    var kind: TouchKind
    var trace: UInt64
    /// Hashes of the anonymous, user, device and click identifiers; zero where there is none.
    var persons: (UInt64, UInt64, UInt64, UInt64)

    init?(_ base: UnsafeRawPointer) {
        guard let kind = TouchKind(rawValue: base.loadUnaligned(fromByteOffset: TouchLayout.kind, as: UInt8.self))
        else {
            return nil
        }
        func word(_ offset: Int) -> UInt64 { base.loadUnaligned(fromByteOffset: offset, as: UInt64.self) }
        row = Int(base.loadUnaligned(as: UInt32.self))
        self.kind = kind
        trace = word(TouchLayout.trace)
        persons = (
            word(TouchLayout.anonymous), word(TouchLayout.user), word(TouchLayout.device), word(TouchLayout.click)
        )
    }
}

/// The tables of a block, read and checked. The raw events stay on disk until asked for.
final class BlockView: Sendable {
    enum Failure: Error, Equatable { case damaged, storage(LogStorageError) }

    let segment: UInt32
    let offset: Int
    let header: BlockHeader
    let requests: [RequestView]
    private let file: LogFile
    private let meta: [UInt8]

    /// Reads and checks the tables of the block at `offset`.
    init(_ file: LogFile, segment: UInt32, offset: Int, header: BlockHeader) throws(Failure) {
        (self.file, self.segment, self.offset, self.header) = (file, segment, offset, header)
        do throws(LogStorageError) {
            meta = try file.read(at: offset + BlockHeader.byteCount, count: Int(header.metaBytes))
        } catch {
            throw .storage(error)
        }
        guard meta.count == Int(header.metaBytes), CRC32C.of(meta) == header.metaCRC else { throw .damaged }
        guard header.kind == .rows else {
            requests = []
            return
        }
        var list: [RequestView] = []
        let isWhole = meta.withUnsafeBytes { raw in
            var place = 0
            let table = UnsafeRawBufferPointer(rebasing: raw[0..<Int(header.requestTableBytes)])
            for _ in 0..<header.requestCount {
                guard let request = RequestView(table, &place),
                    request.firstRow + request.rowCount <= Int(header.rowCount)
                else { return false }
                list.append(request)
            }
            return true
        }
        guard isWhole else { throw .damaged }
        requests = list
    }

    var rowCount: Int { Int(header.rowCount) }

    /// The bytes of a totals block.
    var totals: [UInt8] { header.kind == .totals ? meta : [] }

    private var rowsStart: Int { Int(header.requestTableBytes) }
    private var touchesStart: Int { rowsStart + rowCount * RowLayout.byteCount }
    private var chunksStart: Int { touchesStart + Int(header.touchCount) * TouchLayout.byteCount }

    /// Gives the row table to `body`, row by row at its own pace.
    func withRows<Result>(_ body: (UnsafeRawPointer, Int) throws -> Result) rethrows -> Result? {
        guard header.kind == .rows else { return nil }
        return try meta.withUnsafeBytes { raw in
            guard let base = raw.baseAddress else { return nil }
            return try body(base + rowsStart, rowCount)
        }
    }

    func row<Result>(_ index: Int, _ body: (RowView) -> Result) -> Result? {
        withRows { base, count in
            index < count ? body(RowView(base: base + index * RowLayout.byteCount)) : nil
        } ?? nil
    }

    func eachTouch(_ body: (TouchView, RowView) -> Void) {
        guard header.kind == .rows else { return }
        meta.withUnsafeBytes { raw in
            guard let base = raw.baseAddress else { return }
            for index in 0..<Int(header.touchCount) {
                guard let touch = TouchView(base + touchesStart + index * TouchLayout.byteCount), touch.row < rowCount
                else {
                    continue
                }
                body(touch, RowView(base: base + rowsStart + touch.row * RowLayout.byteCount))
            }
        }
    }

    private func chunk(_ index: Int) -> BlockContent.Chunk {
        meta.withUnsafeBytes { raw in
            func word(_ offset: Int) -> UInt32 {
                raw.loadUnaligned(fromByteOffset: chunksStart + index * ChunkLayout.byteCount + offset, as: UInt32.self)
            }
            return BlockContent.Chunk(
                rawOffset: word(ChunkLayout.rawOffset), rawCount: word(ChunkLayout.rawCount),
                offset: word(ChunkLayout.offset), count: word(ChunkLayout.count), crc: word(ChunkLayout.crc),
                codec: word(ChunkLayout.codec))
        }
    }

    /// The number of the chunk that holds the raw byte at `rawOffset`.
    func chunkIndex(of rawOffset: Int) -> Int? {
        var low = 0
        var high = Int(header.chunkCount)
        while low < high {
            let middle = (low + high) / 2
            if Int(chunk(middle).rawOffset) <= rawOffset { low = middle + 1 } else { high = middle }
        }
        return low > 0 ? low - 1 : nil
    }

    /// The raw bytes of a chunk and where they start among the block's, checked against its CRC.
    func inflated(_ index: Int) throws(Failure) -> (start: Int, bytes: [UInt8]) {
        let chunk = chunk(index)
        let packed: [UInt8]
        do throws(LogStorageError) {
            let place = offset + BlockHeader.byteCount + Int(header.metaBytes) + Int(chunk.offset)
            packed = try file.read(at: place, count: Int(chunk.count))
        } catch {
            throw .storage(error)
        }
        guard packed.count == Int(chunk.count), CRC32C.of(packed) == chunk.crc else { throw .damaged }
        if chunk.codec == ChunkLayout.codecStored { return (Int(chunk.rawOffset), packed) }
        let raw = [UInt8](unsafeUninitializedCapacity: Int(chunk.rawCount)) { buffer, filled in
            let count = packed.withUnsafeBytes {
                ZSTD_decompress(buffer.baseAddress, buffer.count, $0.baseAddress, $0.count)
            }
            filled = ZSTD_isError(count) == 0 ? count : 0
        }
        guard raw.count == Int(chunk.rawCount) else { throw .damaged }
        return (Int(chunk.rawOffset), raw)
    }

    /// Whether every chunk passes its CRC.
    func isPayloadWhole() throws(Failure) -> Bool {
        for index in 0..<Int(header.chunkCount) {
            let chunk = chunk(index)
            do throws(LogStorageError) {
                let place = offset + BlockHeader.byteCount + Int(header.metaBytes) + Int(chunk.offset)
                let packed = try file.read(at: place, count: Int(chunk.count))
                guard packed.count == Int(chunk.count), CRC32C.of(packed) == chunk.crc else { return false }
            } catch {
                throw .storage(error)
            }
        }
        return true
    }
}
