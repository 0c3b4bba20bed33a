internal import Events

/// Reads of blocks which order each conversion is of and what refunds say of orders, for the conversions whose
/// definition names refunds. One a thread.
///
/// A record of an order has its key as the person. That of a conversion: `extra` is the person, `label` the number of
/// the currency above, of the conversion below. That of a refund: `extra` is the amount, see `RefundAmount`, `label`
/// the number of the currency above, of the name below, `id` a hash of the event id.
final class LogOrderReader {
    private let plan: LogRunPlan
    private let orders: [RowScanner]
    private let refunds: [RowScanner]
    private let take: (_ record: LogRecord, _ row: Int) throws -> Void
    private var currencies: TextNumbers
    /// By name: what is known without looking for the order.
    private(set) var tallies: [RefundTally]

    /// - Parameter take: is given each record with the row of its block.
    init(_ plan: LogRunPlan, take: @escaping (_ record: LogRecord, _ row: Int) throws -> Void) {
        (self.plan, self.take) = (plan, take)
        orders = plan.orders.map { RowScanner($0.filter) }
        refunds = plan.refunds.map { RowScanner($0.filter) }
        let table = plan.currencies
        currencies = TextNumbers { LogBlockReader.number($0, "", LogRunPlan.currenciesMax, table) }
        tallies = plan.names.map { _ in RefundTally() }
    }

    /// The key of an order of one conversion's name.
    static func key(_ order: String, name: Int) -> UInt64 {
        TextHash.of(order) &* 0x9e37_79b9_7f4a_7c15 ^ UInt64(name)
    }

    func read(_ block: MemoBlock) throws {
        for (place, scanner) in orders.enumerated() {
            let rows = try scanner.select(block).rows(of: block.rowCount)
            if !rows.isEmpty { try readOrders(plan.orders[place], rows, block) }
        }
        for (place, scanner) in refunds.enumerated() {
            let rows = try scanner.select(block).rows(of: block.rowCount)
            if !rows.isEmpty { try readRefunds(plan.refunds[place], rows, block) }
        }
    }

    private func readOrders(_ order: LogRunPlan.Order, _ rows: [UInt32], _ block: MemoBlock) throws {
        guard let ids = try block.text(ColumnName(RefundRule.standardOrder)) else { return }
        let rows = rows.filter { ids.codes[Int($0)] != 0 }
        guard !rows.isEmpty else { return }
        let facts = try block.touchRows(rows, org: plan.request.org)
        let times = try block.times()
        let values = order.currency == nil ? try block.values() : nil
        let stated = values == nil ? [] : currencies.numbers(try block.text(.currency), rows: rows)
        for (index, row) in rows.enumerated() where facts.persons[index] != 0 {
            let person = plan.resolver.version == 0 ? facts.persons[index] : plan.resolver.person(facts.persons[index])
            let isValued = values.map { $0[Int(row)] != .min } ?? false
            let currency = order.currency ?? (isValued ? stated[index] : 0)
            let key = Self.key(ids.dictionary.text(ids.codes[Int(row)]), name: order.name)
            try take(
                LogRecord(
                    person: key, time: times[Int(row)], id: facts.orders[index], extra: person,
                    label: currency << 16 | order.number, tail: facts.tails[index], kind: LogRecord.Kind.conversion),
                Int(row))
        }
    }

    private func readRefunds(_ refund: LogRunPlan.Refund, _ rows: [UInt32], _ block: MemoBlock) throws {
        let (name, rule) = (refund.name, refund.rule)
        guard let orders = try block.text(ColumnName(rule.order)) else {
            tallies[name].unmatched += rows.count
            return
        }
        let isValue = rule.amount == RefundRule.standardAmount
        let values = isValue ? try block.values() : nil
        let texts = isValue ? nil : try block.text(ColumnName(rule.amount))
        let (ids, times) = (try block.text(ColumnName("id")), try block.times())
        // That of the app says nothing of a refund: without its own it is in the conversion's.
        let stated = currencies.numbers(try block.text(.statedCurrency), rows: rows)
        for (index, row) in rows.enumerated() {
            let row = Int(row)
            guard orders.codes[row] != 0 else {
                tallies[name].unmatched += 1
                continue
            }
            var amount: Int64? = RefundAmount.all
            if let value = values?[row], value != .min { amount = RefundAmount.of(value) }
            if let texts, texts.codes[row] != 0 { amount = RefundAmount.of(texts.dictionary.text(texts.codes[row])) }
            guard let amount else {
                tallies[name].unreadable += 1
                continue
            }
            let id = ids.map { $0.codes[row] == 0 ? "" : $0.dictionary.text($0.codes[row]) } ?? ""
            try take(
                LogRecord(
                    person: Self.key(orders.dictionary.text(orders.codes[row]), name: name), time: times[row],
                    id: TextHash.of(id), extra: UInt64(bitPattern: amount),
                    label: (amount == RefundAmount.all ? 0 : stated[index]) << 16 | UInt32(name),
                    kind: LogRecord.Kind.refund),
                row)
        }
    }
}

/// A thread's way into the files of orders, for the length of the reading.
final class OrderWriter {
    private var spill: SpillWriter

    init(_ files: SpillFiles) { spill = SpillWriter(files) }

    func add(_ record: LogRecord) throws(LogAttributionError) { try spill.add(record) }

    func finish() throws(LogAttributionError) { try spill.finish() }
}
