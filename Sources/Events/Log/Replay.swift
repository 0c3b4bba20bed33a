internal import AurumCore

/// Rebuilds at start what is kept in memory: de-duplication, touchpoints, totals.
struct Replay {
    private let directory: SegmentDirectory
    private let limits: EventLimits
    private let secret: InstallationSecret
    private let now: Timestamp

    init(directory: SegmentDirectory, limits: EventLimits, secret: InstallationSecret, now: Timestamp) {
        self.directory = directory
        self.now = now
        self.secret = secret
        self.limits = limits
    }

    /// Brings totals, touchpoints and the index up to the end of the log.
    ///
    /// - Parameter checkpoint: ids before it are in the index; nil when none is.
    /// - Returns: how many ids the log gave to the index.
    func run(
        into index: DeduplicationIndex, from checkpoint: LogPoint?, views: LogViews
    ) throws(LogStorageError) -> Int {
        do {
            try restoreTotals(views)
            try restoreTouches(views)
            return try remember(index, from: checkpoint, views)
        } catch {
            switch error {
            case let error as LogStorageError, DeduplicationError.storage(let error),
                BlockView.Failure.storage(let error):
                throw error
            case DeduplicationError.damaged(let file): throw .failed(operation: "read \(file)", code: 0)
            default: throw .failed(operation: "read the log", code: 0)
            }
        }
    }

    // MARK: touchpoints

    /// Reads the touchpoints of as many of the newest blocks as fill their index, and nothing else of these blocks.
    private func restoreTouches(_ views: LogViews) throws {
        var found: [(segment: SegmentCatalog, offset: Int)] = []
        var wanted = limits.touchesMax * TouchLayout.byteCount
        search: for catalog in try views.catalog.all().reversed() {
            for entry in catalog.entries.reversed() {
                guard let view = try catalog.view(entry.offset), view.part(.touches) != nil else { continue }
                found.append((catalog, entry.offset))
                wanted -= try whole { try view.touches().count } ?? 0
                if wanted <= 0 { break search }
            }
        }
        for block in found.reversed() {
            guard let view = try block.segment.view(block.offset) else { continue }
            try whole { try views.addTouches(view) }
        }
    }

    /// nil for a block that is damaged, which the rest of the log outlives; other errors go on.
    @discardableResult
    private func whole<Value>(_ body: () throws -> Value) throws -> Value? {
        do { return try body() } catch BlockView.Failure.damaged { return nil }
    }

    // MARK: ids

    /// Remembers the accepted ids behind the checkpoint, or as many of the newest as fill the window.
    private func remember(_ index: DeduplicationIndex, from checkpoint: LogPoint?, _ views: LogViews) throws -> Int {
        // An archive stands for its segments; what it gives twice does no harm.
        let segments = try views.catalog.all()
        var count = 0
        var first = segments.count
        var rows = 0
        while first > 0 {
            if let checkpoint, segments[first - 1].lastNumber < checkpoint.segment { break }
            if checkpoint == nil, rows >= limits.dedupIdentifiersMax { break }
            first -= 1
            rows += segments[first].entries.reduce(0) { $0 + $1.rowCount }
        }
        // Ids of segments that are not read or are gone: who was accepted then is not certain any more.
        var gap = first < segments.count && segments[first].number > max(1, checkpoint?.segment ?? 1)
        var batch = DeduplicationBatch()
        defer { batch.deallocate() }
        for catalog in segments[first...] {
            for entry in catalog.entries {
                // Where a block of an archive stands says nothing of when it came.
                let point = LogPoint(
                    segment: catalog.number, offset: catalog.archive == nil ? UInt64(entry.offset) : 0)
                guard catalog.archive != nil || point >= checkpoint ?? .start else { continue }
                let view = try catalog.view(entry.offset)
                if gap, let earliest = view?.requests.map(\.receivedAt).min() {
                    index.forgets(before: earliest)
                    gap = false
                }
                let isWhole: Void? = try whole {
                    guard let view else { throw BlockView.Failure.damaged }
                    count += try remember(
                        DecodedBlock(view, catalog: catalog, secret: secret), index, &batch, at: point)
                }
                // The next whole block says from when on everything is known again.
                if isWhole == nil { gap = true }
            }
        }
        if gap { index.forgets(before: now.microseconds) }
        return count
    }

    private func remember(
        _ block: DecodedBlock, _ index: DeduplicationIndex, _ batch: inout DeduplicationBatch, at point: LogPoint
    ) throws -> Int {
        batch.removeAll()
        var row = 0
        try block.eachKey { high, low in
            batch.append(high, low, row: row)
            row += 1
        }
        let received = block.view.requests.reduce(Int64.min) { max($0, $1.receivedAt) }
        try batch.remember(index, receivedAt: received, at: point)
        return row
    }

    // MARK: totals

    /// Starts from the newest checkpoint and adds the requests behind it.
    private func restoreTotals(_ views: LogViews) throws {
        let segments = directory.segments
        var start = segments.count
        while start > 0 {
            start -= 1
            if try checkpoint(segments[start], views.totals) { break }
        }
        for segment in segments[start...] {
            guard let catalog = try views.catalog.segment(segment.number) else { continue }
            for entry in catalog.entries {
                for request in try catalog.view(entry.offset)?.requests ?? [] {
                    views.totals.add(org: request.org, request.counts, at: nil)
                }
            }
        }
    }

    private func checkpoint(
        _ segment: SegmentDirectory.Segment, _ totals: TotalsView
    ) throws(LogStorageError) -> Bool {
        var walk = SegmentWalk(segment.file, end: segment.durableBytes)
        guard case .block(let offset, let header) = try walk.next(), header.kind == .totals else { return false }
        do throws(BlockView.Failure) {
            let block = try BlockView(segment.file, segment: segment.number, offset: offset, header: header)
            return totals.restore(block.totals)
        } catch {
            return false
        }
    }
}
