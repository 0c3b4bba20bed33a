internal import Events

/// Turns blocks of the log into records. One a thread.
final class LogBlockReader {
    private let plan: LogRunPlan
    private let touches: RowScanner
    private let milestone: RowScanner?
    private let conversions: [RowScanner]
    private var campaigns: TextNumbers
    private var currencies: TextNumbers
    private var networks: TextNumbers
    private var channels = TextNumbers { UInt32(TouchChannel.number($0)) + 1 }
    private var refusals = TextNumbers { AdvertisingConsent.isDenial(ads: $0) ? 2 : 1 }
    private var signals = TextNumbers { AdvertisingConsent.isControl(gpc: $0) ? 2 : 1 }
    private let isMerged: Bool
    /// Person, app and time of the events of a block that are no touchpoints.
    private var others: [(person: UInt64, app: UInt8, time: Int64)] = []
    /// Blocks that have fewer other events, as a share, are asked for the persons of these rows alone.
    private static let fewOthers = 4
    /// Rows that were read, and touches among them.
    private(set) var rows = 0
    private(set) var touchRows = 0
    private(set) var refused = 0
    /// Touches that the fraud rules bar from credit.
    private(set) var rejected = 0

    init(_ plan: LogRunPlan) {
        self.plan = plan
        touches = RowScanner(plan.touches)
        milestone = plan.milestone.map { RowScanner($0) }
        conversions = plan.conversions.map { RowScanner($0.filter) }
        let (campaignTable, currencyTable) = (plan.campaigns, plan.currencies)
        // What no name stands for has one number, however it is written, so that no two rows of a result say the same.
        campaigns = TextNumbers { Self.number($0, Credit.none, TouchLabel.campaignsMax, campaignTable) }
        currencies = TextNumbers { Self.number($0, "", LogRunPlan.currenciesMax, currencyTable) }
        networks = TextNumbers { plan.networkNumber($0) }
        isMerged = plan.resolver.version != 0
    }

    /// - Parameters:
    ///   - none: the word of what has no name: number 0.
    ///   - most: names that the table tells apart.
    static func number(_ text: String, _ none: String, _ most: Int, _ table: LabelTable) -> UInt32 {
        let text = text.storable
        if text == none { return 0 }
        return text == LabelTable.otherText ? UInt32(most + 1) : table.code(text)
    }

    /// The number of a campaign that no block named.
    static func campaign(_ name: String, _ plan: LogRunPlan) -> UInt32 {
        number(name, Credit.none, TouchLabel.campaignsMax, plan.campaigns)
    }

    func read(_ bare: any ColumnBlock, into spill: inout SpillWriter) throws {
        let block = bare as? MemoBlock ?? MemoBlock(bare)
        rows += block.rowCount
        try readTouches(block, into: &spill)
        if let milestone {
            let rows = try milestone.select(block).rows(of: block.rowCount)
            for record in try records(rows, block, LogRecord.Kind.milestone) where record.person != 0 {
                try spill.add(record)
            }
        }
        for (number, scanner) in conversions.enumerated() {
            let rows = try scanner.select(block).rows(of: block.rowCount)
            if !rows.isEmpty { try readConversions(number, rows, block, into: &spill) }
        }
    }

    @inline(__always)
    private func person(_ key: UInt64) -> UInt64 { isMerged && key != 0 ? plan.resolver.person(key) : key }

    // MARK: touches

    /// Whether events of an `EventType` may be touchpoints: clicks, impressions, opens, pages and screens.
    @inline(__always)
    static func mayTouch(_ type: UInt8) -> Bool {
        type != 0 && type <= EventType.impression.rawValue
            || type >= EventType.open.rawValue && type <= EventType.screen.rawValue
    }

