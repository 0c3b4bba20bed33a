extension Replay {
    /// The last segment that a start does not read for de-duplication: whatever is before the newest segments that
    /// fill its window.
    static func lastUnneeded(_ catalog: LogCatalog, _ limits: EventLimits) throws -> UInt32 {
        var rows = 0
        for segment in try catalog.all().reversed() where segment.archive == nil {
            if rows >= limits.dedupIdentifiersMax { return segment.number }
            rows += segment.entries.reduce(0) { $0 + $1.rowCount }
        }
        return 0
    }
}
