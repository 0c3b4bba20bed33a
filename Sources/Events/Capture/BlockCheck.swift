package import AurumCore

/// Reads bodies as capture does, writes their blocks to a segment and reads every event back: what encoder and decoder
/// owe each other, for fuzzing and property tests. Not thread-safe.
package final class BlockCheck {
    private var tools: ShardTools
    private let buffer = BlockBuffer()
    private var encoder = BlockEncoder(level: 1)
    private let segments: SegmentWriter
    private let catalog: LogCatalog
    private let limits: EventLimits
    private let secret = InstallationSecret([UInt8](repeating: 7, count: InstallationSecret.byteCount))

    package init(_ storage: any LogStorage, limits: EventLimits, clock: any WallClock) throws(LogStorageError) {
        self.limits = limits
        tools = ShardTools(limits: limits)
        let directory = SegmentDirectory()
        segments = try SegmentWriter(storage: storage, directory: directory, limits: limits, clock: clock, tail: nil)
        catalog = LogCatalog(directory: directory)
    }

    deinit {
        tools.deallocate()
        encoder.deallocate()
    }

    /// Adds the events of a body to the open block, or says why the body is refused whole.
    package func append(
        _ body: UnsafeRawBufferPointer, format: WireFormat, receivedAt: Timestamp
    ) -> CaptureError? {
        let request = PendingRequest(
            org: "check", app: "check", currency: "USD", format: format, isHistorical: false,
            receivedAt: receivedAt.microseconds, nonce: 1, bodyBytes: body.count, done: { _ in })
        var reader = BodyReader(
            request: request, keys: secret.keys(org: request.org, app: request.app), limits: limits)
        return reader.read(body, &tools, &buffer.content)
    }

    /// Writes the open block and reads it back: its columns, and the text of every event.
    package func commit() throws -> (block: any ColumnBlock, texts: [[UInt8]])? {
        guard buffer.content.rowCount > 0 else { return nil }
        tools.encoder.close(&buffer.content)
        defer { buffer.content.reset() }
        var header = BlockHeader()
        encoder.encode(buffer.content, into: &header)
        let place = try segments.append(&header, meta: encoder.tables.bytes, payload: encoder.payload.bytes)
        try segments.sync()
        guard let segment = try catalog.segment(place.segment), let view = try segment.view(Int(place.offset)) else {
            throw BlockView.Failure.damaged
        }
        let block = try DecodedBlock(view, catalog: segment, secret: secret)
        return (block, try (0..<block.rowCount).map { try block.raw($0) })
    }
}