    private func readTouches(_ block: MemoBlock, into spill: inout SpillWriter) throws {
        let selection = try touches.select(block)
        guard selection != .none else { return }
        let types = try block.types()
        let impression = EventType.impression.rawValue
        var (rows, rest): ([UInt32], [UInt32]) = ([], [])
        for row in selection.rows(of: block.rowCount) {
            let type = types[Int(row)]
            if Self.mayTouch(type) { rows.append(row) } else if type != 0 { rest.append(row) }
        }
        try readOthers(rest, block, into: &spill)
        guard !rows.isEmpty else { return }
        let facts = try block.touchRows(rows, org: plan.request.org)
        let times = try block.times()
        let labels = try labels(rows, block)
        let refusing = try refusing(rows, block)
        let apps = apps(rows, block)
        let barred = plan.request.rejected
        let hasRejected = !barred.isEmpty
        for (index, row) in rows.enumerated() {
            let key = facts.persons[index]
            if key == 0 { continue }
            if refusing?[index] == true {
                refused += 1
                continue
            }
            if hasRejected, barred.mayHold(facts.orders[index], facts.tails[index]), try isRejected(row, block) {
                rejected += 1
                try spill.add(
                    LogRecord(
                        person: person(key), time: times[Int(row)], id: facts.orders[index],
                        extra: facts.clicks[index], tail: facts.tails[index], kind: LogRecord.Kind.rejected,
                        app: apps[index]))
                continue
            }
            let type = types[Int(row)]
            let stored = facts.kinds[index]
            let kind = stored != 0 ? stored : type <= impression ? type : LogRecord.Kind.page
            touchRows += 1
            try spill.add(
                LogRecord(
                    person: person(key), time: times[Int(row)], id: facts.orders[index], extra: facts.clicks[index],
                    label: kind == LogRecord.Kind.page ? UInt32(TouchChannel.direct) : labels[index],
                    tail: facts.tails[index], kind: kind, app: apps[index]))
        }
    }

    private func isRejected(_ row: UInt32, _ block: MemoBlock) throws -> Bool {
        guard let event = try block.event(Int(row)) else { return false }
        return plan.request.rejected.holds(event.id)
    }

    /// Every other event of a person holds its session together: of those that follow each other closely the first and
    /// the last say as much as all of them.
    private func readOthers(_ rows: [UInt32], _ block: MemoBlock, into spill: inout SpillWriter) throws {
        guard !rows.isEmpty else { return }
        let (times, apps) = (try block.times(), apps(rows, block))
        others.removeAll(keepingCapacity: true)
        if rows.count * Self.fewOthers < block.rowCount {
            let facts = try block.touchRows(rows, org: plan.request.org, isOrdered: false)
            for (index, row) in rows.enumerated() where facts.persons[index] != 0 {
                others.append((person(facts.persons[index]), apps[index], times[Int(row)]))
            }
        } else {
            let people = try block.persons(org: plan.request.org)
            for (index, row) in rows.enumerated() where people.codes[Int(row)] != 0 {
                let key = people.keys[Int(people.codes[Int(row)])]
                if key != 0 { others.append((person(key), apps[index], times[Int(row)])) }
            }
        }
        others.sort { ($0.person, $0.app, $0.time) < ($1.person, $1.app, $1.time) }
        var start = 0
        while start < others.count {
            let first = others[start]
            var end = start + 1
            while end < others.count, others[end].person == first.person, others[end].app == first.app,
                others[end].time - first.time <= plan.othersWithin
            {
                end += 1
            }
            try add(first, into: &spill)
            if others[end - 1].time != first.time { try add(others[end - 1], into: &spill) }
            start = end
        }
    }

    private func add(
        _ other: (person: UInt64, app: UInt8, time: Int64), into spill: inout SpillWriter
    ) throws(LogAttributionError) {
        guard other.person != 0 else { return }
        try spill.add(
            LogRecord(person: other.person, time: other.time, id: 0, kind: LogRecord.Kind.other, app: other.app))
    }

    /// Campaign (its name, else its id), channel and network of each row.
    private func labels(_ rows: [UInt32], _ block: MemoBlock) throws -> [UInt32] {
        var found = campaigns.numbers(try block.text(ColumnName("campaign.name")), rows: rows)
        let unnamed = found.indices.filter { found[$0] == 0 }
        if !unnamed.isEmpty, let ids = try block.text(ColumnName("campaign.id")) {
            let numbers = campaigns.numbers(ids, rows: unnamed.map { rows[$0] })
            for (place, index) in unnamed.enumerated() { found[index] = numbers[place] }
        }
        let marks = channels.numbers(try block.text(.channel), rows: rows)
        for index in found.indices {
            let channel = marks[index] == 0 ? TouchChannel.other : UInt8(truncatingIfNeeded: marks[index] - 1)
            found[index] = TouchLabel.of(campaign: found[index], channel: channel)
        }
        guard plan.hasNetworks else { return found }
        let marked = networks.numbers(try block.text(ColumnName("campaign.network")), rows: rows)
        for index in found.indices { found[index] = TouchLabel.with(network: marked[index], found[index]) }
        return found
    }

