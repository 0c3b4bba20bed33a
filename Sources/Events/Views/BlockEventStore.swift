package import AurumCore
internal import Synchronization

/// The event store over the log's own blocks: scans row tables, inflates only the chunks that answer.
package final class BlockEventStore: EventStore {
    private let views: LogViews
    let scan: SegmentScan
    let secret: InstallationSecret
    private let limits: EventLimits
    private let clock: any WallClock

    private static let sightingsMax = 20

    init(views: LogViews, secret: InstallationSecret, limits: EventLimits, clock: any WallClock) {
        self.views = views
        scan = SegmentScan(directory: views.directory)
        self.secret = secret
        self.limits = limits
        self.clock = clock
    }

    package func totals(org: String) -> LiveTotals { views.totals.totals(org: org, now: clock.now) }

    /// The trace id of an event that brings none: of its first identifier among user, anonymous and device.
    package func derivedTraceID(org: String, app: String, identifier: PersonIdentifier) -> UID {
        let keys = secret.keys(org: org, app: app)
        let trace = keys.trace(ofPerson: keys.person(identifier))
        return UID(high: trace.high, low: trace.low)
    }

    /// Calls `hook` on the writer thread after each durable commit; it must return at once. Ends with the subscription.
    package func onCommit(_ hook: @escaping @Sendable (CommitNotice) -> Void) -> CommitSubscription {
        CommitSubscription(views: views, number: views.subscribe(hook))
    }

    // MARK: receipts and outcomes

    package func receipt(_ id: String, org: String) async throws -> StoredReceipt? {
        try await BlockingWork.value { [self] in
            guard let place = ReceiptID(id),
                let block = try scan.block(segment: place.segment, offset: Int(place.offset)),
                block.requests.indices.contains(Int(place.request))
            else { return nil }
            let request = block.requests[Int(place.request)]
            let check = secret.receiptCheck(
                segment: place.segment, offset: place.offset, request: place.request, nonce: request.nonce)
            guard check == place.check, request.org == org else { return nil }
            return StoredReceipt(
                receipt: id, app: request.app, format: request.format.label,
                receivedAt: Timestamp(microseconds: request.receivedAt), counts: request.counts,
                problems: try problems(block, request))
        }
    }

    private func problems(_ block: BlockView, _ request: RequestView) throws -> [EventProblem] {
        guard request.counts.stored < request.rowCount else { return [] }
        let reader = PayloadReader(block)
        let decoder = EventDecoder(secret: secret)
        var problems: [EventProblem] = []
        for row in request.firstRow..<request.firstRow + request.rowCount {
            let problem = block.row(row) { view -> (RowView, Bool) in (view, view.outcome != .stored) }
            guard let (view, isProblem) = problem, isProblem else { continue }
            let raw = try reader.raw(row)
            let id =
                view.outcome == .quarantined
                ? raw.withUnsafeBufferPointer { DerivedID.salvaged(from: $0) }
                : decoder.event(raw, row: row, block: block)?.id
            problems.append(EventProblem(view, index: row - request.firstRow, id: id))
        }
        return problems
    }

    package func outcome(eventID: String, org: String, app: String) async throws -> OutcomeRecord? {
        try await BlockingWork.value { [self] in
            let key = secret.keys(org: org, app: app).event(id: eventID)
            var record: OutcomeRecord?
            var sightings: [DuplicateSighting] = []
            try scan.blocks(newestFirst: true) { block in
                for row in rows(block, key).reversed() {
                    guard let found = outcome(block, row, eventID, org, app) else { continue }
                    if found.outcome == .duplicate {
                        if sightings.count < Self.sightingsMax {
                            sightings.append(DuplicateSighting(receipt: found.receipt, receivedAt: found.receivedAt))
                        }
                    } else if record == nil || record?.outcome == .quarantined {
                        record = found
                        // A quarantined copy may be followed by a good one before it.
                        if found.outcome != .quarantined { return .stop }
                    }
                }
                return .goOn
            }
            record?.duplicates = sightings
            return record
        }
    }

    private func rows(_ block: BlockView, _ key: (high: UInt64, low: UInt64)) -> [Int] {
        block.withRows { base, count in
            var found: [Int] = []
            for index in 0..<count {
                let row = RowView(base: base + index * RowLayout.byteCount)
                if row.idHigh == key.high, row.idLow == key.low { found.append(index) }
            }
            return found
        } ?? []
    }

    private func outcome(
        _ block: BlockView, _ row: Int, _ id: String, _ org: String, _ app: String
    ) -> OutcomeRecord? {
        block.row(row) { view -> OutcomeRecord? in
            guard block.requests.indices.contains(view.request) else { return nil }
            let request = block.requests[view.request]
            guard request.org == org, request.app == app else { return nil }
            let isRefused = view.outcome == .quarantined
            return OutcomeRecord(
                id: id, outcome: view.outcome, reason: isRefused ? view.reason.tag : nil,
                field: isRefused ? view.field.path : nil, receipt: receiptText(block, view.request),
                position: position(block, row), receivedAt: Timestamp(microseconds: request.receivedAt), duplicates: [])
        } ?? nil
    }

    func receiptText(_ block: BlockView, _ request: Int) -> String {
        let check = secret.receiptCheck(
            segment: block.segment, offset: UInt32(block.offset), request: UInt16(request),
            nonce: block.requests[request].nonce)
        return ReceiptID(
            segment: block.segment, offset: UInt32(block.offset), request: UInt16(request), check: check
        ).text
    }

    private func position(_ block: BlockView, _ row: Int) -> LogPosition {
        LogPosition(segment: block.segment, offset: UInt32(block.offset), row: UInt32(row))
    }

    // MARK: events

    package func events(_ filter: EventFilter) async throws -> [StoredEvent] {
        try await BlockingWork.value { [self] in
            let limit = min(max(0, filter.limit), limits.readEventsMax)
            guard limit > 0 else { return [] }
            let test = RowTest(filter, secret.keys(org: filter.org, app: filter.app ?? ""))
            let decoder = EventDecoder(secret: secret)
            var events: [StoredEvent] = []
            try scan.blocks(
                newestFirst: filter.newestFirst, from: filter.from?.microseconds ?? .min,
                to: filter.to?.microseconds ?? .max
            ) { block in
                guard block.requests.contains(where: { $0.org == filter.org }) else { return .goOn }
                let reader = PayloadReader(block)
                var rows = test.rows(block)
                if filter.newestFirst { rows.reverse() }
                for row in rows {
                    guard let event = decoder.event(try reader.raw(row), row: row, block: block), test.holds(event)
                    else {
                        continue
                    }
                    events.append(event)
                    if events.count == limit { return .stop }
                }
                return .goOn
            }
            return events
        }
    }

    // MARK: journeys

    package func journey(_ query: JourneyQuery) async throws -> [Touch] {
        try await BlockingWork.value { [self] in
            let keys = secret.keys(org: query.org, app: "")
            var hashes = query.identifiers.map { keys.person($0).high }
            if let trace = query.traceID { hashes.append(IdentityKeys.traceHash(trace)) }
            let until = query.until.microseconds
            var entries = views.touches(keys: hashes, from: until - query.lookback.microseconds, to: until)
            entries.sort { ($0.time, $0.position) < ($1.time, $1.position) }
            let decoder = EventDecoder(secret: secret)
            var touches: [Touch] = []
            var open: (block: BlockView, reader: PayloadReader)?
            for entry in entries.suffix(max(0, query.limit)) {
                let place = entry.position
                if open?.block.segment != place.segment || open?.block.offset != Int(place.offset) {
                    open = try scan.block(segment: place.segment, offset: Int(place.offset)).map {
                        ($0, PayloadReader($0))
                    }
                }
                guard let open,
                    let event = decoder.event(
                        try open.reader.raw(Int(place.row)), row: Int(place.row), block: open.block)
                else { continue }
                guard event.org == query.org, Self.belongs(event, query), let touch = Touch(event) else { continue }
                touches.append(touch)
            }
            return touches
        }
    }

    private static func belongs(_ event: StoredEvent, _ query: JourneyQuery) -> Bool {
        event.traceID == query.traceID || query.identifiers.contains { event.carries($0) }
    }
}

