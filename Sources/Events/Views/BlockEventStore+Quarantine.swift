internal import AurumCore

/// A quarantined event as the log keeps it.
struct QuarantinedRow: Sendable {
    var position: LogPosition
    var receipt: String
    /// Place in its request, from 0.
    var index: Int
    var request: RequestView
    var reason: QuarantineReason
    var field: EventField
    /// The text in the log, sealed or not.
    var text: [UInt8]
}

/// Which quarantined rows to read.
struct QuarantineSpan: Sendable {
    var org: String
    var app: String?
    /// By the time of receipt, both ends included, microseconds since 1970.
    var from = Int64.min
    var to = Int64.max
    var newestFirst = false
}

/// Reading what was quarantined.
extension BlockEventStore {
    /// Calls `body` with each quarantined row of an organisation until it answers false. Blocks without one are not
    /// read.
    func eachQuarantined(_ span: QuarantineSpan, _ body: (QuarantinedRow) throws -> Bool) throws {
        try scan.blocks(newestFirst: span.newestFirst, from: span.from, to: span.to) { block in
            guard block.header.outcomes.2 > 0 else { return .goOn }
            let reader = PayloadReader(block)
            let rows = 0..<block.rowCount
            for row in span.newestFirst ? Array(rows.reversed()) : Array(rows) {
                guard let found = try quarantined(block, row, span, reader) else { continue }
                if try !body(found) { return .stop }
            }
            return .goOn
        }
    }

    private func quarantined(
        _ block: BlockView, _ row: Int, _ span: QuarantineSpan, _ reader: PayloadReader
    ) throws -> QuarantinedRow? {
        let facts = block.row(row) { ($0.outcome, $0.request, $0.reason, $0.field) }
        guard let (outcome, number, reason, field) = facts, outcome == .quarantined,
            block.requests.indices.contains(number)
        else { return nil }
        let request = block.requests[number]
        guard request.org == span.org, span.app == nil || request.app == span.app, request.receivedAt >= span.from,
            request.receivedAt <= span.to
        else { return nil }
        return QuarantinedRow(
            position: LogPosition(segment: block.segment, offset: UInt32(block.offset), row: UInt32(row)),
            receipt: receiptText(block, number), index: row - request.firstRow, request: request, reason: reason,
            field: field, text: Array(try reader.raw(row)))
    }

    /// Bytes of the quarantined events received since `from`, of all organisations.
    func quarantinedBytes(from: Int64) throws -> Int {
        var bytes = 0
        try scan.blocks(newestFirst: true, from: from) { block in
            guard block.header.outcomes.2 > 0 else { return .goOn }
            for row in 0..<block.rowCount {
                bytes += block.row(row) { $0.outcome == .quarantined ? $0.payloadCount : 0 } ?? 0
            }
            return .goOn
        }
        return bytes
    }

    /// The event at a place; nil when none stands there.
    func event(at position: LogPosition) throws -> StoredEvent? {
        guard let block = try scan.block(segment: position.segment, offset: Int(position.offset)) else { return nil }
        let row = Int(position.row)
        return EventDecoder(secret: secret).event(try PayloadReader(block).raw(row), row: row, block: block)
    }
}
