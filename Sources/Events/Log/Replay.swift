internal import AurumCore
internal import Foundation

/// Rebuilds at start what is kept in memory: de-duplication, touchpoints, totals.
struct Replay {
    private let directory: SegmentDirectory
    private let limits: EventLimits
    private let secret: InstallationSecret

    init(directory: SegmentDirectory, limits: EventLimits, secret: InstallationSecret) {
        self.directory = directory
        self.secret = secret
        self.limits = limits
    }

    /// Reads the tables of as many of the newest segments as fill the de-duplication window.
    func run(into index: inout DeduplicationIndex, views: LogViews) throws(LogStorageError) {
        let segments = directory.segments
        var first = segments.count
        var rows = 0
        while first > 0, rows < limits.dedupIdentifiersMax {
            first -= 1
            rows += try rowCount(segments[first])
        }
        try restoreTotals(segments, views.totals)
        for segment in segments[first...] {
            try eachBlock(segment) { view in
                guard view.header.kind == .rows, let catalog = try? views.catalog.segment(segment.number),
                    let block = try? DecodedBlock(view, catalog: catalog, secret: secret)
                else { return }
                try? block.eachKey { high, low in _ = index.insert(high, low) }
                try? views.addTouches(block)
            }
        }
    }

    private func rowCount(_ segment: SegmentDirectory.Segment) throws(LogStorageError) -> Int {
        var rows = 0
        var walk = SegmentWalk(segment.file, end: segment.durableBytes)
        while case .some(let step) = try Self.step(&walk) {
            if case .block(_, let header) = step { rows += Int(header.rowCount) }
        }
        return rows
    }

    /// The next step, or nil at the end.
    private static func step(_ walk: inout SegmentWalk) throws(LogStorageError) -> SegmentWalk.Step? {
        let step = try walk.next()
        switch step {
        case .end, .unknownVersion: return nil
        case .block, .damage: return step
        }
    }

    private func eachBlock(
        _ segment: SegmentDirectory.Segment, _ body: (BlockView) -> Void
    ) throws(LogStorageError) {
        var walk = SegmentWalk(segment.file, end: segment.durableBytes)
        while case .some(let step) = try Self.step(&walk) {
            guard case .block(let offset, let header) = step, !segment.damagedOffsets.contains(offset) else { continue }
            do throws(BlockView.Failure) {
                body(try BlockView(segment.file, segment: segment.number, offset: offset, header: header))
            } catch {
                if case .storage(let failure) = error { throw failure }
            }
        }
    }

    /// Starts from the newest checkpoint and adds the requests behind it.
    private func restoreTotals(
        _ segments: [SegmentDirectory.Segment], _ totals: TotalsView
    ) throws(LogStorageError) {
        var start = segments.count
        while start > 0 {
            start -= 1
            if try checkpoint(segments[start], totals) { break }
        }
        for segment in segments[start...] {
            try eachBlock(segment) { block in
                for request in block.requests { totals.add(org: request.org, request.counts, at: nil) }
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

/// Runs work that blocks on files away from the threads that serve requests.
enum BlockingWork {
    private static let queue = DispatchQueue(label: "event-store", attributes: .concurrent)

    static func run(_ work: @escaping @Sendable () -> Void) { queue.async(execute: work) }

    static func value<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            queue.async { continuation.resume(with: Result { try work() }) }
        }
    }
}
