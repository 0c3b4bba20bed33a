internal import AurumCore
internal import Events

/// Reads from the log what the rules about publishers need beside installs and their touches: how many clicks each
/// sent, and whose installs came back on the next day.
struct FraudLogScan {
    private let filter: RowFilter
    private let org: String
    private let resolver: any PersonResolver
    private let until: Timestamp
    private let control: LogRunControl
    /// Publishers that are counted; what comes when so many are known is not.
    private static let sourcesMax = 20_000

    /// - Parameter from: the first moment that is read.
    init(
        org: String, app: String, from: Timestamp, until: Timestamp, resolver: any PersonResolver,
        control: LogRunControl
    ) {
        filter = RowFilter(nil, org: org, apps: [app], from: from, to: until)
        (self.org, self.until, self.resolver, self.control) = (org, until, resolver, control)
    }

    private struct Entry {
        var id: UID
        var at: Int64
    }

    /// Blocks its thread.
    /// - Throws: `LogAttributionError.cancelled`, and what the log throws.
    func read(_ segments: [ColumnSegment], _ installs: [FraudInstall]) throws -> FraudActivity {
        var places: [EventKey: Int] = [:]
        for (place, install) in installs.enumerated() {
            for key in EventKey.all(install.id, install.event) { places[key] = place }
        }
        var persons: [UInt64: [Entry]] = [:]
        try each(segments) { block, rows in
            let types = try block.types()
            let found = rows.filter { types[Int($0)] == EventType.install.rawValue }
            guard !found.isEmpty else { return }
            let facts = try block.touchRows(found, org: org)
            for index in found.indices where facts.persons[index] != 0 {
                let key = EventKey(order: facts.orders[index], tail: facts.tails[index])
                guard let place = places[key] else { continue }
                persons[resolver.person(facts.persons[index]), default: []].append(
                    Entry(id: installs[place].id, at: installs[place].at))
            }
        }
        var activity = FraudActivity()
        activity.until = until.microseconds
        var returned: Set<UID> = []
        try each(segments) { block, rows in
            try countClicks(block, rows, &activity.clicks)
            guard !persons.isEmpty else { return }
            let (people, times) = (try block.persons(org: org), try block.times())
            for row in rows where people.codes[Int(row)] != 0 {
                let person = resolver.person(people.keys[Int(people.codes[Int(row)])])
                for entry in persons[person] ?? [] {
                    let (age, isOver) = times[Int(row)].subtractingReportingOverflow(entry.at)
                    if !isOver, age >= FraudVelocity.day, age < 2 * FraudVelocity.day { returned.insert(entry.id) }
                }
            }
        }
        activity.returned = returned
        return activity
    }

    private func countClicks(
        _ block: MemoBlock, _ rows: [UInt32], _ clicks: inout [FraudSource: Int]
    ) throws {
        let types = try block.types()
        let found = rows.filter { types[Int($0)] == EventType.click.rawValue }
        guard !found.isEmpty, let publishers = try block.text(ColumnName("campaign.publisher_id")) else { return }
        let networks = try block.text(ColumnName("campaign.network"))
        // Texts are looked up once for each pair of codes.
        var counts: [UInt64: Int] = [:]
        for row in found where publishers.codes[Int(row)] != 0 {
            counts[UInt64(networks?.codes[Int(row)] ?? 0) << 32 | UInt64(publishers.codes[Int(row)]), default: 0] += 1
        }
        for (pair, count) in counts {
            let network = UInt32(truncatingIfNeeded: pair >> 32)
            let source = FraudSource(
                network: network == 0 ? "" : FraudInstall.text(networks?.dictionary.text(network)) ?? "",
                publisher: FraudInstall.text(publishers.dictionary.text(UInt32(truncatingIfNeeded: pair))) ?? "")
            guard clicks[source] != nil || clicks.count < Self.sourcesMax else { continue }
            clicks[source, default: 0] += count
        }
    }

    private func each(_ segments: [ColumnSegment], _ show: (MemoBlock, [UInt32]) throws -> Void) throws {
        let scanner = RowScanner(filter)
        for segment in segments {
            for (index, summary) in segment.blocks.enumerated() where filter.mayHold(summary) {
                try control.check()
                guard let bare = try segment.read(index) else { continue }
                let block = MemoBlock(bare)
                let rows = try scanner.select(block).rows(of: block.rowCount)
                if !rows.isEmpty { try show(block, rows) }
            }
        }
    }
}

/// How rows of the log name an event, as in `TouchRows`: by the first ten bytes of its id, or by the beginning and a
/// hash of its text where the ids of a column are not all 16 bytes.
struct EventKey: Hashable, Sendable {
    var order: UInt64
    var tail: UInt16

    /// Every name that an event with this id may have: of its bytes, and of its text as 32 digits or as a UUID.
    /// - Parameter text: the id as it was given, where that is no UUID in small letters.
    static func all(_ id: UID, _ text: String? = nil) -> [EventKey] {
        if let text {
            let (order, tail) = TouchRows.order(text.utf8)
            let given = EventKey(order: order, tail: tail)
            // Large letters are still 16 bytes.
            return UID(text) == nil ? [given] : [given, ofBytes(id)]
        }
        let digits = Array(id.hex.utf8)
        var dashed: [UInt8] = []
        for (place, digit) in digits.enumerated() {
            if [8, 12, 16, 20].contains(place) { dashed.append(UInt8(ascii: "-")) }
            dashed.append(digit)
        }
        let texts = [digits, dashed].map { TouchRows.order($0) }
        return [ofBytes(id)] + texts.map { EventKey(order: $0.order, tail: $0.tail) }
    }

    private static func ofBytes(_ id: UID) -> EventKey {
        EventKey(order: id.high, tail: UInt16(truncatingIfNeeded: id.low >> 48))
    }
}
