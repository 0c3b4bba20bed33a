internal import Synchronization

/// The blocks of the log, in either direction, without keeping a place for each in memory: spans of about 256 KB are
/// walked from their front, and only where spans begin is remembered.
final class SegmentScan: Sendable {
    private struct Span {
        var start: Int
        var end: Int
        var earliest: Int64
        var latest: Int64
    }

    private static let spanBytes = 256 << 10
    private let directory: SegmentDirectory
    /// Spans of each segment, as far as they were walked.
    private let known = Mutex<[UInt32: [Span]]>([:])

    init(directory: SegmentDirectory) { self.directory = directory }

    enum Verdict { case goOn, stop }

    /// Calls `body` with every block of rows that may hold a time in `from`…`to`, until it says stop.
    func blocks(
        newestFirst: Bool, from: Int64 = .min, to: Int64 = .max, _ body: (BlockView) throws -> Verdict
    ) throws {
        let segments = directory.segments
        for segment in newestFirst ? segments.reversed() : segments {
            let spans = try spans(of: segment)
            for span in newestFirst ? spans.reversed() : spans where span.latest >= from && span.earliest <= to {
                var places = try headers(segment, span)
                if newestFirst { places.reverse() }
                for (offset, header) in places where header.latest >= from && header.earliest <= to {
                    guard let block = try view(segment, offset, header) else { continue }
                    if case .stop = try body(block) { return }
                }
            }
        }
    }

    /// Every block of rows that can be read, by segment.
    func everyBlock() throws -> [(number: UInt32, isSealed: Bool, blocks: [BlockView])] {
        let segments = directory.segments
        return try segments.map { segment in
            var blocks: [BlockView] = []
            for span in try spans(of: segment) {
                for (offset, header) in try headers(segment, span) {
                    if let block = try view(segment, offset, header) { blocks.append(block) }
                }
            }
            return (segment.number, segment.number != segments.last?.number, blocks)
        }
    }

    /// The block at a place; nil when none begins there or it is damaged.
    func block(segment number: UInt32, offset: Int) throws -> BlockView? {
        guard let segment = directory[number], offset >= SegmentFormat.headerBytes,
            offset + BlockHeader.byteCount <= segment.durableBytes, offset % BlockHeader.alignment == 0
        else { return nil }
        let bytes = try segment.file.read(at: offset, count: BlockHeader.byteCount)
        guard case .valid(let header) = bytes.withUnsafeBytes({ BlockHeader.decode($0) }), header.kind == .rows else {
            return nil
        }
        return try view(segment, offset, header)
    }

    private func view(_ segment: SegmentDirectory.Segment, _ offset: Int, _ header: BlockHeader) throws -> BlockView? {
        guard !segment.damagedOffsets.contains(offset) else { return nil }
        do throws(BlockView.Failure) {
            return try BlockView(segment.file, segment: segment.number, offset: offset, header: header)
        } catch {
            if case .storage(let failure) = error { throw failure }
            return nil
        }
    }

    private func headers(_ segment: SegmentDirectory.Segment, _ span: Span) throws -> [(Int, BlockHeader)] {
        var found: [(Int, BlockHeader)] = []
        var walk = SegmentWalk(segment.file, from: span.start, end: segment.durableBytes)
        while case .some(let step) = try next(&walk) {
            guard case .block(let offset, let header) = step else { continue }
            if offset >= span.end { break }
            if header.kind == .rows, header.rowCount > 0 { found.append((offset, header)) }
        }
        return found
    }

    private func next(_ walk: inout SegmentWalk) throws -> SegmentWalk.Step? {
        let step = try walk.next()
        switch step {
        case .end, .unknownVersion: return nil
        case .block, .damage: return step
        }
    }

    /// The spans of a segment; walks only what was written since the last call.
    private func spans(of segment: SegmentDirectory.Segment) throws -> [Span] {
        var spans = known.withLock { $0[segment.number] } ?? []
        let start = spans.last?.end ?? SegmentFormat.headerBytes
        guard start < segment.durableBytes else { return spans }
        var walk = SegmentWalk(segment.file, from: start, end: segment.durableBytes)
        while case .some(let step) = try next(&walk) {
            guard case .block(let offset, let header) = step else { continue }
            let end = offset + Int(header.totalBytes)
            if let last = spans.last, end - last.start <= Self.spanBytes {
                spans[spans.count - 1].end = end
                spans[spans.count - 1].earliest = min(last.earliest, header.earliest)
                spans[spans.count - 1].latest = max(last.latest, header.latest)
            } else {
                spans.append(Span(start: offset, end: end, earliest: header.earliest, latest: header.latest))
            }
        }
        let walked = spans
        known.withLock { all in
            if (all[segment.number]?.last?.end ?? 0) < (walked.last?.end ?? 0) { all[segment.number] = walked }
        }
        return walked
    }
}
