package import AurumCore

/// Holds bodies against the contract without storing anything: for benchmarks, fuzzing and dry runs.
///
/// Does exactly what capture does up to the block, in the memory of one shard. Not thread-safe.
package final class ContractChecker {
    /// What the contract says of one event. `fields` is nil when it was refused.
    package struct Verdict: Equatable, Sendable {
        package var outcome: EventOutcome
        package var reason: String
        package var field: String
        package var id: String?
        package var type: EventType?
        package var at: Timestamp
    }

    private var tools: ShardTools
    private let block = BlockBuffer()
    private var encoder: BlockEncoder
    private let limits: EventLimits
    private let keys = InstallationSecret([UInt8](repeating: 7, count: InstallationSecret.byteCount))
        .keys(org: "check", app: "check")

    /// - Parameter isLearning: without it every event is read by the full parser, as if its form was never seen.
    package init(limits: EventLimits = EventLimits(), compressionLevel: Int = 1, isLearning: Bool = true) {
        self.limits = limits
        tools = ShardTools(limits: limits, isLearning: isLearning)
        encoder = BlockEncoder(level: Int32(compressionLevel))
    }

    deinit {
        tools.deallocate()
        encoder.deallocate()
    }

    /// One verdict an event, in the order of the body; duplicates are not looked for.
    package func verdicts(
        _ body: UnsafeRawBufferPointer, format: WireFormat, receivedAt: Timestamp
    ) -> Result<[Verdict], CaptureError> {
        block.content.reset()
        if let error = read(body, format, receivedAt) { return .failure(error) }
        let content = block.content
        return .success(
            (0..<content.rowCount).map { index in
                let outcome = EventOutcome(rawValue: content.outcome(index)) ?? .quarantined
                let (reason, field) = content.exception(index)
                return Verdict(
                    outcome: outcome, reason: reason.tag, field: outcome == .quarantined ? field.path : "",
                    id: content.identifier(index),
                    type: outcome == .quarantined ? nil : EventType(rawValue: content.type(index)),
                    at: Timestamp(microseconds: content.time(index)))
            })
    }

    /// Parses and concludes every line; answers how many the contract accepts. The body must end in a line end that is
    /// followed by 64 readable bytes.
    package func parseLines(_ body: UnsafeRawBufferPointer, receivedAt: Timestamp) -> Int {
        guard let start = body.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return 0 }
        let rules = ContractRules(receivedAt: receivedAt.microseconds)
        let end = start + body.count
        var line = start
        var accepted = 0
        guard ByteScan.isASCII(start, body.count) else { return 0 }
        while line < end {
            guard let (close, _) = tools.parse(line, base: start), close.pointee == 0x0a else {
                break
            }
            if tools.parser.conclude(rules) { accepted &+= 1 }
            line = close + 1
        }
        return accepted
    }

    /// Parses a body into the open block, as capture does; answers the rows so far.
    package func append(_ body: UnsafeRawBufferPointer, format: WireFormat, receivedAt: Timestamp) -> Int {
        _ = read(body, format, receivedAt)
        return block.content.rowCount
    }

    /// Packs the block, answers the bytes it takes in the log, and starts the next.
    package func seal() -> Int {
        tools.encoder.close(&block.content)
        var header = BlockHeader()
        encoder.encode(block.content, into: &header)
        block.content.reset()
        return BlockHeader.byteCount + encoder.tables.count + encoder.payload.count
    }

    private func read(_ body: UnsafeRawBufferPointer, _ format: WireFormat, _ receivedAt: Timestamp) -> CaptureError? {
        let request = PendingRequest(
            org: "check", app: "check", currency: "USD", format: format, isHistorical: false,
            receivedAt: receivedAt.microseconds, nonce: 1, bodyBytes: body.count, done: { _ in })
        var reader = BodyReader(request: request, keys: keys, limits: limits)
        return reader.read(body, &tools, &block.content)
    }
}
