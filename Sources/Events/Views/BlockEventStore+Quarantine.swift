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
    /// read further than their header and requests.
    func eachQuarantined(_ span: QuarantineSpan, _ body: (QuarantinedRow) throws -> Bool) throws {
        try eachRefusal(newestFirst: span.newestFirst, from: span.from, to: span.to) { block, row in
            guard let found = try quarantined(block, row, span) else { return true }
            return try body(found)
        }
    }

    /// Calls `body` with every quarantined row of blocks that may hold a time in `from`…`to`.
    private func eachRefusal(
        newestFirst: Bool, from: Int64, to: Int64, _ body: (DecodedBlock, Int) throws -> Bool
    ) throws {
        let refused = EventOutcome.quarantined.rawValue
        let segments = try catalog.all()
        for segment in newestFirst ? segments.reversed() : segments {
            let entries = segment.entries
            for entry in newestFirst ? entries.reversed() : entries where entry.latest >= from && entry.earliest <= to {
                guard let view = try segment.view(entry.offset),
                    view.requests.contains(where: { $0.counts.quarantined > 0 })
                else { continue }
                let block = try DecodedBlock(view, catalog: segment, secret: secret)
                let outcomes = try block.outcomes()
                let rows = outcomes.indices.filter { outcomes[$0] == refused }
                for row in newestFirst ? rows.reversed() : rows {
                    guard try body(block, row) else { return }
                }
            }
        }
    }

    private func quarantined(_ block: DecodedBlock, _ row: Int, _ span: QuarantineSpan) throws -> QuarantinedRow? {
        guard let number = block.view.request(of: row) else { return nil }
        let request = block.view.requests[number]
        guard request.org == span.org, span.app == nil || request.app == span.app, request.receivedAt >= span.from,
            request.receivedAt <= span.to
        else { return nil }
        let (reason, field) = try block.exception(row)
        return QuarantinedRow(
            position: block.position(row), receipt: receiptText(block.view, number), index: row - request.firstRow,
            request: request, reason: reason, field: field, text: try block.raw(row))
    }

    /// Bytes of the quarantined events received since `from`, of all organisations.
    func quarantinedBytes(from: Int64) throws -> Int {
        var bytes = 0
        try eachRefusal(newestFirst: true, from: from, to: .max) { block, row in
            bytes += try block.raw(row).count
            return true
        }
        return bytes
    }

    /// The event at a place; nil when none stands there.
    func event(at position: LogPosition) throws -> StoredEvent? {
        guard let segment = try catalog.segment(position.segment), let view = try segment.view(Int(position.offset)),
            Int(position.row) < view.rowCount
        else { return nil }
        return try DecodedBlock(view, catalog: segment, secret: secret).event(Int(position.row))
    }
}
