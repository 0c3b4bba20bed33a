package import AurumCore
internal import Foundation
internal import Logging
internal import Synchronization
internal import Telemetry

/// What a durable commit brought, for live pages. Nothing of the events is decoded for it.
package struct CommitNotice: Sendable {
    package var at: Timestamp
    package var rows: Int
    /// Organisations with events in this commit, each once.
    package var organisations: [String]
}

/// Whether capture may go on. Read before every body.
final class LogState: Sendable {
    enum Condition: Int { case ready = 0, storageFull = 1, failed = 2 }

    private let code = Atomic<Int>(0)

    var condition: Condition {
        get { Condition(rawValue: code.load(ordering: .relaxed)) ?? .failed }
        set {
            // Failure is final.
            if condition != .failed { code.store(newValue.rawValue, ordering: .relaxed) }
        }
    }
}

/// The group commit: takes the blocks of every shard, settles duplicates, writes, syncs once, then answers.
///
/// Duplicates are settled here and not where bodies are parsed, so that the order of the log and the order of
/// acceptance are one: what an acknowledged duplicate repeats is always in the log before it.
final class CommitWriter: @unchecked Sendable {  // all but `signal`, `state` and the views confined to the thread
    private let shards: [CaptureShard]
    private let segments: SegmentWriter
    private let index: DeduplicationIndex
    private var batch = DeduplicationBatch()
    private let signal: WriterSignal
    private let state: LogState
    private let views: LogViews
    private let secret: InstallationSecret
    private let limits: EventLimits
    private let delay: Duration
    private let storage: any LogStorage
    private let inFlight: InFlight
    private let meters: CaptureMeters
    private let logger: Logger
    private let clock: any WallClock
    private let finished = DispatchSemaphore(value: 0)

    private var encoder: BlockEncoder
    /// The next block belongs into a new segment: its dictionaries are new.
    private var mustRoll: Bool

    /// A block that was made ready, and where it was written.
    private struct Sealed {
        var buffer: BlockBuffer
        var header = BlockHeader()
        var place: SegmentWriter.Place?
        /// Rows that may have been accepted before, when nobody remembers it any more.
        var unverified = 0
    }

    init(
        shards: [CaptureShard], segments: SegmentWriter, index: DeduplicationIndex, signal: WriterSignal,
        state: LogState, views: LogViews, secret: InstallationSecret, configuration: EventsConfiguration,
        storage: any LogStorage, inFlight: InFlight, meters: CaptureMeters, logger: Logger, clock: any WallClock
    ) {
        (self.shards, self.segments, self.index, self.signal) = (shards, segments, index, signal)
        (self.state, self.views, self.secret) = (state, views, secret)
        (limits, delay) = (configuration.limits, configuration.commitDelay)
        (self.storage, self.inFlight, self.meters) = (storage, inFlight, meters)
        (self.logger, self.clock) = (logger, clock)
        encoder = BlockEncoder(level: Int32(configuration.compressionLevel))
        mustRoll = segments.hasRows
    }

    deinit {
        batch.deallocate()
        encoder.deallocate()
    }

    func start() {
        let thread = Thread { [self] in
            let nanoseconds = delay.components.seconds * 1_000_000_000 + delay.components.attoseconds / 1_000_000_000
            while true {
                let wake = signal.wait(delayNanoseconds: nanoseconds)
                // A body that was let in before the log closed is in a shard by now, or is refused there: the last
                // commit answers everything.
                if wake == .stop { for shard in shards { shard.end() } }
                commit()
                if wake == .stop { break }
            }
            segments.close()
            index.close()
            finished.signal()
        }
        thread.name = "event-log"
        thread.start()
    }

    /// Commits what waits and ends the thread. Blocks until it has ended.
    func stop() {
        signal.stop()
        finished.wait()
    }

    // MARK: one commit

