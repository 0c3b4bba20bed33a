/// Finds the conversion that refunds of one order are taken off: the first of the order, whoever the events name, also
/// where the refund came before it.
struct RefundMatch {
    /// What became of one refund.
    enum Fate: String {
        case taken
        case unmatched = "order_unknown"
        case otherCurrency = "other_currency"
        case repeated = "same_event"
    }

    private var seen: Set<UInt64> = []
    /// By name.
    private(set) var tallies: [RefundTally]

    init(names: Int) { tallies = [RefundTally](repeating: RefundTally(), count: names) }

    /// - Parameters:
    ///   - order: all records of one order, as `LogOrderReader` makes them, in their order.
    ///   - told: is told of each refund, in their order.
    /// - Returns: what a person's walk finds behind the conversion: `extra` is the amount; nil where nothing is taken
    ///   off.
    mutating func match(
        _ order: UnsafeBufferPointer<LogRecord>, told: (_ refund: LogRecord, _ fate: Fate) -> Void = { _, _ in }
    ) -> LogRecord? {
        let sale = order.first { $0.kind == LogRecord.Kind.conversion }
        if !seen.isEmpty { seen.removeAll(keepingCapacity: true) }
        var (taken, sum): (Bool, Int64) = (false, 0)
        for refund in order where refund.kind == LogRecord.Kind.refund {
            let fate = fate(refund, sale)
            told(refund, fate)
            count(fate, Int(refund.label & 0xffff))
            guard fate == .taken else { continue }
            let (more, isOver) = sum.addingReportingOverflow(Int64(bitPattern: refund.extra))
            (taken, sum) = (true, isOver ? RefundAmount.all : more)
        }
        guard taken, let sale else { return nil }
        return LogRecord(
            person: sale.extra, time: sale.time, id: sale.id, extra: UInt64(bitPattern: sum),
            label: sale.label & 0xffff, tail: sale.tail, kind: LogRecord.Kind.refund)
    }

    private mutating func fate(_ refund: LogRecord, _ sale: LogRecord?) -> Fate {
        guard seen.insert(refund.id).inserted else { return .repeated }
        guard let sale else { return .unmatched }
        // Without a currency an amount is in that of the conversion.
        let currency = refund.label >> 16
        return currency == 0 || currency == sale.label >> 16 ? .taken : .otherCurrency
    }

    private mutating func count(_ fate: Fate, _ name: Int) {
        switch fate {
        case .taken: tallies[name].taken += 1
        case .unmatched: tallies[name].unmatched += 1
        case .otherCurrency: tallies[name].otherCurrency += 1
        case .repeated: tallies[name].repeated += 1
        }
    }
}