/// Ends its hook when it is cancelled or dropped.
package final class CommitSubscription: Sendable {
    private let views: LogViews
    private let number: Int

    init(views: LogViews, number: Int) {
        self.views = views
        self.number = number
    }

    deinit { views.unsubscribe(number) }

    package func cancel() { views.unsubscribe(number) }
}

/// The raw events of one block; keeps the last inflated chunk, since rows are read in order.
final class PayloadReader {
    private let block: BlockView
    private var chunk: (index: Int, start: Int, bytes: [UInt8])?

    init(_ block: BlockView) { self.block = block }

    /// The bytes of one row's event. Throws when its chunk is damaged.
    func raw(_ row: Int) throws -> ArraySlice<UInt8> {
        guard let (offset, count) = block.row(row, { ($0.payloadOffset, $0.payloadCount) }),
            let index = block.chunkIndex(of: offset)
        else { throw BlockView.Failure.damaged }
        if chunk?.index != index {
            let inflated = try block.inflated(index)
            chunk = (index, inflated.start, inflated.bytes)
        }
        guard let chunk, offset >= chunk.start, offset - chunk.start + count <= chunk.bytes.count else {
            throw BlockView.Failure.damaged
        }
        return chunk.bytes[offset - chunk.start..<offset - chunk.start + count]
    }
}

