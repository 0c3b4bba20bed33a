internal import AurumCore
internal import Events

/// An open that the log holds and that a click or a link may have led to.
struct SeenOpen: Sendable {
    var seen: SeenInstall
    var link: OpenLink?
}

/// Half a day of a device's use of an app. Two bounds that are a day apart but for seconds never lie in one.
struct ActivityPlace: Hashable, Sendable {
    var org: String
    var app: String
    var device: Int64
    var halfDay: Int64

    static let length: Int64 = 43_200_000_000

    init(org: String, app: String, device: Int64, at: Int64) {
        (self.org, self.app, self.device) = (org, app, device)
        let (whole, rest) = at.quotientAndRemainder(dividingBy: Self.length)
        halfDay = rest < 0 ? whole - 1 : whole
    }
}

/// The first and the last use, in microseconds since 1970.
struct ActivitySpan: Sendable, Equatable {
    var first: Int64
    var last: Int64

    init(_ at: Int64) { (first, last) = (at, at) }

    mutating func add(_ other: ActivitySpan) { (first, last) = (min(first, other.first), max(last, other.last)) }
}

/// Finds in blocks when devices used an app. One thread at a time.
struct ActivityReader {
    private struct Known: Hashable {
        let org: String
        let dictionary: Int
        let code: UInt32
    }

    /// Hashes by the code of their text; nil for a text that says nothing.
    private var keys: [Known: Int64?] = [:]
    private static let keysMax = 200_000
    /// What somebody does in an app. Conversions may be told by a server, without anybody there.
    static let types: Set<UInt8> = Set([EventType.install, .open, .page, .screen, .track].map(\.rawValue))
    private static let kinds: [(ColumnName, InstallKeys.Kind)] = [
        (ColumnName("device_id"), .device), (ColumnName("advertising_id"), .advertising),
        (ColumnName("vendor_id"), .vendor),
    ]

    /// Adds what a request of a block says: under the first identifier that an event has of device, advertising and
    /// vendor id.
    /// - Parameters:
    ///   - times: that are of interest, both included.
    ///   - devices: whose uses are; nil for everybody's.
    mutating func read(
        _ block: any ColumnBlock, _ request: RequestSpan, times wanted: ClosedRange<Int64>, devices: Set<Int64>?,
        into found: inout [ActivityPlace: ActivitySpan]
    ) throws {
        let (types, outcomes, times) = (try block.types(), try block.outcomes(), try block.times())
        let end = min(block.rowCount, request.firstRow + request.rowCount)
        let rows = (min(request.firstRow, end)..<end).filter { row in
            Self.types.contains(types[row]) && wanted.contains(times[row])
                && (outcomes[row] == EventOutcome.stored.rawValue || outcomes[row] == EventOutcome.late.rawValue)
        }
        guard !rows.isEmpty else { return }
        let columns = try Self.kinds.map { (try block.text($0.0), $0.1) }
        for row in rows {
            guard let device = device(row, columns, org: request.org), devices?.contains(device) ?? true else {
                continue
            }
            let place = ActivityPlace(org: request.org, app: request.app, device: device, at: times[row])
            found[place, default: ActivitySpan(times[row])].add(ActivitySpan(times[row]))
        }
    }

    private mutating func device(
        _ row: Int, _ columns: [(TextColumn?, InstallKeys.Kind)], org: String
    ) -> Int64? {
        for case (let column?, let kind) in columns where column.codes[row] != 0 {
            let known = Known(org: org, dictionary: column.dictionary.id, code: column.codes[row])
            if let key = keys[known] {
                if let key { return key }
                continue
            }
            if keys.count >= Self.keysMax { keys = [:] }
            let key = InstallKeys.key(kind, column.dictionary.text(known.code), org: org)
            keys.updateValue(key, forKey: known)
            if let key { return key }
        }
        return nil
    }
}

extension SeenOpen {
    /// nil for an open that no click, link or campaign led to, and for one whose sender refuses advertising.
    init?(_ event: StoredEvent, _ place: JourneyPlace) {
        guard !event.advertisingConsent.isRefused else { return nil }
        let campaign = event.campaign
        let network = campaign.network ?? campaign.source
        let name = campaign.name ?? campaign.id
        guard event.clickID != nil || event.url?.isEmpty == false || network != nil || name != nil else { return nil }
        seen = SeenInstall(event, place)
        let keys = seen.keys
        guard keys.device != nil || keys.advertising != nil || keys.vendor != nil else { return nil }
        // A link that names neither does not say who brought the person back.
        guard network != nil || name != nil else { return }
        link = OpenLink(
            network: network, campaign: name, publisher: campaign.publisherID, creative: campaign.creativeID,
            adGroup: campaign.adGroupID, channel: event.channel.rawValue, place: place)
    }
}
