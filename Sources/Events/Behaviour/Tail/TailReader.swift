internal import AurumCore

/// What one watcher of the log gets, decided step by step. It keeps a place in the log and a few events, never a
/// queue: who reads slowly is told what was left out and from where it can be had.
final class TailReader: @unchecked Sendable {  // one step at a time, by the one task that serves the watcher
    /// Events handed out a second.
    static let eventsPerSecond = 1000.0
    /// Events made ready at a time.
    static let readyMax = 200
    /// Bytes of text made ready at a time, the last event excepted.
    static let readyBytesMax = 1 << 20
    /// A watcher of what happens now is not shown what is older.
    static let lagMax: Duration = .seconds(1)
    /// Blocks whose left-out events are counted; beyond it the count is a bound.
    static let countedBlocksMax = 64
    /// How often a watcher to whom nothing happens learns the position.
    static let positionEvery: Duration = .seconds(5)

    private let feed: TailFeed
    private let filter: RowFilter
    private let scanner: RowScanner
    private let clock: any WallClock
    private let from: LogPosition?
    private var cursor: LogCursor?
    private var log: OrderedLog
    private var isPlaced = false
    /// Catches up with the log from a given position: nothing is left out before it has.
    private var isReplay: Bool
    private var tokens = TailReader.eventsPerSecond
    private var lastFill = ContinuousClock.now
    private var lastFrame = ContinuousClock.now

    init(_ feed: TailFeed, filter: RowFilter, from: LogPosition?, clock: any WallClock) {
        (self.feed, self.filter, self.from, self.clock) = (feed, filter, from, clock)
        scanner = RowScanner(filter)
        isReplay = from != nil
        log = OrderedLog(filter)
    }

    /// Frames that are due now; nil for how long nothing is due but more is known to be there.
    struct Step: Sendable {
        var frames: [String] = []
        /// More may be read after this time; nil: after the next commit.
        var pause: Duration?
    }

    func step() throws -> Step {
        fill()
        let all = try feed.segments()
        // Who watches from now on has no use for archives.
        let first = try cursor?.last ?? from ?? (isPlaced ? nil : LogCursor.lastPosition(of: all))
        let segments = try log.segments(all, after: first)
        var step = Step()
        guard isPlaced, cursor != nil || segments.isEmpty else {
            try place(segments, &step)
            if cursor == nil { return step }
            return step
        }
        guard var place = try found(segments), var number = place.index(in: segments) else { return step }
        if !isReplay, let skipped = try skip(&place, number, segments) {
            step.frames.append(skipped)
            number = segments.count - 1
        }
        try read(&place, &number, segments, &step)
        cursor = place
        try addPosition(segments, &step)
        if !step.frames.isEmpty { lastFrame = .now }
        return step
    }

    private func fill() {
        let now = ContinuousClock.now
        tokens = min(Self.eventsPerSecond, tokens + (now - lastFill).seconds * Self.eventsPerSecond)
        lastFill = now
    }

    // MARK: place

    private func place(_ segments: [ColumnSegment], _ step: inout Step) throws {
        if isPlaced {
            // The log was empty before: all of it is new.
            cursor = segments.first.map { LogCursor(segment: $0.identity, block: 0, row: 0, last: nil) }
        } else {
            cursor = try from.map { try LogCursor.after($0, in: segments) } ?? LogCursor.end(of: segments)
            isPlaced = true
            step.frames.append(Self.frame(position: cursor?.last))
        }
        if cursor != nil { step.pause = .zero }
    }

    /// The cursor in this snapshot, found again where the log was rewritten.
    private func found(_ segments: [ColumnSegment]) throws -> LogCursor? {
        guard let cursor else { return nil }
        if cursor.index(in: segments) != nil { return cursor }
        if let last = cursor.last { return try LogCursor.after(last, in: segments) }
        return segments.first.map { LogCursor(segment: $0.identity, block: 0, row: 0, last: nil) }
    }

    // MARK: reading

    private func read(
        _ place: inout LogCursor, _ number: inout Int, _ segments: [ColumnSegment], _ step: inout Step
    ) throws {
        var bytes = 0
        while place.settle(in: segments, at: &number) {
            let segment = segments[number]
            guard filter.mayHold(segment.blocks[place.block]), let block = try segment.read(place.block) else {
                place.block += 1
                place.row = 0
                continue
            }
            // Who comes back to a damaged block goes on behind it.
            guard let found = try BlockView.readable({ try rows(block, from: place.row) }) else {
                place.block += 1
                place.row = 0
                continue
            }
            for row in found {
                guard tokens >= 1, step.frames.count < Self.readyMax, bytes < Self.readyBytesMax else {
                    step.pause = tokens >= 1 ? .zero : .milliseconds(50)
                    return
                }
                place.row = Int(row) + 1
                place.last = block.position(Int(row))
                guard let event = try BlockView.readable({ try block.event(Int(row)) }) else { continue }
                let frame = "{\"event\":" + event.json.canonical + "}"
                bytes += frame.utf8.count
                tokens -= 1
                step.frames.append(frame)
            }
            if block.rowCount > 0 { place.last = block.position(block.rowCount - 1) }
            place.block += 1
            place.row = 0
        }
        isReplay = false
    }

    private func rows(_ block: any ColumnBlock, from first: Int) throws -> [UInt32] {
        let rows = try scanner.select(block).rows(of: block.rowCount)
        return first == 0 ? rows : rows.filter { Int($0) >= first }
    }

    // MARK: leaving out

    /// Goes to the end when what is there is older than `lagMax` and more than may be handed out at once.
    private func skip(_ place: inout LogCursor, _ first: Int, _ segments: [ColumnSegment]) throws -> String? {
        var at = place
        var number = first
        guard at.settle(in: segments, at: &number) else { return nil }
        var count = 0
        var blocks = 0
        var isBound = false
        while at.settle(in: segments, at: &number) {
            let segment = segments[number]
            let summary = segment.blocks[at.block]
            if filter.mayHold(summary) {
                blocks += 1
                if blocks > Self.countedBlocksMax {
                    count += summary.rowCount
                    isBound = true
                } else if let block = try segment.read(at.block) {
                    if blocks == 1 {
                        let received = block.requests.map(\.receivedAt).max() ?? .max
                        guard clock.now.microseconds - received > Self.lagMax.microseconds else { return nil }
                    }
                    count += try BlockView.readable { try rows(block, from: at.row).count } ?? 0
                }
            }
            at.block += 1
            at.row = 0
        }
        guard Double(count) > tokens, let end = try LogCursor.end(of: segments) else { return nil }
        let from = place.last
        place = end
        return Self.frame(skipped: count, isBound: isBound, from: from)
    }

    // MARK: frames

    private func addPosition(_ segments: [ColumnSegment], _ step: inout Step) throws {
        guard step.frames.isEmpty, step.pause == nil, ContinuousClock.now - lastFrame > Self.positionEvery else {
            return
        }
        let position = try LogCursor.lastPosition(of: segments)
        cursor?.last = position
        step.frames.append(Self.frame(position: position))
    }

    static func frame(position: LogPosition?) -> String {
        "{\"position\":" + (position.map { "\"\($0)\"" } ?? "null") + "}"
    }

    static func frame(skipped: Int, isBound: Bool, from: LogPosition?) -> String {
        let from = from.map { "\"\($0)\"" } ?? "null"
        return "{\"at_most\":\(isBound),\"from\":\(from),\"skipped\":\(skipped)}"
    }
}