/// The part of a filter that the row table can answer.
private struct RowTest {
    private let filter: EventFilter
    private let trace: UInt64?
    private let types: UInt32
    private let names: Set<UInt32>
    private let outcomes: UInt8

    init(_ filter: EventFilter, _ keys: IdentityKeys) {
        self.filter = filter
        trace = filter.traceID.map { IdentityKeys.traceHash($0) }
        types = filter.types.reduce(0) { $0 | 1 << UInt32($1.rawValue) }
        names = Set(filter.names.map { NameHash.of($0) })
        outcomes = filter.outcomes.reduce(0) { $0 | 1 << $1.rawValue }
    }

    /// Rows of the block that may hold.
    func rows(_ block: BlockView) -> [Int] {
        let requests = block.requests.map { $0.org == filter.org && (filter.app == nil || $0.app == filter.app) }
        let from = filter.from?.microseconds ?? .min
        let to = filter.to?.microseconds ?? .max
        return block.withRows { base, count in
            var found: [Int] = []
            for index in 0..<count {
                let row = RowView(base: base + index &* RowLayout.byteCount)
                if let trace, row.trace != trace { continue }
                guard outcomes & (1 << row.outcomeCode) != 0, row.time >= from, row.time <= to else { continue }
                if types != 0, types & (1 << UInt32(row.type & 31)) == 0 { continue }
                if !names.isEmpty, !names.contains(row.name) { continue }
                guard requests.indices.contains(row.request), requests[row.request] else { continue }
                found.append(index)
            }
            return found
        } ?? []
    }

    /// The exact test of what hashes only suggest.
    func holds(_ event: StoredEvent) -> Bool {
        if let trace = filter.traceID, event.traceID != trace { return false }
        if !filter.names.isEmpty, !filter.names.contains(event.name) { return false }
        return filter.identifiers.isEmpty || filter.identifiers.contains { event.carries($0) }
    }
}

extension StoredEvent {
    func carries(_ identifier: PersonIdentifier) -> Bool {
        switch identifier.namespace {
        case .anonymous: anonymousID == identifier.value
        case .user: userID == identifier.value
        case .device: deviceID == identifier.value
        case .click: clickID == identifier.value
        case .event: id == identifier.value
        }
    }
}

extension Touch {
    /// nil when the event is no touchpoint by its type.
    init?(_ event: StoredEvent) {
        switch event.type {
        case .click: kind = .click
        case .impression: kind = .impression
        case .page, .screen, .open: kind = .visit
        default: return nil
        }
        (eventID, position, at, traceID, app) = (event.id, event.position, event.at, event.traceID, event.app)
        (campaign, campaignID) = (event.campaign.name, event.campaign.id)
        (source, medium, network) = (event.campaign.source, event.campaign.medium, event.campaign.network)
        (channel, clickID) = (event.channel, event.clickID)
        cost = kind == .visit ? nil : event.value
        currency = kind == .visit ? nil : event.currency
        (referrer, landing) = (event.referrer, event.url)
        (anonymousID, userID, deviceID) = (event.anonymousID, event.userID, event.deviceID)
    }
}
