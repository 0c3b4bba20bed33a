internal import AurumCore
internal import Events

/// A click or a view that the log holds.
struct SeenTouch: Sendable {
    var org: String
    var touch: InstallTouch
    var keys: InstallKeys
}

/// An install that the log holds.
struct SeenInstall: Sendable {
    var facts: InstallFacts
    var eventID: String
    var receivedAt: Timestamp
    var keys: InstallKeys
    var person: UInt64
}

/// What a part of the log holds of clicks, views and installs.
struct InstallBatch: Sendable {
    var touches: [SeenTouch] = []
    var installs: [SeenInstall] = []
    /// What templates of callbacks tell of.
    var conversions: [SeenConversion] = []
    /// Opens that a click or a link may have led to.
    var opens: [SeenOpen] = []
    /// When devices used apps that somebody installed.
    var activity: [ActivityPlace: ActivitySpan] = [:]
    /// Later last uses of half days that are in the table; of what was erased since nothing comes back.
    var moved: [ActivityPlace: ActivitySpan] = [:]
    /// Apps of which uses were passed over, as nobody had installed them, for the first time.
    var passedOver: Set<InstallStore.Owner> = []
    /// From when on every use is kept of apps of which some were passed over.
    var keptSince: [InstallStore.Owner: Timestamp] = [:]
    /// Everything up to here was read; nil where that was so before.
    var position: LogPosition?
    /// When the newest request that was read came.
    var receivedAt = Timestamp(microseconds: 0)
    /// Rows that were looked at.
    var rows = 0
    /// Whether opens that were decided wait again which it may change: not where a part of the log is read once more.
    var reopens = true

    mutating func add(_ other: InstallBatch) {
        touches += other.touches
        installs += other.installs
        conversions += other.conversions
        opens += other.opens
        activity.merge(other.activity) { mine, new in
            var span = mine
            span.add(new)
            return span
        }
        passedOver.formUnion(other.passedOver)
        keptSince.merge(other.keptSince) { max($0, $1) }
    }

    var count: Int { touches.count + installs.count + conversions.count + opens.count + activity.count + moved.count }
    var isEmpty: Bool { count == 0 && passedOver.isEmpty && keptSince.isEmpty }
}

/// What a scan keeps.
struct InstallScanBounds: Sendable {
    /// nil means every organisation.
    var org: String?
    var touches: ClosedRange<Int64> = .min ... .max
    /// From the first up to, and without, the second.
    var installs: (from: Int64, to: Int64) = (.min, .max)
    /// Whose opens and use of the app are looked at from the first block on; others are from their first install on.
    var apps: Set<InstallStore.Owner> = []
    /// Others of which it is known that uses were passed over.
    var passedOver: Set<InstallStore.Owner> = []
    /// Whose uses are looked at, by identifiers of devices; nil for everybody's.
    var devices: Set<Int64>?
    /// Clicks, views, installs and opens are not.
    var isOnlyUses = false

    func mayHold(_ block: BlockSummary) -> Bool {
        guard block.rowCount > 0 else { return false }
        let isInReach =
            block.latest >= touches.lowerBound && block.earliest <= touches.upperBound
            || block.latest >= installs.from && block.earliest < installs.to
        return isInReach && (org == nil || block.sources.contains { $0.org == org })
    }
}

/// Where a scan goes on without looking for the place.
struct InstallScanPlace: Sendable, Equatable {
    var segment: UInt64
    var block: Int
}

/// Reads one snapshot of the log from a position on, block by block. What it hands out may have been handed out before:
/// archives hold their rows in another order and are read as a whole.
final class InstallScan: @unchecked Sendable {  // one call at a time, by the one task that reads
    /// Clicks, views and installs handed out together, and rows looked at for them; one block more at most.
    static let itemsMax = 2000
    static let rowsMax = 500_000

    private let segments: [ColumnSegment]
    private let after: LogPosition?
    private let bounds: InstallScanBounds
    private var scanners: [CallbackScanner] = []
    /// Apps that somebody installed, and others of which uses were passed over.
    private(set) var apps: Set<InstallStore.Owner>
    private(set) var passedOver: Set<InstallStore.Owner>
    /// When the newest request came that was read so far: archives hold older ones behind it.
    private var newest = Int64.min
    private var activity = ActivityReader()
    private var segment = 0
    private var block = 0
    private var isPlaced = false
    private(set) var damaged = 0

    /// - Parameter after: blocks that end before it, or there, were read.
    init(
        _ segments: [ColumnSegment], after: LogPosition?, bounds: InstallScanBounds = InstallScanBounds(),
        place: InstallScanPlace? = nil
    ) {
        (self.segments, self.after, self.bounds) = (segments, after, bounds)
        (apps, passedOver) = (bounds.apps, bounds.passedOver)
        if let place, let found = segments.lastIndex(where: { $0.identity == place.segment }),
            place.block <= segments[found].blocks.count
        {
            (segment, block, isPlaced) = (found, place.block, true)
        }
    }

