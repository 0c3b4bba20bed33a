extension BlockEventStore: ColumnSource {
    package func segments() throws -> [ColumnSegment] {
        let last = catalog.lastNumber
        return try catalog.all().map { segment in
            let entries = segment.entries
            let summaries = try entries.map { entry in
                BlockSummary(
                    rowCount: entry.rowCount, earliest: entry.earliest, latest: entry.latest,
                    sources: try segment.sources(of: entry))
            }
            let secret = secret
            return ColumnSegment(
                identity: UInt64(segment.number), isSealed: segment.number != last, blocks: summaries,
                read: { index in
                    guard let view = try segment.view(entries[index].offset) else { return nil }
                    return try DecodedBlock(view, catalog: segment, secret: secret)
                })
        }
    }
}
