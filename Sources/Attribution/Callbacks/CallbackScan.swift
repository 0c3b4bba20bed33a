internal import AurumCore
package import Events

/// A conversion that templates tell of, as events of the log are compared with it.
struct CallbackWatch: Sendable {
    var org: String
    var name: String
    var repeats: ConversionDefinition.Repeats
    /// nil where the event says what it is worth.
    var fixed: Money?
    /// Events that were received earlier are not told.
    var since: Timestamp
    var filter: RowFilter

    /// - Throws: `LogAttributionError.invalid` for a condition that cannot be read.
    init(_ known: DefinitionInForce, org: String, since: Timestamp, now: Timestamp) throws(LogAttributionError) {
        let definition = known.definition
        (self.org, name, repeats, self.since) = (org, definition.name, definition.repeats, since)
        if case .fixed(let money) = definition.value { fixed = money }
        func bound(_ time: Int64) -> Timestamp? {
            time == .min || time == .max ? nil : Timestamp(microseconds: time)
        }
        filter = RowFilter(
            try definition.filter(now: now), org: org, apps: definition.app.isEmpty ? [] : [definition.app],
            from: bound(known.from), to: bound(known.to))
    }
}

/// Finds the events of one watch in blocks. One thread at a time.
final class CallbackScanner {
    private let watch: CallbackWatch
    private let scanner: RowScanner

    init(_ watch: CallbackWatch) {
        self.watch = watch
        scanner = RowScanner(watch.filter)
    }

    func find(in block: MemoBlock) throws -> [SeenConversion] {
        let isNew = block.requests.contains { $0.org == watch.org && $0.receivedAt >= watch.since.microseconds }
        guard isNew else { return [] }
        var found: [SeenConversion] = []
        for row in try scanner.select(block).rows(of: block.rowCount) {
            guard let event = try block.event(Int(row)), event.receivedAt >= watch.since,
                let seen = SeenConversion(event, watch)
            else { continue }
            found.append(seen)
        }
        return found
    }
}

/// An in-app conversion that the log holds.
struct SeenConversion: Sendable {
    let row: JSONValue

    /// nil for an event that no install could be found for.
    fileprivate init?(_ event: StoredEvent, _ watch: CallbackWatch) {
        let keys = InstallKeys(
            org: event.org, device: event.deviceID, advertising: event.advertisingID, vendor: event.vendorID,
            click: nil, user: event.userID)
        guard !keys.isEmpty else { return nil }
        func text(_ value: String?) -> JSONValue { value.map { .string($0.storable) } ?? .null }
        func key(_ value: Int64?) -> JSONValue { value.map { .integer($0) } ?? .null }
        let value = watch.fixed ?? Self.value(event)
        row = .array([
            text(event.org), text(event.app), text(event.id), text(watch.name), .integer(event.at.microseconds),
            .integer(event.receivedAt.microseconds), .string(watch.repeats.rawValue), text(event.orderID),
            key(value?.minorUnits), text(value?.currency.code),
            .string(UploadRefusal(event.advertisingConsent)?.rawValue ?? ""), key(keys.device),
            key(keys.advertising), key(keys.vendor), key(keys.user),
        ])
    }

    /// What an event is worth in minor units, rounded; nil where it says nothing of it.
    private static func value(_ event: StoredEvent) -> Money? {
        guard let amount = event.value?.value, let currency = event.currency.flatMap({ Currency($0) }) else {
            return nil
        }
        var unit: Int64 = 1_000_000
        for _ in 0..<currency.fractionDigits { unit /= 10 }
        let (whole, rest) = amount.quotientAndRemainder(dividingBy: unit)
        let isRounded = rest.magnitude * 2 >= UInt64(unit)
        return Money(minorUnits: whole + (isRounded ? amount.signum() : 0), currency: currency)
    }
}

extension UploadRefusal {
    /// nil where advertising is not refused.
    package init?(_ consent: AdvertisingConsent) {
        guard consent.isRefused else { return nil }
        self = consent.hasGPC ? .globalPrivacyControl : .noConsent
    }
}
