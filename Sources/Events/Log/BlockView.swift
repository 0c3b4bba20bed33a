internal import AurumCore

/// A request as the block's table keeps it.
struct RequestView: Sendable, Equatable {
    var org: String
    var app: String
    var currency: String
    var format: WireFormat
    var isHistorical: Bool
    var isReplay: Bool
    var firstRow: Int
    var rowCount: Int
    var receivedAt: Int64
    var envelopeSentAt: Int64?
    var nonce: UInt64
    var counts: OutcomeCounts
    /// Where it stood when it was committed; nil where that is here.
    var origin: RequestOrigin?

    init(_ request: PendingRequest) {
        org = request.org
        app = request.app
        currency = request.currency
        format = request.format
        isHistorical = request.isHistorical
        isReplay = request.isReplay
        firstRow = request.firstRow
        rowCount = request.rowCount
        receivedAt = request.receivedAt
        envelopeSentAt = request.envelopeSentAt
        nonce = request.nonce
        counts = request.counts
    }

    func encode(into bytes: inout RawBytes) {
        bytes.append(format.rawValue)
        bytes.append(UInt8((isHistorical ? 1 : 0) | (envelopeSentAt == nil ? 0 : 2) | (isReplay ? 4 : 0)))
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
        origin?.encode(into: &bytes)
    }

    /// Reads one entry; nil when the bytes end or make no sense.
    init?(_ reader: inout StreamReader, hasOrigin: Bool = false) {
        func text(_ reader: inout StreamReader) -> String? {
            guard let count = reader.word(UInt16.self), let bytes = reader.slice(Int(count)) else { return nil }
            return String(decoding: bytes, as: UTF8.self)
        }
        guard let code = reader.byte(), let format = WireFormat(rawValue: code), let flags = reader.byte(),
            let org = text(&reader), let app = text(&reader), let currency = text(&reader),
            let first = reader.word(UInt32.self), let count = reader.word(UInt32.self),
            let receivedAt = reader.word(Int64.self), let sentAt = reader.word(Int64.self),
            let nonce = reader.word(UInt64.self)
        else { return nil }
        var counts = OutcomeCounts()
        for outcome in EventOutcome.allCases {
            guard let value = reader.word(UInt32.self) else { return nil }
            counts[outcome] = Int(value)
        }
        (self.org, self.app, self.currency, self.format) = (org, app, currency, format)
        (isHistorical, isReplay, envelopeSentAt) = (flags & 1 != 0, flags & 4 != 0, flags & 2 != 0 ? sentAt : nil)
        (firstRow, rowCount) = (Int(first), Int(count))
        (self.receivedAt, self.nonce, self.counts) = (receivedAt, nonce, counts)
        if hasOrigin {
            guard let origin = RequestOrigin(&reader) else { return nil }
            self.origin = origin
        }
    }
}

/// A touchpoint candidate of a block that was just written.
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

extension TouchView {
    /// The hashes under which it is found; zero is none.
    var keys: TouchKeys { [trace, persons.0, persons.1, persons.2, persons.3] }
}

/// The tables of a block, read and checked. Its parts stay on disk until asked for.
final class BlockView: Sendable {
    enum Failure: Error, Equatable { case damaged, storage(LogStorageError) }

    let segment: UInt32
    let offset: Int
    let header: BlockHeader
    let requests: [RequestView]
    let parts: [PartEntry]
    private let file: LogFile
    /// The bytes of a totals block.
    let totals: [UInt8]

