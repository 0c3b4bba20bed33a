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
    private var index: DeduplicationIndex
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

    /// A block that was made ready, and where it was written.
    private struct Sealed {
        var buffer: BlockBuffer
        var header: BlockHeader
        var meta: RawBytes
        var place: SegmentWriter.Place?
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
    }

    deinit { index.deallocate() }

    func start() {
        let thread = Thread { [self] in
            let nanoseconds = delay.components.seconds * 1_000_000_000 + delay.components.attoseconds / 1_000_000_000
            while true {
                let wake = signal.wait(delayNanoseconds: nanoseconds)
                commit()
                if wake == .stop { break }
            }
            segments.close()
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
        let blocks = shards.flatMap { $0.take() }
        guard !blocks.isEmpty else { return }
        let began = ContinuousClock.now
        guard state.condition != .failed else { return refuse(blocks, .logFailed) }
        var sealed = blocks.map { seal($0) }
        defer { for block in sealed { block.meta.deallocate() } }
        if let refusal = makeRoom(sealed) { return refuse(blocks, refusal) }
        do throws(LogStorageError) {
            for index in sealed.indices { try write(&sealed[index]) }
            try segments.sync()
        } catch {
            state.condition = .failed
            logger.critical("\(error.sentence)", metadata: ["code": "log_failed"])
            meters.reportFailed()
            return refuse(blocks, .logFailed)
        }
        meters.committed(ContinuousClock.now - began, requests: blocks.reduce(0) { $0 + $1.content.requests.count })
        publish(sealed)
        recycle(blocks)
    }

    /// Compresses what is left, so that the size of the block is known.
    private func seal(_ buffer: BlockBuffer) -> Sealed {
        buffer.content.closeChunk()
        return Sealed(buffer: buffer, header: BlockHeader(), meta: RawBytes())
    }

    /// Rolls the segment when it is full and reserves the space of all blocks; an answer means nothing was begun.
    private func makeRoom(_ sealed: [Sealed]) -> CaptureError? {
        do throws(LogStorageError) {
            let needed = sealed.reduce(0) { $0 + Self.bytesAtMost($1.buffer.content) }
            if try storage.freeBytes() < limits.freeBytesMin + needed {
                state.condition = .storageFull
                return .storageFull
            }
            if segments.isFull { try segments.roll(totals: views.totals.checkpoint) }
            try segments.reserve(needed)
            return nil
        } catch {
            if error == .noSpace {
                state.condition = .storageFull
                return .storageFull
            }
            state.condition = .failed
            logger.critical("\(error.sentence)", metadata: ["code": "log_failed"])
            meters.reportFailed()
            return .logFailed
        }
    }

    private static func bytesAtMost(_ content: BlockContent) -> Int {
        let names = content.requests.reduce(0) {
            $0 + $1.org.utf8.count + $1.app.utf8.count + $1.currency.utf8.count + 96
        }
        return BlockHeader.byteCount + names + content.rows.count + content.touches.count
            + content.chunks.count * ChunkLayout.byteCount + content.compressed.count + 64
    }

    private func write(_ sealed: inout Sealed) throws(LogStorageError) {
        settle(&sealed)
        encodeTables(&sealed)
        sealed.place = try segments.append(
            &sealed.header, meta: sealed.meta.bytes, payload: sealed.buffer.content.compressed.bytes)
    }

    /// Decides duplicates and counts outcomes, in the order of the rows.
    private func settle(_ sealed: inout Sealed) {
        let content = sealed.buffer.content
        let kinds = EventOutcome.allCases.count
        var counts = [Int](repeating: 0, count: max(1, content.requests.count) * kinds)
        var header = BlockHeader()
        let rows = content.rows.base
        var prefetched: UInt64 = 0
        var earliest = Int64.max
        var latest = Int64.min
        for row in 0..<content.rowCount {
            let ahead = rows + min(row &+ 12, content.rowCount &- 1) &* RowLayout.byteCount
            prefetched ^= index.prefetch(
                ahead.load(fromByteOffset: RowLayout.idHigh, as: UInt64.self),
                ahead.load(fromByteOffset: RowLayout.idLow, as: UInt64.self))
            let base = rows + row &* RowLayout.byteCount
            let view = RowView(base: base)
            var outcome = view.outcome
            if outcome != .quarantined, view.flags & RowLayout.Flag.serverID == 0,
                !index.insert(view.idHigh, view.idLow)
            {
                outcome = .duplicate
                base.storeBytes(of: outcome.rawValue, toByteOffset: RowLayout.outcome, as: UInt8.self)
            }
            counts[view.request &* kinds &+ Int(outcome.rawValue)] &+= 1
            earliest = min(earliest, view.time)
            latest = max(latest, view.time)
        }
        (header.earliest, header.latest) = (earliest, latest)
        withExtendedLifetime(prefetched) {}
        var all = OutcomeCounts()
        for number in content.requests.indices {
            var own = OutcomeCounts()
            for outcome in EventOutcome.allCases { own[outcome] = counts[number * kinds + Int(outcome.rawValue)] }
            sealed.buffer.content.requests[number].counts = own
            all += own
        }
        header.rowCount = UInt32(content.rowCount)
        header.outcomes = (
            UInt32(all.stored), UInt32(all.duplicate), UInt32(all.quarantined), UInt32(all.bot), UInt32(all.late)
        )
        sealed.header = header
    }

    private func encodeTables(_ sealed: inout Sealed) {
        let content = sealed.buffer.content
        for request in content.requests { RequestView(request).encode(into: &sealed.meta) }
        sealed.header.requestTableBytes = UInt32(sealed.meta.count)
        sealed.meta.append(content.rows.base, content.rows.count)
        sealed.meta.append(content.touches.base, content.touches.count)
        for chunk in content.chunks {
            for word in [chunk.rawOffset, chunk.rawCount, chunk.offset, chunk.count, chunk.crc, chunk.codec] {
                sealed.meta.append(word)
            }
        }
        sealed.header.requestCount = UInt32(content.requests.count)
        sealed.header.touchCount = UInt32(content.touchCount)
        sealed.header.chunkCount = UInt32(content.chunks.count)
        sealed.header.metaBytes = UInt32(sealed.meta.count)
        sealed.header.metaCRC = CRC32C.of(sealed.meta.bytes)
        sealed.header.payloadBytes = UInt32(content.compressed.count)
        sealed.header.rawBytes = UInt32(truncatingIfNeeded: content.rawBytes)
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
                views.totals.add(org: request.org, request.counts, at: Timestamp(microseconds: request.receivedAt))
                meters.answered(request)
                if !notice.organisations.contains(request.org) { notice.organisations.append(request.org) }
                answers.append((request, receipt(request, number, place, block.buffer.content)))
            }
            notice.rows += block.buffer.content.rowCount
        }
        meters.remembered(index.count, logBytes: views.directory.byteCount)
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
                let view = RowView(base: content.rows.base + row * RowLayout.byteCount)
                guard view.outcome != .stored else { continue }
                problems.append(EventProblem(view, index: row - request.firstRow, id: content.identifier(row)))
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
        let row = RowView(base: content.rows.base + number * RowLayout.byteCount)
        guard IdentityRule.counts(row.outcome), content.requests.indices.contains(row.request) else { return nil }
        let request = content.requests[row.request]
        self.init(org: request.org, app: request.app, event: row.idHigh, at: row.time)
    }
}

extension EventProblem {
    init(_ row: RowView, index: Int, id: String?) {
        let isRefused = row.outcome == .quarantined
        self.init(
            index: index, id: id, outcome: row.outcome, reason: isRefused ? row.reason.tag : nil,
            field: isRefused ? row.field.path : nil, detail: isRefused ? row.reason.detail : nil)
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