    private func commit() {
        let isLast = !mustRoll && segments.isFull || shards.contains { $0.isDictionaryFull }
        let blocks = isLast ? shards.flatMap { $0.takeLast() } : shards.flatMap { $0.take() }
        defer { if isLast { mustRoll = true } }
        guard !blocks.isEmpty else { return }
        let began = ContinuousClock.now
        guard state.condition != .failed else { return refuse(blocks, .logFailed) }
        if let refusal = makeRoom(blocks) {
            refuse(blocks, refusal)
            // What the refused blocks said of their dictionaries is lost: later blocks must not build on it.
            refuse(shards.flatMap { $0.takeLast() }, refusal)
            mustRoll = true
            return
        }
        var sealed = blocks.map { Sealed(buffer: $0) }
        do {
            for index in sealed.indices { try write(&sealed[index]) }
            try segments.sync()
            index.durable(through: segments.point)
        } catch {
            fail(error)
            return refuse(blocks, .logFailed)
        }
        meters.committed(ContinuousClock.now - began, requests: blocks.reduce(0) { $0 + $1.content.requests.count })
        publish(sealed)
        recycle(blocks)
    }

    private func fail(_ error: any Error) {
        let sentence =
            (error as? LogStorageError)?.sentence ?? (error as? DeduplicationError)?.sentence ?? "The event log failed."
        state.condition = .failed
        logger.critical("\(sentence)", metadata: ["code": "log_failed"])
        meters.reportFailed()
    }

    /// Rolls the segment when it is due and reserves the space of all blocks; an answer means nothing was begun.
    private func makeRoom(_ blocks: [BlockBuffer]) -> CaptureError? {
        do {
            let hasRoom = try index.hasRoom()
            let needed = blocks.reduce(encoder.repeatedBytes) { $0 + 2 * BlockEncoder.bytesAtMost($1.content) }
            let floor = limits.freeBytesNeeded(of: try storage.totalBytes(), again: false)
            if try !hasRoom || storage.freeBytes() < floor + needed {
                state.condition = .storageFull
                return .storageFull
            }
            if mustRoll {
                try segments.roll(totals: views.totals.checkpoint)
                encoder.startSegment()
                mustRoll = false
            }
            try segments.reserve(needed)
            return nil
        } catch {
            if error as? LogStorageError == .noSpace {
                state.condition = .storageFull
                return .storageFull
            }
            fail(error)
            return .logFailed
        }
    }

    private func write(_ sealed: inout Sealed) throws {
        try settle(&sealed)
        encoder.encode(sealed.buffer.content, into: &sealed.header)
        sealed.place = try segments.append(
            &sealed.header, meta: encoder.tables.bytes, payload: encoder.payload.bytes)
    }

    /// Decides duplicates and counts outcomes, in the order of the rows.
    private func settle(_ sealed: inout Sealed) throws(DeduplicationError) {
        // What is replayed was received long ago: it does not say what time it is.
        let received = sealed.buffer.content.requests.reduce(Int64.min) { $1.isReplay ? $0 : max($0, $1.receivedAt) }
        try batch.settle(sealed.buffer.content, index, receivedAt: received, at: segments.point)
        sealed.unverified = Self.count(
            &sealed.buffer.content, batch, windowStart: index.windowStart, &sealed.header)
    }

    /// Writes the verdicts into the rows and adds everything up; answers how many rows nobody can vouch for.
    private static func count(
        _ block: inout BlockContent, _ batch: DeduplicationBatch, windowStart: Int64, _ header: inout BlockHeader
    ) -> Int {
        var all = OutcomeCounts()
        var unverified = 0
        for number in block.requests.indices {
            let first = block.requests[number].firstRow
            var counts = (0, 0, 0, 0, 0)
            withUnsafeMutableBytes(of: &counts) { raw in
                let counts = raw.assumingMemoryBound(to: Int.self)
                for row in first..<first + block.requests[number].rowCount {
                    let time = block.time(row)
                    header.earliest = min(header.earliest, time)
                    header.latest = max(header.latest, time)
                    if !batch.isNew(row) {
                        block.setOutcome(row, .duplicate)
                    } else if time < windowStart, block.markUnverified(row) {
                        unverified &+= 1
                    }
                    counts[Int(block.outcome(row))] &+= 1
                }
            }
            let own = OutcomeCounts(
                stored: counts.0, duplicate: counts.1, quarantined: counts.2, bot: counts.3, late: counts.4)
            block.requests[number].counts = own
            all += own
        }
        header.outcomes = (
            UInt32(all.stored), UInt32(all.duplicate), UInt32(all.quarantined), UInt32(all.bot), UInt32(all.late)
        )
        return unverified
    }

    // MARK: after the sync