    /// Reads and checks the tables of the block at `offset`.
    init(_ file: LogFile, segment: UInt32, offset: Int, header: BlockHeader) throws(Failure) {
        (self.file, self.segment, self.offset, self.header) = (file, segment, offset, header)
        let meta: [UInt8]
        do throws(LogStorageError) {
            meta = try file.read(at: offset + BlockHeader.byteCount, count: Int(header.metaBytes))
        } catch {
            throw .storage(error)
        }
        guard meta.count == Int(header.metaBytes), CRC32C.of(meta) == header.metaCRC else { throw .damaged }
        guard header.kind.hasRows else {
            (requests, parts, totals) = ([], [], meta)
            return
        }
        totals = []
        let tables = meta.withUnsafeBytes { raw -> ([RequestView], [PartEntry])? in
            var reader = StreamReader(raw)
            guard let table = reader.bytesOfRun(), reader.offset == Int(header.requestTableBytes) else { return nil }
            let requests = table.withUnsafeBytes { Self.requests($0, header) }
            guard let requests else { return nil }
            let parts = (0..<Int(header.partCount)).map { index in
                PartEntry(raw, at: Int(header.requestTableBytes) + index * PartEntry.byteCount)
            }
            let isInside = parts.allSatisfy { UInt64($0.offset) + UInt64($0.count) <= UInt64(header.payloadBytes) }
            return isInside ? (requests, parts) : nil
        }
        guard let tables else { throw .damaged }
        (requests, parts) = tables
    }

    private static func requests(_ bytes: UnsafeRawBufferPointer, _ header: BlockHeader) -> [RequestView]? {
        var reader = StreamReader(bytes)
        var list: [RequestView] = []
        for _ in 0..<header.requestCount {
            guard let request = RequestView(&reader, hasOrigin: header.kind == .archived),
                request.firstRow + request.rowCount <= Int(header.rowCount)
            else { return nil }
            list.append(request)
        }
        return list
    }

    var rowCount: Int { Int(header.rowCount) }

    func position(_ row: Int) -> LogPosition {
        if let number = request(of: row), let origin = requests[number].origin {
            return origin.position(row - requests[number].firstRow)
        }
        return LogPosition(segment: segment, offset: UInt32(offset), row: UInt32(row))
    }

    /// Where a request stood when it was committed.
    func origin(_ request: Int) -> RequestOrigin {
        requests[request].origin
            ?? RequestOrigin(
                segment: segment, offset: UInt32(offset), request: UInt16(truncatingIfNeeded: request),
                firstRow: UInt32(requests[request].firstRow))
    }

    /// The number of the request that brought a row.
    func request(of row: Int) -> Int? {
        var low = 0
        var high = requests.count
        while low < high {
            let middle = (low + high) / 2
            if requests[middle].firstRow + requests[middle].rowCount <= row { low = middle + 1 } else { high = middle }
        }
        return low < requests.count && requests[low].firstRow <= row ? low : nil
    }

    func part(_ role: PartRole, column: UInt16 = 0, isRepeated: Bool = false) -> PartEntry? {
        let code = role.rawValue | (isRepeated ? PartRole.repeatedBit : 0)
        return parts.first { $0.role == code && $0.column == column }
    }

    /// The bytes of a part, checked.
    func bytes(_ part: PartEntry) throws(Failure) -> [UInt8] {
        let bytes: [UInt8]
        do throws(LogStorageError) {
            let start = offset + BlockHeader.byteCount + Int(header.metaBytes)
            bytes = try file.read(at: start + Int(part.offset), count: Int(part.count))
        } catch {
            throw .storage(error)
        }
        guard bytes.count == Int(part.count), CRC32C.of(bytes) == part.crc else { throw .damaged }
        return bytes
    }

    /// Gives the bytes of a part to `body`; nil from it means damage.
    func read<Value>(
        _ role: PartRole, column: UInt16 = 0, isRepeated: Bool = false, _ body: (inout StreamReader) -> Value?
    ) throws(Failure) -> Value? {
        guard let part = part(role, column: column, isRepeated: isRepeated) else { return nil }
        let bytes = try bytes(part)
        let value = bytes.withUnsafeBytes { raw in
            var reader = StreamReader(raw)
            return body(&reader)
        }
        guard let value else { throw .damaged }
        return value
    }

    /// Whether every part passes its CRC.
    func isPayloadWhole() throws(Failure) -> Bool {
        for part in parts {
            do throws(Failure) {
                _ = try bytes(part)
            } catch {
                if error == .damaged { return false }
                throw error
            }
        }
        return true
    }
}
