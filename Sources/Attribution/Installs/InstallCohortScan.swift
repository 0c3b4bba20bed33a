internal import AurumCore
internal import Events

/// Reads from the log what people did after they had installed an app: whether they came back, and their conversions.
struct InstallCohortScan {
    private struct Conversion {
        let filter: RowFilter
        let definition: ConversionDefinition
    }

    private let app: String
    private let org: String
    private let activity: RowFilter
    private let conversions: [Conversion]
    private let resolver: any PersonResolver
    private let budget: ReadingBudget
    /// What is no sign of somebody who uses the app.
    private static let types: Set<UInt8> = Set(
        [EventType.page, .screen, .open, .track, .click, .conversion].map(\.rawValue))

    /// - Parameters:
    ///   - definitions: versions of one conversion with the times that each is in force.
    ///   - span: from the first install to the last moment that counts.
    /// - Throws: `LogAttributionError.invalid` for a condition that cannot be read.
    init(
        org: String, app: String, _ definitions: [DefinitionInForce], span: Range<Int64>, resolver: any PersonResolver,
        budget: ReadingBudget, now: Timestamp
    ) throws(LogAttributionError) {
        (self.org, self.app, self.resolver, self.budget) = (org, app, resolver, budget)
        func bound(_ time: Int64) -> Timestamp? {
            time == .min || time == .max ? nil : Timestamp(microseconds: time)
        }
        activity = RowFilter(nil, org: org, apps: [app], from: bound(span.lowerBound), to: bound(span.upperBound))
        var made: [Conversion] = []
        for known in definitions where known.definition.app.isEmpty || known.definition.app == app {
            // What was repeated is only known from the beginning.
            let from = known.definition.repeats == .each ? max(known.from, span.lowerBound) : known.from
            let to = min(known.to, span.upperBound)
            guard from < to else { continue }
            let filter = RowFilter(
                try known.definition.filter(now: now), org: org, apps: [app], from: bound(from), to: bound(to))
            made.append(Conversion(filter: filter, definition: known.definition))
        }
        conversions = made
    }

    /// Blocks its thread.
    /// - Parameter members: all of this app; of those that are counted it is noted who came back.
    /// - Returns: conversions of their persons that count, in order of time.
    /// - Throws: `LogAttributionError.cancelled`, `slow` and `tooLarge`, and what the log throws.
    func read(_ segments: [ColumnSegment], _ members: inout [InstallMember]) throws -> [InstallConversion] {
        var persons: [UInt64: [Int]] = [:]
        for (index, member) in members.enumerated() where member.person != 0 && !member.isOutside {
            persons[resolver.person(member.person), default: []].append(index)
        }
        guard !persons.isEmpty else { return [] }
        let (scanner, scanners) = (RowScanner(activity), conversions.map { RowScanner($0.filter) })
        var found: [(conversion: InstallConversion, place: Int)] = []
        for segment in segments {
            for (index, summary) in segment.blocks.enumerated()
            where activity.mayHold(summary) || conversions.contains(where: { $0.filter.mayHold(summary) }) {
                try budget.take(summary.rowCount)
                guard let bare = try segment.read(index) else { continue }
                let block = MemoBlock(bare)
                try note(try scanner.select(block).rows(of: block.rowCount), block, persons, &members)
                for (place, scanner) in scanners.enumerated() {
                    let rows = try scanner.select(block).rows(of: block.rowCount)
                    found += try read(rows, conversions[place].definition, block, persons).map { ($0, place) }
                }
                guard found.count <= InstallCohortQuestion.conversionsMax else {
                    throw LogAttributionError.tooLarge(
                        "More than \(InstallCohortQuestion.conversionsMax) conversions; ask for a shorter range.")
                }
            }
        }
        return counted(found)
    }

    private func note(
        _ rows: [UInt32], _ block: MemoBlock, _ persons: [UInt64: [Int]], _ members: inout [InstallMember]
    ) throws {
        guard !rows.isEmpty else { return }
        let (types, times, people) = (try block.types(), try block.times(), try block.persons(org: org))
        for row in rows where Self.types.contains(types[Int(row)]) && people.codes[Int(row)] != 0 {
            let person = resolver.person(people.keys[Int(people.codes[Int(row)])])
            for index in persons[person] ?? [] { members[index].note(times[Int(row)]) }
        }
    }

    private func read(
        _ rows: [UInt32], _ definition: ConversionDefinition, _ block: MemoBlock, _ persons: [UInt64: [Int]]
    ) throws -> [InstallConversion] {
        guard !rows.isEmpty else { return [] }
        let (facts, times) = (try block.touchRows(rows, org: org), try block.times())
        var fixed: Money?
        if case .fixed(let money) = definition.value { fixed = money }
        let values = fixed == nil ? try block.values() : nil
        let currencies = fixed == nil ? try block.text(.currency) : nil
        let orders = definition.repeats == .perOrderID ? try block.text(ColumnName("order_id")) : nil
        var found: [InstallConversion] = []
        for (index, row) in rows.enumerated() where facts.persons[index] != 0 {
            let person = resolver.person(facts.persons[index])
            guard persons[person] != nil else { continue }
            var (value, currency) = (values?[Int(row)], fixed?.currency)
            if let fixed { value = Self.millionths(fixed) }
            if value == .min { value = nil }
            if fixed == nil, let currencies, currencies.codes[Int(row)] != 0 {
                currency = Currency(currencies.dictionary.text(currencies.codes[Int(row)]))
            }
            var order: UInt64?
            if let orders, orders.codes[Int(row)] != 0 {
                order = TextHash.of(orders.dictionary.text(orders.codes[Int(row)]))
            }
            found.append(
                InstallConversion(
                    person: person, app: app, at: times[Int(row)], id: facts.orders[index], value: value,
                    currency: currency, order: order))
        }
        return found
    }

    /// Those that the rule about repeated ones lets stand.
    private func counted(_ found: [(conversion: InstallConversion, place: Int)]) -> [InstallConversion] {
        struct Order: Hashable {
            let person: UInt64
            let order: UInt64
        }
        var persons: Set<UInt64> = []
        var orders: Set<Order> = []
        let sorted = found.sorted {
            ($0.conversion.at, $0.conversion.id) < ($1.conversion.at, $1.conversion.id)
        }
        return sorted.compactMap { conversion, place in
            let isFirst = persons.insert(conversion.person).inserted
            let isNew =
                conversion.order.map { orders.insert(Order(person: conversion.person, order: $0)).inserted } ?? true
            return switch conversions[place].definition.repeats {
            case .each: conversion
            case .perOrderID: isNew ? conversion : nil
            case .oncePerPerson: isFirst ? conversion : nil
            }
        }
    }

    private static func millionths(_ money: Money) -> Int64 {
        var unit: Int64 = 1_000_000
        for _ in 0..<money.currency.fractionDigits { unit /= 10 }
        let (product, overflow) = money.minorUnits.multipliedReportingOverflow(by: unit)
        return overflow ? .max : product
    }
}
