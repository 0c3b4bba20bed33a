package import AurumCore

/// One value of an answer.
package enum QueryValue: Sendable, Equatable {
    case null
    case text(String)
    case integer(Int64)
    case number(Double)
    /// Millionths of the unit by currency, in the order of the currencies' names.
    case money([Amount])

    package struct Amount: Sendable, Equatable {
        package var currency: String
        package var millionths: Int128
    }
}

/// What a query came to.
package struct QueryAnswer: Sendable {
    package struct Column: Sendable, Equatable {
        package enum Kind: String, Sendable { case bucket, group, count, unique, money, number }

        package var name: String
        package var kind: Kind
    }

    package var columns: [Column]
    package var rows: [[QueryValue]]
    /// Groups there are, before the limit.
    package var groupCount: Int
    package var query: EventQuery
    package var asOf: Timestamp
    /// The newest row of the log that the answer covers.
    package var position: LogPosition?
    package var rowsScanned: Int
    package var rowsKept: Int
    package var elapsed: Duration
    /// Distinct counts are estimates, because exact ones would have taken too much memory.
    package var isApproximate: Bool
    /// Blocks that are damaged and were left out.
    package var damagedBlocks: Int

    package var isTruncated: Bool { rows.count < groupCount }
}

/// Turns what a run found into rows: computes, sorts, cuts.
struct AnswerBuilder {
    private let plan: QueryPlan
    private let answer: PartialAnswer
    private let resolver: (any PersonResolver)?
    /// Cells of money by group.
    private var moneyCells: [UInt32: [Int]] = [:]
    /// The currency that most rows of the answer have: the one that rows are ordered by.
    private var mainCurrency: UInt32?

    init(_ plan: QueryPlan, _ answer: PartialAnswer, _ resolver: any PersonResolver) {
        self.plan = plan
        self.answer = answer
        self.resolver = resolver.version == 0 ? nil : resolver
        var counts: [UInt32: Int64] = [:]
        for (cell, (group, currency)) in zip(answer.money.pairs.firsts, answer.money.pairs.seconds).enumerated()
        where cell < answer.money.cells.count {
            moneyCells[group, default: []].append(cell)
            counts[currency, default: 0] += answer.money.cells[cell].count
        }
        mainCurrency =
            counts.max {
                ($0.value, currencyName($1.key)) < ($1.value, currencyName($0.key))
            }?.key
    }

    var columns: [QueryAnswer.Column] {
        let query = plan.query
        var columns: [QueryAnswer.Column] = []
        if query.bucket != nil { columns.append(.init(name: "bucket", kind: .bucket)) }
        columns += query.groupBy.map { .init(name: $0.path, kind: .group) }
        return columns
            + query.measures.map { measure in
                let kind: QueryAnswer.Column.Kind =
                    switch measure.kind {
                    case .count: .count
                    case .unique: .unique
                    default: measure.kind.isMoney ? .money : .number
                    }
                return .init(name: measure.name, kind: kind)
            }
    }

    /// Groups that have rows.
    var groups: [UInt32] {
        if answer.groups.values.isEmpty { return [0] }
        return answer.rowCounts.indices.filter { answer.rowCounts[$0] > 0 }.map { UInt32($0) }
    }

    /// The rows in order, at most the query's limit.
    func rows(_ groups: [UInt32]) -> [[QueryValue]] {
        let members = groups.map { answer.groups.members($0) }
        var orders = plan.query.order.map { order in (term(order.by), order.isDescending) }
        if orders.isEmpty, let first = plan.query.measures.first {
            if plan.query.bucket != nil { orders.append((.member(0), false)) }
            orders.append((.measure(first), true))
        }
        orders += (0..<answer.groups.values.count).map { (.member($0), false) }
        let keys = orders.map { term, _ in
            zip(groups, members).map { group, members in sortKey(term, group, members) }
        }
        let sorted = groups.indices.sorted { one, other in
            for (index, order) in orders.enumerated() {
                let (left, right) = (keys[index][one], keys[index][other])
                if left == right { continue }
                // Whatever the direction, rows without a value come last.
                if left == .null { return false }
                if right == .null { return true }
                return order.1 ? right < left : left < right
            }
            return one < other
        }
        return sorted.prefix(plan.query.limit).map { row(groups[$0], members[$0]) }
    }

    private func row(_ group: UInt32, _ members: [UInt32]) -> [QueryValue] {
        members.enumerated().map { label($0.offset, $0.element) } + plan.query.measures.map { value($0.kind, group) }
    }