    /// Which rows refuse advertising; nil where the block says nothing of it.
    private func refusing(_ rows: [UInt32], _ block: MemoBlock) throws -> [Bool]? {
        let ads = try block.text(ColumnName("consent.ads"))
        let gpc = try block.text(ColumnName("consent.gpc"))
        guard ads != nil || gpc != nil else { return nil }
        let (denials, controls) = (refusals.numbers(ads, rows: rows), signals.numbers(gpc, rows: rows))
        return rows.indices.map { denials[$0] == 2 || controls[$0] == 2 }
    }

    private func apps(_ rows: [UInt32], _ block: MemoBlock) -> [UInt8] {
        let requests = block.requests.sorted { $0.firstRow < $1.firstRow }
        var numbers = [UInt8](repeating: 0, count: rows.count)
        var (place, known) = (0, -1)
        var number: UInt8 = 0
        for (index, row) in rows.enumerated() {
            while place < requests.count, requests[place].firstRow + requests[place].rowCount <= Int(row) { place += 1 }
            guard place < requests.count else { break }
            if place != known {
                known = place
                number = UInt8(truncatingIfNeeded: min(255, plan.apps.code(requests[place].app)))
            }
            numbers[index] = number
        }
        return numbers
    }

    // MARK: conversions

    private func readConversions(
        _ number: Int, _ rows: [UInt32], _ block: MemoBlock, into spill: inout SpillWriter
    ) throws {
        let conversion = plan.conversions[number]
        let values = conversion.fixed == nil ? try block.values() : nil
        let stated = values == nil ? [] : currencies.numbers(try block.text(.currency), rows: rows)
        let orders = conversion.definition.repeats == .perOrderID ? try block.text(ColumnName("order_id")) : nil
        for (index, bare) in try records(rows, block, LogRecord.Kind.conversion).enumerated() where bare.person != 0 {
            var record = bare
            let value = values.map { $0[Int(rows[index])] } ?? .min
            record.extra = UInt64(bitPattern: value)
            let currency = conversion.fixed?.currency ?? (value == .min || stated.isEmpty ? 0 : stated[index])
            record.label = currency << 16 | UInt32(number)
            try spill.add(record)
            guard let orders, orders.codes[Int(rows[index])] != 0 else { continue }
            record.kind = LogRecord.Kind.order
            record.extra = TextHash.of(orders.dictionary.text(orders.codes[Int(rows[index])]))
            record.label = UInt32(number)
            try spill.add(record)
        }
    }

    /// Who, when and which event; what it means is added by the caller.
    private func records(_ rows: [UInt32], _ block: MemoBlock, _ kind: UInt8) throws -> [LogRecord] {
        guard !rows.isEmpty else { return [] }
        let facts = try block.touchRows(rows, org: plan.request.org)
        let times = try block.times()
        return rows.indices.map { index in
            LogRecord(
                person: person(facts.persons[index]), time: times[Int(rows[index])], id: facts.orders[index],
                tail: facts.tails[index], kind: kind)
        }
    }
}

/// The numbers of the texts of columns, each text looked at once for each dictionary it stands in. One thread.
struct TextNumbers {
    private static let dictionariesMax = 64
    private static let unknown = UInt32.max
    private let number: (String) -> UInt32
    private var known: [Int: [UInt32]] = [:]

    init(_ number: @escaping (String) -> UInt32) { self.number = number }

    /// The numbers of some rows of a column, in the order of `rows`; 0 for rows without a text.
    mutating func numbers(_ column: TextColumn?, rows: [UInt32]) -> [UInt32] {
        guard let column else { return [UInt32](repeating: 0, count: rows.count) }
        if known.count > Self.dictionariesMax { known = [:] }
        let dictionary = column.dictionary
        var numbers = known.removeValue(forKey: dictionary.id) ?? [0]
        let found = rows.map { row -> UInt32 in
            let code = Int(column.codes[Int(row)])
            if code >= numbers.count {
                let more = max(code + 1, dictionary.count + 1) - numbers.count
                numbers.append(contentsOf: repeatElement(Self.unknown, count: more))
            }
            if numbers[code] == Self.unknown { numbers[code] = number(dictionary.text(UInt32(code))) }
            return numbers[code]
        }
        known[dictionary.id] = numbers
        return found
    }
}

/// 64 bits of a text, the same in every run. Source: FNV-1a with the finaliser of MurmurHash3.
enum TextHash {
    static func of(_ text: String) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        hash ^= hash >> 33
        hash = hash &* 0xff51_afd7_ed55_8ccd
        return hash ^ hash >> 33
    }
}