    private func publish(_ sealed: [Sealed]) {
        let now = clock.now
        var notice = CommitNotice(at: now, rows: 0, organisations: [])
        var answers: [(PendingRequest, Receipt)] = []
        for block in sealed {
            guard let place = block.place else { continue }
            views.addTouches(block.buffer.content, segment: place.segment, offset: place.offset)
            views.persons.commit(
                block.buffer.content.identity, place: BlockPlace(segment: place.segment, offset: place.offset)
            ) { IdentitySource(block.buffer.content, row: $0) }
            for (number, request) in block.buffer.content.requests.enumerated() {
                views.totals.add(
                    org: request.org, request.counts, isReplay: request.isReplay,
                    at: Timestamp(microseconds: request.receivedAt))
                meters.answered(request)
                if !notice.organisations.contains(request.org) { notice.organisations.append(request.org) }
                answers.append((request, receipt(request, number, place, block.buffer.content)))
            }
            notice.rows += block.buffer.content.rowCount
        }
        meters.remembered(index, unverified: sealed.reduce(0) { $0 + $1.unverified })
        meters.logHolds(views.directory.byteCount)
        for (request, receipt) in answers {
            inFlight.leave(request.bodyBytes)
            request.done(.success(receipt))
        }
        views.notify(notice)
    }

    private func receipt(
        _ request: PendingRequest, _ number: Int, _ place: SegmentWriter.Place, _ content: BlockContent
    ) -> Receipt {
        let check = secret.receiptCheck(
            segment: place.segment, offset: place.offset, request: UInt16(truncatingIfNeeded: number),
            nonce: request.nonce)
        let id = ReceiptID(
            segment: place.segment, offset: place.offset, request: UInt16(truncatingIfNeeded: number), check: check)
        var problems: [EventProblem] = []
        if request.counts.stored < request.rowCount {
            for row in request.firstRow..<request.firstRow + request.rowCount where problems.count < limits.problemsMax
            {
                guard let outcome = EventOutcome(rawValue: content.outcome(row)), outcome != .stored else { continue }
                // The relay sends again what the log has, and must be told which of its events are refused.
                if request.format == .internalEvents, outcome != .quarantined { continue }
                problems.append(
                    EventProblem(
                        outcome, content.exception(row), index: row - request.firstRow, id: content.identifier(row)))
            }
        }
        let counts = request.counts
        return Receipt(
            id: id.text, received: request.rowCount, stored: counts.stored, duplicate: counts.duplicate,
            quarantined: counts.quarantined, bot: counts.bot, late: counts.late, problems: problems)
    }

    private func refuse(_ blocks: [BlockBuffer], _ error: CaptureError) {
        for block in blocks {
            for request in block.content.requests {
                inFlight.leave(request.bodyBytes)
                request.done(.failure(error))
            }
        }
        recycle(blocks)
    }

    private func recycle(_ blocks: [BlockBuffer]) {
        for (number, block) in blocks.enumerated() {
            block.content.reset()
            shards[number % shards.count].recycle(block)
        }
    }
}

extension IdentitySource {
    /// nil when the row does not count.
    init?(_ content: BlockContent, row number: Int) {
        guard let outcome = EventOutcome(rawValue: content.outcome(number)), IdentityRule.counts(outcome),
            let request = content.request(of: number)
        else { return nil }
        self.init(org: request.org, app: request.app, event: content.key(number).high, at: content.time(number))
    }
}

extension EventProblem {
    init(_ outcome: EventOutcome, _ exception: (QuarantineReason, EventField), index: Int, id: String?) {
        let isRefused = outcome == .quarantined
        self.init(
            index: index, id: id, outcome: outcome, reason: isRefused ? exception.0.tag : nil,
            field: isRefused ? exception.1.path : nil, detail: isRefused ? exception.0.detail : nil)
    }
}

/// Bytes of bodies that wait for their commit.
final class InFlight: Sendable {
    private let bytes = Atomic<Int>(0)
    private let bytesMax: Int

    init(bytesMax: Int) { self.bytesMax = bytesMax }

    var isFull: Bool { bytes.load(ordering: .relaxed) >= bytesMax }

    /// false when the bound would be passed. One body always fits an idle log, whatever its size.
    func enter(_ count: Int) -> Bool {
        let before = bytes.add(count, ordering: .relaxed).oldValue
        guard before == 0 || before + count <= bytesMax else {
            leave(count)
            return false
        }
        return true
    }

    func leave(_ count: Int) { bytes.subtract(count, ordering: .relaxed) }
}
