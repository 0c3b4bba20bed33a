extension BlockEventStore: ColumnSource {
    package func segments() throws -> [ColumnSegment] { try catalog.columns(secret) }
}

extension LogReader: ColumnSource {
    package func segments() throws -> [ColumnSegment] { try catalog.columns(secret) }

    /// The bytes of the event of a row of one of `segments`, as they came; nil for a block from elsewhere.
    package func raw(_ block: any ColumnBlock, _ row: Int) throws -> [UInt8]? {
        try (block as? DecodedBlock)?.raw(row)
    }
}

extension LogCatalog {
    /// Every segment as queries read it.
    fileprivate func columns(_ secret: InstallationSecret) throws -> [ColumnSegment] {
        let last = lastNumber
        return try all().map { segment in
            let entries = segment.entries
            let summaries = try entries.map { entry in
                BlockSummary(
                    rowCount: entry.rowCount, earliest: entry.earliest, latest: entry.latest,
                    sources: try segment.sources(of: entry))
            }
            return ColumnSegment(
                identity: UInt64(segment.number), isSealed: segment.number != last, blocks: summaries,
                read: { index in
                    guard let view = try segment.view(entries[index].offset) else { return nil }
                    return try DecodedBlock(view, catalog: segment, secret: secret)
                })
        }
    }
}
