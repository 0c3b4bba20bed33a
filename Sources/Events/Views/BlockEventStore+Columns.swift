extension BlockEventStore: ColumnSource {
    package func segments() throws -> [ColumnSegment] {
        try scan.everyBlock().map { segment in
            let summaries = segment.blocks.map { block in
                var sources: [CaptureSource] = []
                for request in block.requests {
                    let source = CaptureSource(org: request.org, app: request.app)
                    if !sources.contains(source) { sources.append(source) }
                }
                return BlockSummary(
                    rowCount: block.rowCount, earliest: block.header.earliest, latest: block.header.latest,
                    sources: sources)
            }
            let blocks = segment.blocks
            return ColumnSegment(
                identity: UInt64(segment.number), isSealed: segment.isSealed, blocks: summaries,
                read: { [self] index in try columns(blocks[index]) })
        }
    }

    private func columns(_ block: BlockView) throws -> any ColumnBlock {
        let decoder = EventDecoder(secret: secret)
        let reader = PayloadReader(block)
        var events: [StoredEvent?] = []
        var rows: [EventListBlock.Row] = []
        for index in 0..<block.rowCount {
            guard let (time, outcome) = block.row(index, { ($0.time, $0.outcome) }) else { continue }
            let position = LogPosition(segment: block.segment, offset: UInt32(block.offset), row: UInt32(index))
            rows.append(EventListBlock.Row(position: position, time: time, outcome: outcome))
            events.append(
                outcome == .quarantined ? nil : decoder.event(try reader.raw(index), row: index, block: block))
        }
        let requests = block.requests.map {
            RequestSpan(
                org: $0.org, app: $0.app, format: $0.format.label, receivedAt: $0.receivedAt, firstRow: $0.firstRow,
                rowCount: $0.rowCount)
        }
        let secret = secret
        return EventListBlock(events, rows: rows, requests: requests) { org, identifier in
            secret.keys(org: org, app: "").person(identifier).high
        }
    }
}
