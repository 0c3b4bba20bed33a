internal import AurumCore

/// Rebuilds at start what is kept in memory: de-duplication, touchpoints, totals.
struct Replay {
    private let directory: SegmentDirectory
    private let limits: EventLimits
    private let secret: InstallationSecret
    private let now: Timestamp
    private let corrections: [CountCorrection]

    init(
        directory: SegmentDirectory, limits: EventLimits, secret: InstallationSecret, now: Timestamp,
        corrections: [CountCorrection]
    ) {
        self.directory = directory
        self.corrections = corrections
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

    /// Takes the newest touchpoints, as many as fill their index, in the order of the log. Of blocks nothing else is
    /// read.
    private func restoreTouches(_ views: LogViews) throws {
        var found: [[KnownTouch]] = []
        var wanted = limits.touchesMax
        for catalog in try views.catalog.all().reversed() where wanted > 0 {
            found.append(try newestTouches(catalog, wanted: wanted))
            wanted -= found.last?.count ?? 0
        }
        let oldest = found.last { !$0.isEmpty }?.first?.entry.position
        // Each file's list is given back before the next is taken: a second copy of all is tens of megabytes.
        while let known = found.popLast() { views.restore(known) }
        if wanted <= 0 { views.isCut(before: oldest) }
    }

    /// The newest touchpoints of a file, oldest first. The blocks of an archive stand app by app: all are looked at,
    /// and few more are held than are wanted.
    private func newestTouches(_ catalog: SegmentCatalog, wanted: Int) throws -> [KnownTouch] {
        var found: [KnownTouch] = []
        var floor: LogPosition?
        func keepNewest() {
            found.sort { $0.entry.position < $1.entry.position }
            guard found.count > wanted else { return }
            found.removeFirst(found.count - wanted)
            floor = found.first?.entry.position
        }
        for entry in catalog.entries.reversed() {
            guard let view = try catalog.view(entry.offset), view.part(.touches) != nil else { continue }
            for touch in try whole({ try view.knownTouches() }) ?? [] {
                if let floor, touch.entry.position < floor { continue }
                found.append(touch)
            }
            if catalog.archive == nil, found.count >= wanted { break }
            if found.count > wanted + wanted / 4 { keepNewest() }
        }
        keepNewest()
        return found
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
        var last: UInt32? = segments[first...].first.map { $0.number &- 1 }
        for catalog in segments[first...] {
            // Of files that are lost in between, and of blocks that are damaged, nobody knows the ids either.
            if let last, catalog.number > last &+ 1 { gap = true }
            last = catalog.lastNumber
            var damaged = (directory[catalog.number]?.damagedOffsets ?? []).sorted()[...]
            defer { if !damaged.isEmpty { gap = true } }
            for entry in catalog.entries {
                while let place = damaged.first, place < entry.offset {
                    damaged.removeFirst()
                    gap = true
                }
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
    ///
    /// Every segment but the first begins with one. Where that is lost, archives are read as well: all that is counted
    /// then is what they still hold, which is less than ever came once whole requests have expired.
    private func restoreTotals(_ views: LogViews) throws {
        let files = try views.catalog.all()
        var start = files.count
        var known: UInt32 = 0
        while start > 0, known == 0 {
            start -= 1
            guard files[start].archive == nil, let segment = directory[files[start].number],
                let counts = try Self.checkpoint(segment), views.totals.restore(counts)
            else { continue }
            known = segment.number
        }
        for file in files[start...] {
            for entry in file.entries {
                for request in try file.view(entry.offset)?.requests ?? [] {
                    views.totals.add(org: request.org, request.counts, isReplay: request.isReplay, at: nil)
                }
            }
        }
        views.totals.correct(corrections, before: known)
    }

    /// The counts with which a segment begins; nil when it does not, or they are damaged.
    static func checkpoint(_ segment: SegmentDirectory.Segment) throws(LogStorageError) -> [UInt8]? {
        var walk = SegmentWalk(segment.file, end: segment.durableBytes)
        guard case .block(let offset, let header) = try walk.next(), header.kind == .totals else { return nil }
        do throws(BlockView.Failure) {
            return try BlockView(segment.file, segment: segment.number, offset: offset, header: header).totals
        } catch {
            if case .storage(let failure) = error { throw failure }
            return nil
        }
    }
}
