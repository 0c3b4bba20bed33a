extension Replay {
    /// The last segment that a start does not read for de-duplication: whatever is before the newest segments that
    /// fill its window.
    static func lastUnneeded(_ views: LogViews, _ limits: EventLimits) throws -> UInt32 {
        var rows = 0
        for segment in views.directory.segments.reversed() {
            if rows >= limits.dedupIdentifiersMax { return segment.number }
            rows += try views.catalog.segment(segment.number)?.entries.reduce(0) { $0 + $1.rowCount } ?? 0
        }
        return 0
    }
}
