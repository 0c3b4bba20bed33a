package import AurumCore
internal import Events

/// Where a page of conversions ended: the last of them.
package struct ConversionMark: Sendable, Equatable {
    var spot: JourneyWitness.Spot

    init(_ spot: JourneyWitness.Spot) { self.spot = spot }

    /// Reads what `text` writes; nil for anything else.
    package init?(_ text: String) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, let time = Int64(parts[0]), let id = UInt64(parts[1], radix: 16),
            let tail = UInt16(parts[2], radix: 16)
        else { return nil }
        spot = JourneyWitness.Spot(time: time, id: id, tail: tail)
        guard self.text == text else { return nil }
    }

    package var text: String {
        "\(spot.time)-\(String(spot.id, radix: 16))-\(String(spot.tail, radix: 16))"
    }
}

/// Which conversions of a run are listed.
package struct ConversionFilter: Sendable {
    package var conversion: String
    /// Of the result, if not the newest.
    package var version: Int?
    package var from: Timestamp?
    package var to: Timestamp?
    package var after: ConversionMark?
    package var limit = 50
    package static let limitMax = 200

    package init(conversion: String) { self.conversion = conversion }
}

extension LogAttribution {
    /// Looks at so many pages of events before it answers with what it has.
    private static let roundsMax = 4

    /// The conversions that a run credited, newest first, a page at a time. A page may be short, also empty, where the
    /// repeat rule leaves events out: `next` says whether there are more.
    /// - Throws: `noResult`, `notYetRun`, `tooLarge`, `slow`, `busy`, `cancelled`; database errors, and what the log
    ///   throws.
    package func credited(org: String, _ filter: ConversionFilter) async throws -> JSONValue {
        try await question("conversions", org: org) { budget in
            let run = try await again(
                org: org, conversion: filter.conversion, version: filter.version, joined: nil)
            let page = try await BlockingWork.value { try Self.page(run, filter, budget) }
            return .object(page.merging(["result": run.json]) { $1 })
        }
    }

    private static func page(
        _ run: RunAgain, _ filter: ConversionFilter, _ budget: ReadingBudget
    ) throws -> [String: JSONValue] {
        let from = max(filter.from?.microseconds ?? .min, run.plan.from)
        let to = filter.to?.microseconds ?? .max
        let search = ConversionSearch(run: run, budget: budget)
        var after = filter.after?.spot
        var isMore = true
        var listed: [JSONValue] = []
        var rounds = 0
        while isMore, listed.count < filter.limit, rounds < roundsMax {
            rounds += 1
            let wanted = filter.limit - listed.count
            let found = try search.newest(from: from, to: to, after: after, limit: wanted + 1)
            isMore = found.count > wanted
            let events = Array(found.prefix(wanted))
            after = events.last?.spot ?? after
            let credited = try credited(events, run, budget)
            listed += try lines(events.filter { credited?.contains($0.spot) != false }, run)
        }
        let next = isMore ? after.map { ConversionMark($0).text } : nil
        return ["conversions": .array(listed), "next": next.map { .string($0) } ?? .null]
    }

    /// Which of some events the repeat rules let through; nil where every event counts.
    private static func credited(
        _ events: [ConversionSearch.Found], _ run: RunAgain, _ budget: ReadingBudget
    ) throws -> Set<JourneyWitness.Spot>? {
        guard run.plan.conversions.contains(where: { $0.definition.repeats != .each }), !events.isEmpty else {
            return nil
        }
        let witness = JourneyWitness()
        _ = try run.reading(Set(events.map(\.person)), budget).walk(witness, withRows: false)
        return witness.allCredited
    }

    private static func lines(_ events: [ConversionSearch.Found], _ run: RunAgain) throws -> [JSONValue] {
        var lines: [JSONValue] = []
        var open: (segment: Int, block: Int, content: any ColumnBlock)?
        for event in events {
            if open?.segment != event.segment || open?.block != event.block {
                open = try run.segments[event.segment].read(event.block).map { (event.segment, event.block, $0) }
            }
            guard let stored = try open?.content.event(event.row) else { continue }
            let conversion = run.plan.conversions[event.number]
            var (minor, currency): (Int64, String?) = (0, nil)
            if case .fixed(let money) = conversion.definition.value {
                (minor, currency) = (money.minorUnits, money.currency.code)
            } else if let value = stored.value {
                minor = LogRunPlan.minor(value.value, unit: LogRunPlan.minorUnit(of: stored.currency))
                currency = stored.currency
            }
            lines.append([
                "event": .string(stored.id), "app": .string(stored.app), "at": .string(stored.at.rfc3339),
                "person": .string(personToken(event.person)), "amount_minor": .integer(minor),
                "currency": .string(currency ?? ""), "position": .string(stored.position.description),
            ])
        }
        return lines
    }

    /// The keyed hash of a person after merges, as 16 digits: the same for all events of the person.
    static func personToken(_ key: UInt64) -> String {
        let digits = String(key, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }
}