    /// Hands out, from now on, the events of these as well.
    func watch(_ watches: [CallbackWatch]) { scanners = watches.map { CallbackScanner($0) } }

    /// After the last block that was handed out, where blocks stand in the order of the log.
    var place: InstallScanPlace? {
        guard let last = segments.indices.last, segment >= last, segments[last].newest == nil else { return nil }
        return InstallScanPlace(
            segment: segments[last].identity, block: segment > last ? segments[last].blocks.count : block)
    }

    /// The next part; nil at the end of the snapshot. Blocks its thread.
    func next() throws -> InstallBatch? {
        guard segment < segments.count else { return nil }
        var batch = InstallBatch()
        var rows = 0
        while segment < segments.count, rows < Self.rowsMax, batch.count < Self.itemsMax {
            let current = segments[segment]
            if block == 0, try isDone(current) {
                segment += 1
                continue
            }
            guard block < current.blocks.count else {
                if let newest = current.newest { batch.position = newest }
                (segment, block) = (segment + 1, 0)
                continue
            }
            let index = block
            block += 1
            guard current.blocks[index].rowCount > 0 else { continue }
            rows += try read(current, index, &batch)
        }
        batch.rows = rows
        return batch
    }

    /// Whether a segment lies wholly before the position.
    private func isDone(_ segment: ColumnSegment) throws -> Bool {
        guard !isPlaced, let after else { return false }
        if let newest = segment.newest { return newest <= after }
        for index in segment.blocks.indices.reversed() where segment.blocks[index].rowCount > 0 {
            guard let block = try segment.read(index), block.rowCount > 0 else { continue }
            return block.position(block.rowCount - 1) <= after
        }
        return false
    }

    /// - Returns: rows that were looked at.
    private func read(_ segment: ColumnSegment, _ index: Int, _ batch: inout InstallBatch) throws -> Int {
        let isOrdered = segment.newest == nil
        let isWanted = bounds.mayHold(segment.blocks[index])
        // A block that is not wanted still moves the position on.
        guard isWanted || isOrdered else { return 0 }
        guard let block = try segment.read(index), block.rowCount > 0 else {
            damaged += 1
            return 0
        }
        let last = block.position(block.rowCount - 1)
        if isOrdered, !isPlaced, let after, last <= after { return 0 }
        if isWanted {
            let received = block.requests.map(\.receivedAt).max() ?? 0
            batch.receivedAt = max(batch.receivedAt, Timestamp(microseconds: received))
            var found = InstallBatch()
            // What is damaged gives nothing, and what stands behind it goes on.
            if try block.readable({ try take(block, &found) }) == nil { damaged += 1 } else { batch.add(found) }
        }
        if isOrdered { batch.position = last }
        return block.rowCount
    }

    private func take(_ bare: any ColumnBlock, _ batch: inout InstallBatch) throws -> Bool {
        // Every request and every watch looks at the same columns: without it the work grows with the square of them.
        let block = MemoBlock(bare)
        for scanner in scanners { batch.conversions += try scanner.find(in: block) }
        let (types, outcomes) = (try block.types(), try block.outcomes())
        let (click, view, install) = (
            EventType.click.rawValue, EventType.impression.rawValue, EventType.install.rawValue
        )
        for request in block.requests where bounds.org == nil || request.org == bounds.org {
            let owner = InstallStore.Owner(org: request.org, app: request.app)
            let end = min(block.rowCount, request.firstRow + request.rowCount)
            let rows = min(request.firstRow, end)..<end
            meet(owner, request, rows, types, &batch)
            let open = apps.contains(owner) ? EventType.open.rawValue : install
            let wanted = rows.filter { row in
                guard !bounds.isOnlyUses else { return false }
                let type = types[row]
                guard type == click || type == view || type == install || type == open else { return false }
                return outcomes[row] == EventOutcome.stored.rawValue || outcomes[row] == EventOutcome.late.rawValue
            }
            if apps.contains(owner), bounds.devices?.isEmpty != true {
                try activity.read(
                    block, request, times: bounds.touches, devices: bounds.devices, into: &batch.activity)
            }
            guard !wanted.isEmpty else { continue }
            let places = try block.touchRows(wanted.map { UInt32($0) }, org: request.org)
            for (index, row) in wanted.enumerated() {
                guard let event = try block.event(row) else { continue }
                var place = JourneyPlace()
                (place.person, place.order) = (places.persons[index], places.orders[index])
                (place.tail, place.click) = (places.tails[index], places.clicks[index])
                add(event, place, &batch)
            }
        }
        return true
    }

    /// Notes who installs an app first, and of whom uses are passed over until then.
    private func meet(
        _ owner: InstallStore.Owner, _ request: RequestSpan, _ rows: Range<Int>, _ types: [UInt8],
        _ batch: inout InstallBatch
    ) {
        newest = max(newest, request.receivedAt)
        guard !apps.contains(owner) else { return }
        if rows.contains(where: { types[$0] == EventType.install.rawValue }) {
            apps.insert(owner)
            guard passedOver.remove(owner) != nil else { return }
            batch.keptSince[owner] = Timestamp(microseconds: newest)
        } else if !passedOver.contains(owner), rows.contains(where: { ActivityReader.types.contains(types[$0]) }) {
            passedOver.insert(owner)
            batch.passedOver.insert(owner)
        }
    }

