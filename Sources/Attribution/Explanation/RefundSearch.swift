internal import AurumCore
internal import Events
internal import Synchronization

/// Finds the refunds of one conversion's order in the rows that a run covers, by the run's own reader and rule, on as
/// many threads as the run would take. Blocks its thread.
struct RefundSearch {
    /// What refunds take off the conversion that is asked about, and each of them in answers.
    struct Found {
        /// As a person's walk takes it; nil where nothing is taken off.
        var record: LogRecord?
        var json: JSONValue = .array([])
    }

    private struct Place {
        var record: LogRecord
        var segment: Int
        var block: Int
        var row: Int

        /// Equal records, such as one refund told twice, as they stand in the log.
        static func stands(_ left: Place, before right: Place) -> Bool {
            if LogRecord.stands(left.record, before: right.record) { return true }
            if LogRecord.stands(right.record, before: left.record) { return false }
            return (left.segment, left.block, left.row) < (right.segment, right.block, right.row)
        }
    }

    let run: RunAgain
    let budget: ReadingBudget
    /// Refunds of one answer, the earliest.
    static let refundsMax = 100

    /// - Throws: `tooLarge`, `slow`, `cancelled`; what the log throws.
    func refunds(of event: EventSearch.Found) throws -> Found {
        guard !run.plan.refunds.isEmpty, let order = try order(of: event) else { return Found() }
        let places = try places(of: Set(run.plan.names.indices.map { LogOrderReader.key(order, name: $0) }))
        var match = RefundMatch(names: run.plan.names.count)
        var fates: [RefundMatch.Fate] = []
        let record = places.map(\.record).withUnsafeBufferPointer { records in
            match.match(records) { fates.append($1) }
        }
        let refunds = places.filter { $0.record.kind == LogRecord.Kind.refund }
        let sale = places.first { $0.record.kind == LogRecord.Kind.conversion }?.record
        // They may be of another conversion of the order.
        let isOfEvent = record.map { JourneyWitness.Spot($0) == event.spot } ?? true
        var lines: [JSONValue] = []
        for (refund, fate) in zip(refunds, fates).prefix(Self.refundsMax) {
            let word = fate == .taken && !isOfEvent ? "other_conversion" : fate.rawValue
            lines.append(try line(refund, word, of: sale))
        }
        return Found(record: isOfEvent ? record : nil, json: .array(lines))
    }

    private func order(of event: EventSearch.Found) throws -> String? {
        guard let block = try run.segments[event.segment].read(event.block),
            let ids = try block.text(ColumnName(RefundRule.standardOrder)), ids.codes[event.row] != 0
        else { return nil }
        return ids.dictionary.text(ids.codes[event.row])
    }

    /// Everything of the order, as a run sorts it.
    private func places(of keys: Set<UInt64>) throws -> [Place] {
        var blocks: [(segment: Int, block: Int)] = []
        for (segment, known) in run.segments.enumerated() {
            for (number, summary) in known.blocks.enumerated() where run.plan.mayHoldOrders(summary) {
                blocks.append((segment, number))
            }
        }
        let tasks = blocks
        let next = Atomic(0)
        let found = Mutex<[Place]>([])
        try LogWorkers.share(run.workers) { isOver in
            var mine: [(record: LogRecord, row: Int)] = []
            let reader = LogOrderReader(run.plan) { record, row in
                if keys.contains(record.person) { mine.append((record, row)) }
            }
            while !isOver() {
                let index = next.add(1, ordering: .relaxed).oldValue
                guard index < tasks.count else { break }
                let (segment, number) = tasks[index]
                try budget.take(run.segments[segment].blocks[number].rowCount)
                guard let block = try run.segments[segment].read(number) else { continue }
                mine.removeAll(keepingCapacity: true)
                try reader.read(MemoBlock(block))
                let places = mine.filter { block.position($0.row) <= run.last }.map {
                    Place(record: $0.record, segment: segment, block: number, row: $0.row)
                }
                guard !places.isEmpty else { continue }
                let count = found.withLock { all in
                    all += places
                    return all.count
                }
                guard count <= budget.limits.recordsMax else {
                    throw LogAttributionError.tooLarge(
                        "The order has more than \(budget.limits.recordsMax) events; it is not explained.")
                }
            }
        }
        return found.withLock { $0 }.sorted(by: Place.stands)
    }

    private func line(_ refund: Place, _ fate: String, of sale: LogRecord?) throws -> JSONValue {
        let event = try run.segments[refund.segment].read(refund.block)?.event(refund.row)
        let amount = Int64(bitPattern: refund.record.extra)
        // Without a currency it is in that of the conversion, and without an amount it is of all.
        let stated = refund.record.label >> 16
        let currency = run.plan.currencies.text(stated == 0 ? (sale?.label ?? 0) >> 16 : stated) ?? ""
        let unit = LogRunPlan.minorUnit(of: currency.isEmpty ? nil : currency)
        return [
            "event": event.map { .string($0.id) } ?? .null, "app": event.map { .string($0.app) } ?? .null,
            "at": .string(Timestamp(microseconds: refund.record.time).rfc3339),
            "amount_minor": amount == RefundAmount.all ? .null : .integer(LogRunPlan.minor(amount, unit: unit)),
            "currency": .string(currency), "taken": .bool(fate == RefundMatch.Fate.taken.rawValue),
            "reason": fate == RefundMatch.Fate.taken.rawValue ? .null : .string(fate),
        ]
    }
}
