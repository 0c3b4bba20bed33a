internal import AurumCore

/// Conversions or minor units by what their paths hold of one network; together everything that happened.
package struct EvidenceCounts: Sendable, Equatable {
    package var click: Int64 = 0
    package var view: Int64 = 0
    package var visit: Int64 = 0
    /// No touch of the network at all.
    package var none: Int64 = 0
    /// Credited by an earlier release that kept no evidence.
    package var unknown: Int64 = 0

    package init() {}

    mutating func add(_ amount: Int64, _ evidence: ClaimEvidence) throws(SpendError) {
        switch evidence {
        case .click: try Figures.add(amount, to: &click)
        case .view: try Figures.add(amount, to: &view)
        case .visit: try Figures.add(amount, to: &visit)
        }
    }

    mutating func add(_ other: EvidenceCounts) throws(SpendError) {
        try Figures.add(other.click, to: &click)
        try Figures.add(other.view, to: &view)
        try Figures.add(other.visit, to: &visit)
    }

    /// What is neither found nor unknown is none.
    func filled(_ all: Happened) throws(SpendError) -> EvidenceCounts {
        var counts = self
        (counts.none, counts.unknown) = (all.sum, all.unknown)
        for part in [all.unknown, click, view, visit] {
            let (rest, isTooLarge) = counts.none.subtractingReportingOverflow(part)
            if isTooLarge { throw .figuresTooLarge }
            counts.none = rest
        }
        return counts
    }

    var json: JSONValue {
        [
            "click": .integer(click), "view": .integer(view), "visit": .integer(visit), "none": .integer(none),
            "unknown": .integer(unknown),
        ]
    }

    /// Everything that happened, whoever led to it.
    struct Happened {
        var sum: Int64 = 0
        /// The part of it whose paths nobody kept.
        var unknown: Int64 = 0

        mutating func add(_ amount: Int64, isKnown: Bool) throws(SpendError) {
            try Figures.add(amount, to: &sum)
            if !isKnown { try Figures.add(amount, to: &unknown) }
        }

        mutating func add(_ other: Happened) throws(SpendError) {
            try Figures.add(other.sum, to: &sum)
            try Figures.add(other.unknown, to: &unknown)
        }
    }
}

/// Counts conversions by day, network and evidence; its memory depends on days, networks and currencies alone.
struct EvidenceTally {
    struct Place: Hashable {
        let day: Int
        let network: String
    }

    /// Conversions, and minor units by currency.
    struct Found {
        var counts = EvidenceCounts()
        var minor: [Currency: EvidenceCounts] = [:]

        mutating func add(_ other: Found) throws(SpendError) {
            try counts.add(other.counts)
            for (currency, found) in other.minor { try minor[currency, default: EvidenceCounts()].add(found) }
        }
    }

    struct Day {
        var conversions = EvidenceCounts.Happened()
        var minor: [Currency: EvidenceCounts.Happened] = [:]

        mutating func add(_ other: Day) throws(SpendError) {
            try conversions.add(other.conversions)
            for (currency, all) in other.minor {
                try minor[currency, default: EvidenceCounts.Happened()].add(all)
            }
        }
    }

    /// Of which evidence is counted.
    private let networks: Set<String>
    private(set) var found: [Place: Found] = [:]
    private var days: [Int: Day] = [:]
    /// The first day all of whose conversions were read, when there were too many to read all; nil when all were.
    private(set) var completeFrom: Int?

    init(networks: Set<String>) { self.networks = networks }

    /// - Parameter strongest: the strongest evidence of each network on its path.
    mutating func add(
        _ path: PathOfConversion, day: Int, _ strongest: [String: EvidenceMark]
    ) throws(SpendError) {
        let isKnown = path.evidence != nil
        var happened = days[day] ?? Day()
        try happened.conversions.add(1, isKnown: isKnown)
        if let value = path.value {
            try happened.minor[value.currency, default: EvidenceCounts.Happened()].add(
                value.minorUnits, isKnown: isKnown)
        }
        days[day] = happened
        for (network, mark) in strongest {
            let place = Place(day: day, network: network)
            var sum = found[place] ?? Found()
            try sum.counts.add(1, mark.evidence)
            if let value = path.value {
                try sum.minor[value.currency, default: EvidenceCounts()].add(value.minorUnits, mark.evidence)
            }
            found[place] = sum
        }
    }

    /// Forgets the day that was not read to its end.
    mutating func cut(on day: Int) {
        days[day] = nil
        found = found.filter { $0.key.day != day }
        completeFrom = day + 1
    }

    /// Puts evidence beside what a network claims of a day; none beside one without imports.
    func fill(_ line: inout ClaimLine, day: Int) throws(SpendError) {
        guard networks.contains(line.network), day >= completeFrom ?? day else { return }
        try Self.fill(&line, found[Place(day: day, network: line.network)] ?? Found(), days[day] ?? Day())
    }

    /// Puts evidence beside what networks claim of all days; nothing when not all were read.
    func fill(_ totals: inout [ClaimLine]) throws(SpendError) {
        guard completeFrom == nil else { return }
        var sums: [String: Found] = [:]
        for (place, one) in found { try sums[place.network, default: Found()].add(one) }
        var all = Day()
        for day in days.values { try all.add(day) }
        for place in totals.indices where networks.contains(totals[place].network) {
            try Self.fill(&totals[place], sums[totals[place].network] ?? Found(), all)
        }
    }

    private static func fill(_ line: inout ClaimLine, _ found: Found, _ all: Day) throws(SpendError) {
        line.evidence = try found.counts.filled(all.conversions)
        for place in line.values.indices {
            let currency = line.values[place].currency
            let counts = found.minor[currency] ?? EvidenceCounts()
            line.values[place].evidenceMinor = try counts.filled(all.minor[currency] ?? EvidenceCounts.Happened())
        }
    }
}

extension GrowthReports {
    /// What the paths of the newest conversions hold, by day and network.
    /// - Throws: `SpendError.figuresTooLarge`; database errors.
    func evidence(org: String, _ question: ClaimQuestion, _ ground: ClaimGround) async throws -> EvidenceTally {
        var tally = EvidenceTally(networks: ground.imported)
        let from = ground.start(ofDay: ground.from)
        var mark = ClaimMark(before: ground.start(ofDay: ground.to))
        var read = 0
        while true {
            try Task.checkCancellation()
            let page = try await paths(
                org: org, question.ours, from: from, before: mark, limit: question.paths.atOnce)
            for path in page {
                try tally.add(path, day: ground.day(of: path.mark.at), ground.strongest(path.evidence ?? []))
            }
            read += page.count
            guard page.count == question.paths.atOnce, let last = page.last else { return tally }
            if read >= question.paths.most {
                tally.cut(on: ground.day(of: last.mark.at))
                return tally
            }
            mark = last.mark
        }
    }
}