    private func add(_ event: StoredEvent, _ place: JourneyPlace, _ batch: inout InstallBatch) {
        let at = event.at.microseconds
        if event.type == .install {
            guard at >= bounds.installs.from, at < bounds.installs.to else { return }
            batch.installs.append(SeenInstall(event, place))
        } else if event.type == .open {
            guard at >= bounds.installs.from, at < bounds.installs.to else { return }
            if let open = SeenOpen(event, place) { batch.opens.append(open) }
        } else if bounds.touches.contains(at), !event.advertisingConsent.isRefused, let touch = SeenTouch(event, place)
        {
            batch.touches.append(touch)
        }
    }
}

extension SeenTouch {
    /// nil for a touch that no install could be matched with.
    fileprivate init?(_ event: StoredEvent, _ place: JourneyPlace) {
        let keys = InstallKeys(
            org: event.org, device: event.deviceID, advertising: event.advertisingID, vendor: event.vendorID,
            click: event.clickID, user: event.userID)
        guard !keys.isEmpty else { return nil }
        var touch = CandidateTouch(
            id: .ofEvent(event.id), at: event.at, kind: event.type == .click ? .click : .view)
        touch.event = UID.textOfEvent(event.id)
        let campaign = event.campaign
        touch.network = campaign.network ?? campaign.source
        touch.campaign = campaign.name ?? campaign.id
        touch.publisher = campaign.publisherID
        (touch.clickID, touch.deviceID) = (event.clickID, event.deviceID ?? event.advertisingID ?? event.vendorID)
        let facts = OriginFacts(event)
        (touch.addressHash, touch.userAgent, touch.system) = (facts.addressHash, facts.userAgent, facts.system)
        touch.addressNetwork = facts.addressNetwork
        var found = InstallTouch(touch, eventID: event.id, app: event.app)
        (found.creative, found.adGroup) = (campaign.creativeID, campaign.adGroupID)
        (found.channel, found.place) = (event.channel.rawValue, place)
        self.init(org: event.org, touch: found, keys: keys)
    }
}

extension SeenInstall {
    /// Of an install, or of an open that is matched as one.
    init(_ event: StoredEvent, _ place: JourneyPlace) {
        var facts = InstallFacts(org: event.org, app: event.app, id: .ofEvent(event.id), at: event.at)
        facts.event = UID.textOfEvent(event.id)
        facts.installBeganAt = event.installBeganAt.flatMap { $0.isPlausible ? $0 : nil }
        (facts.deviceID, facts.advertisingID) = (event.deviceID, event.advertisingID)
        (facts.vendorID, facts.userID) = (event.vendorID, event.userID)
        facts.installReferrer = event.installReferrer
        facts.deepLinkClickID = ClickIDs.inAddress(event.url)
        // A click id that was not sent as such was found in the address when the event was stored.
        facts.clickID = event.raw.contains("\"click_id\"") ? event.clickID : nil
        let origin = OriginFacts(event)
        (facts.addressHash, facts.userAgent, facts.system) = (origin.addressHash, origin.userAgent, origin.system)
        facts.addressNetwork = origin.addressNetwork
        facts.isEmulator = event.says("emulator") || event.says("is_emulator")
        facts.refusal = UploadRefusal(event.advertisingConsent)
        facts.isFromDataCentre = event.json["bot_reasons"]?.array?.contains(.string("datacentre_ip")) ?? false
        let keys = InstallKeys(
            org: event.org, device: event.deviceID, advertising: event.advertisingID, vendor: event.vendorID,
            click: facts.clickID ?? ClickIDs.inReferrer(facts.installReferrer) ?? facts.deepLinkClickID,
            user: event.userID)
        self.init(
            facts: facts, eventID: event.id, receivedAt: event.receivedAt, keys: keys, person: place.person)
    }
}

/// What an event says of the machine that it came from.
private struct OriginFacts {
    var addressHash: String?
    /// As the log keeps it: cut.
    var addressNetwork: String?
    var userAgent: String?
    var system: String?

    init(_ event: StoredEvent) {
        let context = event.context
        addressHash = context?["ip_hash"]?.string
        addressNetwork = addressHash == nil ? nil : context?["ip"]?.string
        userAgent = context?["user_agent"]?.string ?? context?["userAgent"]?.string
        let os = context?["os"]
        let declared = os?["name"]?.string ?? os?.string ?? context?["platform"]?.string
        system = (declared ?? userAgent.flatMap { UserAgentFacts($0).os })?.lowercased()
    }
}

extension StoredEvent {
    /// Whether `context`, its device, or `props` say a thing is so.
    fileprivate func says(_ name: String) -> Bool {
        context?[name] == .bool(true) || context?["device"]?[name] == .bool(true) || props?[name] == .bool(true)
    }
}
