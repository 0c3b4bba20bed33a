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
                let sources = try segment.sources(of: entry)
                // What has wholly expired is not looked at any more.
                let isGone = segment.visibility?.isExpired(sources, latest: entry.latestKept) ?? false
                return BlockSummary(
                    rowCount: isGone ? 0 : entry.rowCount, earliest: entry.earliest, latest: entry.latest,
                    sources: sources)
            }
            let secret = secret
            let identity = segment.identity(summaries)
            var made = ColumnSegment(
                identity: identity, isSealed: segment.archive != nil || segment.number != last,
                blocks: summaries,
                read: { index in
                    guard let view = try segment.view(entries[index].offset) else { return nil }
                    return try DecodedBlock(view, catalog: segment, secret: secret)
                })
            if let archive = segment.archive {
                made.newest = archive.directory.newest
                made.inLogOrder = { filter in try segment.inLogOrder(filter, secret, identity: identity) }
            }
            return made
        }
    }
}

extension SegmentCatalog {
    /// Changes with the file, and whenever something in it vanishes.
    fileprivate func identity(_ blocks: [BlockSummary]) -> UInt64 {
        let stamp = visibility?.stamp(blocks) ?? 0
        guard let archive else { return UInt64(number) | (stamp & 0x7fff_ffff) << 32 }
        return 1 << 63 | (archive.entry.sequence &* 0x9E37_79B9_7F4A_7C15 ^ stamp &* 0xD6E8_FEB8_6659_FD93) >> 1
    }
}
