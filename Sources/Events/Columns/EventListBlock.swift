package import AurumCore
internal import Synchronization

/// Columns over whole events: the plain model of `ColumnBlock`, and the way to read blocks of small or odd events.
package final class EventListBlock: ColumnBlock {
    package let requests: [RequestSpan]
    package let rowCount: Int
    package let earliest: Int64
    package let latest: Int64
    private let events: [StoredEvent?]
    private let rows: [Row]
    private let personKey: @Sendable (_ org: String, PersonIdentifier) -> UInt64

    /// What is known of a row even when its event cannot be read.
    package struct Row: Sendable {
        package var position: LogPosition
        package var time: Int64
        package var outcome: EventOutcome

        package init(position: LogPosition, time: Int64, outcome: EventOutcome) {
            (self.position, self.time, self.outcome) = (position, time, outcome)
        }
    }

    /// - Parameter events: one a row; nil where a quarantined row is no event.
    /// - Parameter personKey: the keyed hash of an identifier in an organisation.
    package init(
        _ events: [StoredEvent?], rows: [Row], requests: [RequestSpan],
        personKey: @escaping @Sendable (_ org: String, PersonIdentifier) -> UInt64
    ) {
        (self.events, self.rows, self.requests) = (events, rows, requests)
        self.personKey = personKey
        rowCount = rows.count
        earliest = rows.map(\.time).min() ?? .max
        latest = rows.map(\.time).max() ?? .min
    }

    package func position(_ row: Int) -> LogPosition { rows[row].position }
    package func times() -> [Int64] { rows.map(\.time) }
    package func outcomes() -> [UInt8] { rows.map(\.outcome.rawValue) }

    package func types() -> [UInt8] {
        zip(events, rows).map { event, row in
            row.outcome == .quarantined ? 0 : event?.type.rawValue ?? 0
        }
    }

    package func text(_ column: ColumnName) -> TextColumn? {
        var known: [String: UInt32] = [:]
        var texts: [String] = []
        var hasAny = false
        let codes = events.map { event -> UInt32 in
            guard let text = event?.text(column) else { return 0 }
            hasAny = true
            if let code = known[text] { return code }
            texts.append(text)
            known[text] = UInt32(texts.count)
            return UInt32(texts.count)
        }
        return hasAny ? TextColumn(codes: codes, dictionary: TextList(texts)) : nil
    }

    package func numbers(_ column: ColumnName) -> [Double]? {
        let numbers = events.map { $0?.number(column) ?? .nan }
        return numbers.contains { !$0.isNaN } ? numbers : nil
    }

    package func values() -> [Int64]? {
        let values = events.map { $0?.value?.value ?? .min }
        return values.contains { $0 != .min } ? values : nil
    }

    package func persons(org: String) -> PersonColumn {
        var keys: [UInt64] = [0]
        var known: [UInt64: UInt32] = [:]
        let codes = events.map { event -> UInt32 in
            guard let event, event.org == org, let identifier = event.personIdentifier else { return 0 }
            let key = personKey(org, identifier)
            if let code = known[key] { return code }
            known[key] = UInt32(keys.count)
            keys.append(key)
            return UInt32(keys.count - 1)
        }
        return PersonColumn(codes: codes, keys: keys, id: DictionaryNumber.next())
    }

    package func event(_ row: Int) -> StoredEvent? { events[row] }
}

/// A dictionary that never grows.
package final class TextList: TextDictionary {
    package let id = DictionaryNumber.next()
    private let texts: [String]

    package init(_ texts: [String]) { self.texts = texts }

    package var count: Int { texts.count }

    package func text(_ code: UInt32) -> String { texts[Int(code) - 1] }
}

/// Numbers for dictionaries, unique in the process.
package enum DictionaryNumber {
    private static let last = Atomic<Int>(0)

    package static func next() -> Int { last.add(1, ordering: .relaxed).newValue }
}

extension StoredEvent {
    /// The first of user, device, anonymous and click identifier.
    package var personIdentifier: PersonIdentifier? {
        let all: [(PersonIdentifier.Namespace, String?)] = [
            (.user, userID), (.device, deviceID), (.anonymous, anonymousID), (.click, clickID),
        ]
        for (namespace, value) in all {
            if let value, !value.isEmpty { return PersonIdentifier(namespace, value) }
        }
        return nil
    }

    /// The value under a column's path in the event as it is answered, or in `extra`.
    package func value(_ column: ColumnName) -> JSONValue? {
        if let text = plainText(column.path) { return .string(text) }
        let names = column.path.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        var place: JSONValue? = names.first == "extra" ? .object(extra) : json[names.first ?? ""]
        for name in names.dropFirst() { place = place?[name] }
        if case .null? = place { return nil }
        return place
    }

    /// A field that is a text and stands in no object, when the event has it: nothing else goes by its name then.
    private func plainText(_ path: String) -> String? {
        switch path {
        case "name": name
        case "channel": channel.rawValue
        case "url": url
        case "referrer": referrer
        case "title": title
        case "currency": currency
        case "currency.stated": isCurrencyImplied ? nil : currency
        case "click_id": clickID
        case "device_id": deviceID
        case "order_id": orderID
        case "campaign.name": campaign.name
        case "campaign.source": campaign.source
        case "campaign.medium": campaign.medium
        default: nil
        }
    }

    /// The text of a column: a string as it is, a number or truth value as JSON writes it, nothing else.
    package func text(_ column: ColumnName) -> String? { Self.text(value(column)) }

    static func text(_ value: JSONValue?) -> String? {
        switch value {
        case .string(let text)?: text
        case .some(let value) where value.object == nil && value.array == nil: value.canonical
        default: nil
        }
    }

    package func number(_ column: ColumnName) -> Double? {
        if column.path == "value" { return value.map { Double($0.value) / 1_000_000 } }
        return value(column)?.double
    }
}
