package import AurumCore
internal import Synchronization

/// The event store over the log's own blocks: scans row tables, inflates only the chunks that answer.
package final class BlockEventStore: EventStore {
    private let views: LogViews
    let catalog: LogCatalog
    let secret: InstallationSecret
    private let limits: EventLimits
    private let clock: any WallClock

    private static let sightingsMax = 20

    init(views: LogViews, secret: InstallationSecret, limits: EventLimits, clock: any WallClock) {
        self.views = views
        catalog = views.catalog
        self.secret = secret
        self.limits = limits
        self.clock = clock
    }

    /// Who is who at this moment, for one query.
    package func persons(org: String) -> PersonSnapshot { views.persons.snapshot(org: org) }

    /// Tells this log from the logs of other servers; gives nothing of its secret away.
    package var logIdentity: Int64 { Int64(bitPattern: secret.identity) }

    /// Every key under which events of a person may be found, that of the identifier itself among them.
    package func personKeys(org: String, of identifier: PersonIdentifier) -> Set<UInt64> {
        let key = secret.keys(org: org, app: "").person(identifier).high
        return views.persons.identifiers(org: org, of: [key]).union([key])
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
                let found = try catalog.request(segment: place.segment, offset: place.offset, request: place.request)
            else { return nil }
            let request = found.view.requests[found.request]
            let check = secret.receiptCheck(
                segment: place.segment, offset: place.offset, request: place.request, nonce: request.nonce)
            guard check == place.check, request.org == org else { return nil }
            let days = Int64(LogRewrite.receiptDays)
            guard request.receivedAt >= clock.now.microseconds - days * 86_400_000_000 else { throw ReceiptExpired() }
            return StoredReceipt(
                receipt: id, app: request.app, format: request.format.label,
                receivedAt: Timestamp(microseconds: request.receivedAt), counts: request.counts,
                problems: try problems(found))
        }
    }

    private func problems(_ found: LogCatalog.Found) throws -> [EventProblem] {
        let request = found.view.requests[found.request]
        guard request.counts.stored < request.rowCount else { return [] }
        let block = try DecodedBlock(found.view, catalog: found.catalog, secret: secret)
        let outcomes = try block.outcomes()
        return try (request.firstRow..<request.firstRow + request.rowCount).compactMap { row in
            guard let outcome = EventOutcome(rawValue: outcomes[row]), outcome != .stored else { return nil }
            return EventProblem(
                outcome, try block.exception(row), index: row - request.firstRow, id: try block.identifier(row))
        }
    }

    /// Blocks that may hold a time in `from`…`to`, until `body` says stop.
    private func blocks(
        newestFirst: Bool, from: Int64 = .min, to: Int64 = .max, _ bound: ReadBound,
        _ body: (DecodedBlock) throws -> Verdict
    ) throws {
        let segments = try catalog.all()
        var isOver = false
        for segment in newestFirst ? segments.reversed() : segments where !isOver {
            try blocks(of: segment, newestFirst: newestFirst, from: from, to: to, bound) { block in
                let verdict = try body(block)
                isOver = verdict == .stop
                return verdict
            }
        }
    }

    private func blocks(
        of segment: SegmentCatalog, newestFirst: Bool, from: Int64, to: Int64, _ bound: ReadBound,
        _ body: (DecodedBlock) throws -> Verdict
    ) throws {
        let entries = segment.entries
        for entry in newestFirst ? entries.reversed() : entries where entry.latest >= from && entry.earliest <= to {
            try bound.take(entry.rowCount)
            guard let view = try segment.view(entry.offset) else { continue }
            let block = try DecodedBlock(view, catalog: segment, secret: secret)
            do {
                if case .stop = try body(block) { return }
            } catch BlockView.Failure.damaged {
                // Its range was reported when the log was opened, or is by `aurum events verify`; the rest serves.
                continue
            }
        }
    }

    /// The rows that a test may select, in the order of the log, those of archives too, until `body` says stop.
    private func rows(_ filter: EventFilter, _ test: RowTest, _ body: (DecodedBlock, Int) throws -> Verdict) throws {
        let (from, to) = (filter.from?.microseconds ?? .min, filter.to?.microseconds ?? .max)
        let bound = ReadBound(within: filter.within)
        let segments = try catalog.all()
        var isOver = false
        for segment in filter.newestFirst ? segments.reversed() : segments where !isOver {
            if segment.archive != nil {
                isOver = try rows(ofArchive: segment, filter, test, from: from, to: to, bound, body) == .stop
                continue
            }
            try blocks(of: segment, newestFirst: filter.newestFirst, from: from, to: to, bound) { block in
                guard block.view.requests.contains(where: { $0.org == filter.org }) else { return .goOn }
                let rows = try test.rows(block)
                for row in filter.newestFirst ? rows.reversed() : rows where !isOver {
                    isOver = try body(block, row) == .stop
                }
                return isOver ? .stop : .goOn
            }
        }
    }

    private func rows(
        ofArchive archive: SegmentCatalog, _ filter: EventFilter, _ test: RowTest, from: Int64, to: Int64,
        _ bound: ReadBound, _ body: (DecodedBlock, Int) throws -> Verdict
    ) throws -> Verdict {
        let kept = ArchiveBlocks(archive, secret)
        let wanted = try archive.blocks(from: from, to: to) {
            $0 == filter.org && (filter.app == nil || $1 == filter.app)
        }
        var order = ArchiveOrder(wanted, newestFirst: filter.newestFirst) { number in
            do {
                guard let block = try kept.block(number)?.block else { return [] }
                try bound.take(block.rowCount)
                return try test.rows(block).compactMap { row in
                    block.view.request(of: row).map {
                        ArchiveOrder.Item(origin: block.view.origin($0), low: UInt32(row), high: 0)
                    }
                }
            } catch BlockView.Failure.damaged {
                return []
            }
        }
        while let (number, item) = try order.next() {
            try bound.take(0)
            do {
                guard let block = try kept.block(number)?.block else { continue }
                if case .stop = try body(block, Int(item.low)) { return .stop }
            } catch BlockView.Failure.damaged {
                continue
            }
        }
        return .goOn
    }

    private enum Verdict { case goOn, stop }

    package func outcome(
        eventID: String, org: String, app: String, within: Duration?
    ) async throws -> OutcomeRecord? {
        try await BlockingWork.value { [self] in
            var record: OutcomeRecord?
            var sightings: [DuplicateSighting] = []
            let wanted = WantedID(eventID)
            try blocks(newestFirst: true, ReadBound(within: within)) { block in
                guard block.view.requests.contains(where: { $0.org == org && $0.app == app }) else { return .goOn }
                for row in try block.rows(of: wanted).reversed() {
                    guard let found = try outcome(block, row, eventID, org, app) else { continue }
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

    private func outcome(
        _ block: DecodedBlock, _ row: Int, _ id: String, _ org: String, _ app: String
    ) throws -> OutcomeRecord? {
        guard let number = block.view.request(of: row),
            let outcome = EventOutcome(rawValue: try block.outcomes()[row])
        else { return nil }
        let request = block.view.requests[number]
        guard request.org == org, request.app == app else { return nil }
        let isRefused = outcome == .quarantined
        let (reason, field) = try block.exception(row)
        return OutcomeRecord(
            id: id, outcome: outcome, reason: isRefused ? reason.tag : nil, field: isRefused ? field.path : nil,
            receipt: receiptText(block.view, number), position: block.position(row),
            receivedAt: Timestamp(microseconds: request.receivedAt), duplicates: [],
            isUnverified: try block.flags()[row] & BlockContent.Flag.unverified != 0)
    }

    func receiptText(_ block: BlockView, _ request: Int) -> String {
        let origin = block.origin(request)
        let check = secret.receiptCheck(
            segment: origin.segment, offset: origin.offset, request: origin.request,
            nonce: block.requests[request].nonce)
        return ReceiptID(
            segment: origin.segment, offset: origin.offset, request: origin.request, check: check
        ).text
    }

    // MARK: events

    package func events(_ filter: EventFilter) async throws -> [StoredEvent] {
        try await BlockingWork.value { [self] in
            let limit = min(max(0, filter.limit), limits.readEventsMax)
            guard limit > 0 else { return [] }
            let test = RowTest(filter, secret)
            let decoder = EventDecoder(secret: secret)
            var events: [StoredEvent] = []
            try rows(filter, test) { block, row in
                guard let event = try block.event(row, decoder), test.holds(event) else { return .goOn }
                events.append(event)
                return events.count == limit ? .stop : .goOn
            }
            return events
        }
    }

    // MARK: journeys

    package func journey(_ query: JourneyQuery) async throws -> [Touch] {
        try await BlockingWork.value { [self] in
            let keys = secret.keys(org: query.org, app: "")
            let persons = views.persons.identifiers(
                org: query.org, of: query.identifiers.map { keys.person($0).high })
            let traces = query.traceID.map { [IdentityKeys.traceHash($0)] } ?? []
            let until = query.until.microseconds
            var entries = try views.touches(
                keys: Array(persons) + traces, from: until - query.lookback.microseconds,
                viewsFrom: until - query.viewLookback.microseconds, to: until)
            entries.sort { ($0.time, $0.position) < ($1.time, $1.position) }
            let decoder = EventDecoder(secret: secret)
            var touches: [Touch] = []
            var open: DecodedBlock?
            for entry in entries.suffix(max(0, query.limit)) {
                // A touch that cannot be read earns nothing; the others do.
                guard
                    let event = try BlockView.readable({ () -> StoredEvent? in
                        guard let found = try catalog.row(at: entry.position) else { return nil }
                        if open?.view.segment != found.view.segment || open?.view.offset != found.view.offset {
                            open = try DecodedBlock(found.view, catalog: found.catalog, secret: secret)
                        }
                        return try open?.event(found.row, decoder)
                    })
                else { continue }
                guard event.org == query.org, belongs(event, query, persons, keys), let touch = Touch(event) else {
                    continue
                }
                touches.append(touch)
            }
            return touches
        }
    }

    private func belongs(
        _ event: StoredEvent, _ query: JourneyQuery, _ persons: Set<UInt64>, _ keys: IdentityKeys
    ) -> Bool {
        event.traceID == query.traceID || event.linkedIdentifiers.contains { persons.contains(keys.person($0).high) }
    }
}

/// The receipt is genuine and too old to be read.
package struct ReceiptExpired: Error, Equatable {}

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

/// An event id to look for.
struct WantedID {
    let text: String
    /// The 16 bytes of a UUID or of 32 hex digits.
    let words: (high: UInt64, low: UInt64)?
    let isUUID: Bool

    init(_ text: String) {
        self.text = text
        let bytes = Array(text.utf8) + [UInt8](repeating: 0, count: 8)
        isUUID = text.utf8.count == 36
        words = bytes.withUnsafeBufferPointer { buffer in
            guard let start = buffer.baseAddress else { return nil }
            return text.utf8.count == 36 ? HoleText.uuid(start) : text.utf8.count == 32 ? HoleText.hex(start) : nil
        }
    }
}

extension DecodedBlock {
    /// The rows that carry an id, in the order of the log.
    func rows(of wanted: WantedID) throws -> [Int] {
        let shapes = try shapes()
        let flags = try flags()
        let columns = storedShapes.map { shape in
            shape?.pieces.first { $0.field == EventField.id.rawValue }.flatMap { $0.column }
        }
        var found: [Int] = []
        var holds: [UInt16: [Bool]] = [:]
        let derived = BlockContent.Flag.derivedID | BlockContent.Flag.serverID
        for column in Set(columns.compactMap { $0 }) {
            holds[column] = try matches(column, wanted)
        }
        for row in 0..<rowCount {
            let shape = Int(shapes[row])
            if flags[row] & derived == 0, shape < columns.count, let column = columns[shape] {
                let place = Int(try rank(column)[row])
                if place >= 0, holds[column]?[place] ?? false { found.append(row) }
            } else if try identifier(row) == wanted.text {
                found.append(row)
            }
        }
        return found
    }

    /// Which values of a column of ids are the one wanted.
    private func matches(_ column: UInt16, _ wanted: WantedID) throws -> [Bool]? {
        guard let values = try values(column), let kind = dictionary.column(column)?.kind else { return nil }
        switch values {
        case .identifiers(let words):
            guard let key = wanted.words, wanted.isUUID == (kind == .uuid) else {
                return [Bool](repeating: false, count: words.count / 2)
            }
            return (0..<words.count / 2).map { words[$0 * 2] == key.high && words[$0 * 2 + 1] == key.low }
        case .codes(let codes):
            let texts = try dictionary.texts(column, of: catalog)
            var known: [UInt32: Bool] = [:]
            return codes.map { code in
                if let answer = known[code] { return answer }
                let answer = texts.text(code) == wanted.text
                known[code] = answer
                return answer
            }
        case .plain(let starts, let bytes):
            return (0..<starts.count - 1).map {
                EscapedText.decoded(Array(bytes[starts[$0]..<starts[$0 + 1]])) == wanted.text
            }
        case .numbers: return nil
        }
    }
}

/// The part of a filter that columns can answer.
private struct RowTest {
    private let filter: EventFilter
    private let types: UInt32
    private let outcomes: UInt8

    init(_ filter: EventFilter, _ secret: InstallationSecret) {
        self.filter = filter
        types = filter.types.reduce(0) { $0 | 1 << UInt32($1.rawValue) }
        outcomes = filter.outcomes.reduce(0) { $0 | 1 << $1.rawValue }
    }

    /// Rows of the block that may hold.
    func rows(_ block: DecodedBlock) throws -> [Int] {
        let from = filter.from?.microseconds ?? .min
        let to = filter.to?.microseconds ?? .max
        let codes = try block.outcomes()
        let times = try block.times()
        let kinds = types == 0 ? [] : try block.types()
        let names = filter.names.isEmpty ? nil : try allowed(ColumnName.name, filter.names, block)
        let persons = filter.identifiers.isEmpty ? nil : try persons(block)
        var found: [Int] = []
        for request in block.view.requests where request.org == filter.org {
            guard filter.app == nil || request.app == filter.app else { continue }
            for row in request.firstRow..<request.firstRow + request.rowCount {
                guard outcomes & (1 << codes[row]) != 0, times[row] >= from, times[row] <= to else { continue }
                if types != 0, types & (1 << UInt32(kinds[row] & 31)) == 0 { continue }
                if let names, !names[row] { continue }
                if let persons, !persons[row] { continue }
                found.append(row)
            }
        }
        return found
    }

    private func allowed(_ name: ColumnName, _ values: Set<String>, _ block: DecodedBlock) throws -> [Bool] {
        guard let column = try block.text(name) else { return [Bool](repeating: false, count: block.rowCount) }
        var known: [UInt32: Bool] = [0: false]
        return column.codes.map { code in
            if let answer = known[code] { return answer }
            let answer = values.contains(column.dictionary.text(code))
            known[code] = answer
            return answer
        }
    }

    private func persons(_ block: DecodedBlock) throws -> [Bool] {
        var any = [Bool](repeating: false, count: block.rowCount)
        for (namespace, name) in [
            (PersonIdentifier.Namespace.anonymous, "anonymous_id"), (.user, "user_id"), (.device, "device_id"),
            (.click, "click_id"), (.event, "id"),
        ] {
            let values = Set(filter.identifiers.filter { $0.namespace == namespace }.map(\.value))
            guard !values.isEmpty else { continue }
            for (row, holds) in try allowed(ColumnName(name), values, block).enumerated() where holds {
                any[row] = true
            }
        }
        return any
    }

    /// The exact test of what columns only suggest.
    func holds(_ event: StoredEvent) -> Bool {
        if let trace = filter.traceID, event.traceID != trace { return false }
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
        case .group: groupID == identifier.value
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
        (ad, channel, clickID) = (event.campaign.ad, event.channel, event.clickID)
        cost = kind == .visit ? nil : event.value
        currency = kind == .visit ? nil : event.currency
        (referrer, landing) = (event.referrer, event.url)
        (anonymousID, userID, deviceID) = (event.anonymousID, event.userID, event.deviceID)
        refusesAdvertising = event.advertisingConsent.isRefused
    }
}
