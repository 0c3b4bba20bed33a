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
        try eachRefusal(of: span.org, newestFirst: span.newestFirst, from: span.from, to: span.to) { block, row in
            guard let found = try BlockView.readable({ try quarantined(block, row, span) }) else { return true }
            return try body(found)
        }
    }

    /// Calls `body` with every quarantined row of blocks that may hold a time in `from`…`to` and hold refusals of an
    /// organisation, or of any. Blocks that are damaged are left out.
    private func eachRefusal(
        of org: String?, newestFirst: Bool, from: Int64, to: Int64, after: UInt32 = 0,
        _ body: (DecodedBlock, Int) throws -> Bool
    ) throws {
        let refused = EventOutcome.quarantined.rawValue
        let segments = try catalog.all(after: after)
        for segment in newestFirst ? segments.reversed() : segments {
            if segment.archive != nil {
                guard try eachRefusal(of: segment, org, newestFirst, from, to, body) else { return }
                continue
            }
            let entries = segment.entries
            for entry in newestFirst ? entries.reversed() : entries where entry.latest >= from && entry.earliest <= to {
                guard let (block, outcomes) = try refusing(entry.offset, segment, org) else { continue }
                let rows = outcomes.indices.filter { outcomes[$0] == refused }
                for row in newestFirst ? rows.reversed() : rows {
                    guard try body(block, row) else { return }
                }
            }
        }
    }

    /// The rows of an archive in the order of the log; false when `body` has seen enough.
    private func eachRefusal(
        of segment: SegmentCatalog, _ org: String?, _ newestFirst: Bool, _ from: Int64, _ to: Int64,
        _ body: (DecodedBlock, Int) throws -> Bool
    ) throws -> Bool {
        var places: [(position: LogPosition, block: Int, row: Int)] = []
        for (number, entry) in segment.entries.enumerated() where entry.latest >= from && entry.earliest <= to {
            guard let (block, outcomes) = try refusing(entry.offset, segment, org) else { continue }
            for row in outcomes.indices where outcomes[row] == EventOutcome.quarantined.rawValue {
                places.append((block.position(row), number, row))
            }
        }
        places.sort { $0.position < $1.position }
        let kept = ArchiveBlocks(segment, secret)
        for place in newestFirst ? places.reversed() : places {
            guard let block = try kept.block(place.block)?.block else { continue }
            guard try body(block, place.row) else { return false }
        }
        return true
    }

    /// A block and its outcomes, when some of an organisation's rows in it were refused and it can be read.
    private func refusing(
        _ offset: Int, _ segment: SegmentCatalog, _ org: String?
    ) throws -> (DecodedBlock, outcomes: [UInt8])? {
        try BlockView.readable {
            guard let view = try segment.view(offset),
                view.requests.contains(where: { $0.counts.quarantined > 0 && (org == nil || $0.org == org) })
            else { return nil }
            let block = try DecodedBlock(view, catalog: segment, secret: secret)
            return (block, try block.outcomes())
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
    /// - Parameters:
    ///   - after: only events of later segments than this one.
    ///   - left: the places by receipt of those that were replayed or deleted: they stay in the log and count no more.
    /// - Returns: of all, of those in sealed segments, and the last of these.
    func quarantinedBytes(
        from: Int64, after: UInt32 = 0, left: [String: Set<Int>]
    ) throws -> (all: Int, sealed: Int, through: UInt32) {
        let through = (catalog.lastNumber ?? 1) - 1
        var (all, sealed) = (0, 0)
        try eachRefusal(of: nil, newestFirst: true, from: from, to: .max, after: after) { block, row in
            let segment = block.position(row).segment
            guard segment > after else { return true }
            let bytes = try BlockView.readable { try quarantinedBytes(block, row, from, left) } ?? 0
            all += bytes
            if segment <= through { sealed += bytes }
            return true
        }
        return (all, sealed, through)
    }

    private func quarantinedBytes(
        _ block: DecodedBlock, _ row: Int, _ from: Int64, _ left: [String: Set<Int>]
    ) throws -> Int {
        guard let number = block.view.request(of: row), block.view.requests[number].receivedAt >= from else { return 0 }
        if !left.isEmpty, let places = left[receiptText(block.view, number)],
            places.contains(row - block.view.requests[number].firstRow)
        {
            return 0
        }
        return try block.raw(row).count
    }

    /// The event at a place; nil when none stands there.
    func event(at position: LogPosition) throws -> StoredEvent? {
        guard let found = try catalog.row(at: position) else { return nil }
        return try DecodedBlock(found.view, catalog: found.catalog, secret: secret).event(found.row)
    }
}