    private func label(_ level: Int, _ number: UInt32) -> QueryValue {
        let values = answer.groups.values[level]
        if values.isBucket, let bucket = plan.query.bucket {
            return .text(ZoneClock.label(bucket, values.buckets[Int(number)]))
        }
        return values.text(number).map { .text($0) } ?? .null
    }

    // MARK: order

    private enum Term {
        case member(Int)
        case measure(QueryMeasure)
    }

    private enum SortKey: Equatable {
        case null
        case integer(Int128)
        case number(Double)
        case text(String)

        static func < (left: SortKey, right: SortKey) -> Bool {
            switch (left, right) {
            case (.integer(let one), .integer(let other)): one < other
            case (.number(let one), .number(let other)): one < other
            case (.text(let one), .text(let other)): one < other
            default: false
            }
        }
    }

    private func term(_ name: String) -> Term {
        if let measure = plan.query.measures.first(where: { $0.name == name }) { return .measure(measure) }
        let offset = plan.query.bucket == nil ? 0 : 1
        if name == "bucket", offset == 1 { return .member(0) }
        return .member(offset + (plan.query.groupBy.firstIndex { $0.path == name } ?? 0))
    }

    private func sortKey(_ term: Term, _ group: UInt32, _ members: [UInt32]) -> SortKey {
        switch term {
        case .member(let level):
            let values = answer.groups.values[level]
            if values.isBucket { return .integer(Int128(values.buckets[Int(members[level])])) }
            return values.text(members[level]).map { .text($0) } ?? .null
        case .measure(let measure):
            switch value(measure.kind, group) {
            case .null: return .null
            case .text(let text): return .text(text)
            case .integer(let value): return .integer(Int128(value))
            case .number(let value): return .number(value)
            case .money(let amounts):
                let main = mainCurrency.map { currencyName($0) }
                return amounts.first { $0.currency == main }.map { .integer($0.millionths) } ?? .null
            }
        }
    }

    // MARK: values

    private func currencyName(_ number: UInt32) -> String {
        // ISO 4217's code for no currency.
        answer.money.currencies.text(number) ?? String(repeating: "X", count: 3)
    }

    private func value(_ kind: QueryMeasure.Kind, _ group: UInt32) -> QueryValue {
        switch kind {
        case .count:
            return .integer(Int(group) < answer.rowCounts.count ? answer.rowCounts[Int(group)] : 0)
        case .unique(let thing):
            guard let index = plan.uniques.firstIndex(of: thing), Int(group) < answer.distinct[index].cells.count else {
                return .integer(0)
            }
            let keys = answer.distinct[index].cells[Int(group)]
            return .integer(Int64(keys.count(thing == .person ? resolver : nil)))
        case .sum, .average, .least, .greatest, .quantile:
            return kind.isMoney ? money(kind, group) : number(kind, group)
        }
    }

    private func number(_ kind: QueryMeasure.Kind, _ group: UInt32) -> QueryValue {
        guard let index = plan.numbers.firstIndex(where: { $0.column == kind.column }),
            Int(group) < answer.numbers[index].cells.count, answer.numbers[index].cells[Int(group)].count > 0
        else { return .null }
        let cell = answer.numbers[index].cells[Int(group)]
        return switch kind {
        case .sum: .number(cell.sum.value)
        case .average: .number(cell.sum.value / Double(cell.count))
        case .least: .number(cell.least)
        case .greatest: .number(cell.greatest)
        case .quantile(let share, _):
            answer.numbers[index].sketches[Int(group)].value(share).map {
                // The ends are known exactly.
                .number(min(max($0, cell.least), cell.greatest))
            } ?? .null
        case .count, .unique: .null
        }
    }

    private func money(_ kind: QueryMeasure.Kind, _ group: UInt32) -> QueryValue {
        let amounts = (moneyCells[group] ?? []).compactMap { index -> QueryValue.Amount? in
            let cell = answer.money.cells[index]
            guard cell.count > 0 else { return nil }
            let millionths: Int128 =
                switch kind {
                case .sum: cell.sum
                case .average: MoneyText.mean(cell.sum, cell.count)
                case .least: Int128(cell.least)
                case .greatest: Int128(cell.greatest)
                case .quantile(let share, _): quantile(share, index, cell)
                case .count, .unique: 0
                }
            return QueryValue.Amount(
                currency: currencyName(answer.money.pairs.seconds[index]), millionths: millionths)
        }
        return .money(amounts.sorted { $0.currency < $1.currency })
    }

    private func quantile(_ share: Double, _ index: Int, _ cell: MoneyCell) -> Int128 {
        let estimate = (answer.money.sketches[index].value(share) ?? 0) * 1_000_000
        let millionths = Int128(estimate.rounded())
        return min(max(millionths, Int128(cell.least)), Int128(cell.greatest))
    }
}
