/// What a question needs of each event: which rows, and what becomes of them as `SequenceRow`s.
struct SequencePlan: Sendable {
    /// Rows of a filter get a bit in `code`.
    struct Mark: Sendable {
        var filter: RowFilter
        var bit: UInt32
    }

    enum Label: Sendable {
        /// What a reader would call the step: the path of a page, the name of a screen, the name of anything else.
        case step
        case column(ColumnName)
    }

    enum Extra: Sendable {
        case none
        /// `value` in millionths, `Int64.min` where there is none.
        case value
        /// The code of a text in `groups`.
        case text(ColumnName)
    }

    enum Order: Sendable {
        /// As the events stand in the log.
        case log
        /// The code in `groups` of the event's app, or of app and client's session where the app leaves sessions to
        /// its clients (0 for events outside any), with the app's rule.
        case session(SessionRules)
    }

    /// All rows that are collected; nil for those with a mark only.
    var base: RowFilter?
    var marks: [Mark]
    /// In the low bits of `code`.
    var label: Label?
    /// Where in `code` the currency of a value stands; nil leaves it out.
    var currencyShift: UInt32?
    var extra = Extra.none
    var order = Order.log
    var labels = LabelTable(textsMax: 1 << 16)
    var currencies = LabelTable(textsMax: 1000)
    var groups = LabelTable(textsMax: 1 << 20)
    var org: String

    init(base: RowFilter? = nil, marks: [Mark], org: String) {
        (self.base, self.marks, self.org) = (base, marks, org)
    }

    func mayHold(_ block: BlockSummary) -> Bool {
        base?.mayHold(block) ?? marks.contains { $0.filter.mayHold(block) }
    }
}

/// Turns blocks into rows of persons. One a thread.
final class SequenceReader {
    private let plan: SequencePlan
    private let base: RowScanner?
    private let marks: [(scanner: RowScanner, bit: UInt32)]
    private let columns = BlockColumns()
    private var persons: ResolvedPersons
    private var labels: LabelCodes
    private var paths: LabelCodes
    private var currencies: LabelCodes
    private var groups: LabelCodes

    init(_ plan: SequencePlan, _ resolver: any PersonResolver) {
        self.plan = plan
        base = plan.base.map { RowScanner($0) }
        marks = plan.marks.map { (RowScanner($0.filter), $0.bit) }
        persons = ResolvedPersons(resolver)
        labels = LabelCodes(plan.labels)
        paths = LabelCodes(plan.labels) { PagePath.of($0) }
        currencies = LabelCodes(plan.currencies)
        groups = LabelCodes(plan.groups)
    }

    /// - Parameter ordinal: of the block's first row in the log.
    func read(_ bare: any ColumnBlock, ordinal: UInt32, into buffer: inout SequenceBuffer) throws {
        let block = MemoBlock(bare)
        var (rows, codes) = try select(block)
        guard !rows.isEmpty else { return }
        let people = try block.persons(org: plan.org)
        persons.open(people)
        try addLabels(&codes, rows, block)
        let times = try block.times()
        let extras = try extras(rows, block)
        let orders = try orders(rows, block, ordinal)
        for (index, row) in rows.enumerated() {
            let code = people.codes[Int(row)]
            if code == 0 { continue }
            try buffer.add(
                SequenceRow(
                    person: persons.person(code, people.keys), time: times[Int(row)], extra: extras?[index] ?? 0,
                    code: codes[index], order: orders[index]))
        }
        rows = []
    }

    private func select(_ block: MemoBlock) throws -> (rows: [UInt32], codes: [UInt32]) {
        var bits = [UInt32](repeating: 0, count: block.rowCount)
        for mark in marks {
            switch try mark.scanner.select(block) {
            case .none: continue
            case .all: for row in bits.indices { bits[row] |= mark.bit }
            case .some(let rows): for row in rows { bits[Int(row)] |= mark.bit }
            }
        }
        if let base {
            let rows = try base.select(block).rows(of: block.rowCount)
            return (rows, rows.map { bits[Int($0)] })
        }
        var rows: [UInt32] = []
        var codes: [UInt32] = []
        for (row, code) in bits.enumerated() where code != 0 {
            rows.append(UInt32(row))
            codes.append(code)
        }
        return (rows, codes)
    }

    private func addLabels(_ codes: inout [UInt32], _ rows: [UInt32], _ block: MemoBlock) throws {
        switch plan.label {
        case nil: break
        case .column(let column)?:
            let found = labels.labels(try columns.text(column, of: block), rows: rows)
            for index in codes.indices { codes[index] |= found[index] }
        case .step?:
            // A page is known by its path, a screen by its name; what has neither, and all else, by the event's name.
            var own = [UInt32](repeating: 0, count: rows.count)
            try add(.page, to: &own, rows, block) { paths.labels(try block.text(ColumnName("url")), rows: $0) }
            try add(.screen, to: &own, rows, block) { labels.labels(try block.text(ColumnName("screen")), rows: $0) }
            let unnamed = own.indices.filter { own[$0] == 0 }
            let names = labels.labels(try block.text(.name), rows: unnamed.map { rows[$0] })
            for (place, index) in unnamed.enumerated() { own[index] = names[place] }
            for index in codes.indices { codes[index] |= own[index] }
        }
        guard let shift = plan.currencyShift else { return }
        let found = currencies.labels(try block.text(.currency), rows: rows)
        for index in codes.indices { codes[index] |= found[index] << shift }
    }

    /// Puts the labels of rows of one type into their places; columns are only read where there are such rows.
    private func add(
        _ type: EventType, to own: inout [UInt32], _ rows: [UInt32], _ block: MemoBlock,
        _ labels: ([UInt32]) throws -> [UInt32]
    ) throws {
        let types = try block.types()
        let places = rows.indices.filter { types[Int(rows[$0])] == type.rawValue }
        guard !places.isEmpty else { return }
        let found = try labels(places.map { rows[$0] })
        for (number, place) in places.enumerated() { own[place] = found[number] }
    }

    private func extras(_ rows: [UInt32], _ block: MemoBlock) throws -> [Int64]? {
        switch plan.extra {
        case .none: return nil
        case .value:
            let values = try block.values()
            return rows.map { values?[Int($0)] ?? .min }
        case .text(let column):
            return groups.labels(try columns.text(column, of: block), rows: rows).map { Int64($0) }
        }
    }

    private func orders(_ rows: [UInt32], _ block: MemoBlock, _ ordinal: UInt32) throws -> [UInt32] {
        switch plan.order {
        case .log: return rows.map { ordinal &+ $0 }
        case .session(let rules): return try sessions(rows, block, rules)
        }
    }

    private func sessions(_ rows: [UInt32], _ block: MemoBlock, _ rules: SessionRules) throws -> [UInt32] {
        let apps = try columns.text(ColumnName("app"), of: block)
        var clients: TextColumn?
        var known: [UInt32: (name: String, rule: SessionRule, order: UInt32)] = [:]
        return try rows.map { row in
            let code = apps?.codes[Int(row)] ?? 0
            if known[code] == nil {
                let name = code == 0 ? "" : apps?.dictionary.text(code) ?? ""
                let rule = rules.rule(name)
                known[code] = (name, rule, rule.order(rule.isClients ? 0 : plan.groups.code(name)))
                if rule.isClients, clients == nil { clients = try block.text(ColumnName("session_id")) }
            }
            guard let app = known[code] else { return 0 }
            guard app.rule.isClients, let clients, clients.codes[Int(row)] != 0 else { return app.order }
            let session = clients.dictionary.text(clients.codes[Int(row)])
            return app.rule.order(plan.groups.code(app.name + "\u{0}" + session))
        }
    }
}

/// The path of a page's address: what a reader knows it by.
enum PagePath {
    static func of(_ address: String) -> String {
        var rest = address.utf8[...]
        if let colon = rest.firstIndex(of: UInt8(ascii: ":")), rest[colon...].starts(with: "://".utf8) {
            guard let slash = rest[colon...].dropFirst(3).firstIndex(of: UInt8(ascii: "/")) else { return "/" }
            rest = rest[slash...]
        }
        let path = rest.prefix { $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") }
        return path.isEmpty ? "/" : String(decoding: path, as: UTF8.self)
    }
}

/// The persons of one list of keys after merges, each looked up once.
private struct ResolvedPersons {
    private let resolver: any PersonResolver
    private var id = -1
    /// Scrambled, by code; 0 where nobody has asked.
    private var known: [UInt64] = []

    init(_ resolver: any PersonResolver) { self.resolver = resolver }

    mutating func open(_ column: PersonColumn) {
        if column.id != id {
            id = column.id
            known.removeAll(keepingCapacity: true)
        }
        if known.count < column.keys.count {
            known.append(contentsOf: repeatElement(0, count: column.keys.count - known.count))
        }
    }

    @inline(__always)
    mutating func person(_ code: UInt32, _ keys: [UInt64]) -> UInt64 {
        let found = known[Int(code)]
        if found != 0 { return found }
        let person = PersonScramble.of(resolver.person(keys[Int(code)]))
        known[Int(code)] = person
        return person
    }
}
