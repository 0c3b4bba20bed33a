/// Standard events with ids and times: bodies as a shop's pages would send them, seeded, about 1 ms apart. No event
/// repeats, and what was made is counted, so that a store's answers can be held against it.
package struct StandardEvents: Sendable {
    private let population: EventPopulation
    private var random: SeededRandom
    private var moment: Int64
    private var jitter: SeededRandom
    package private(set) var totals = StandardTotals()

    /// Events of one body, and apps among which the bodies go round: body k belongs to app k mod `apps`.
    package static let eventsPerBody = 800
    package static let apps = 200
    /// Mean milliseconds between two events.
    package static let stepMilliseconds = 1

    /// - Parameter startingAt: time of the first event.
    package init(
        profile: EventProfile = .standard, seed: UInt64,
        startingAt: Timestamp = Timestamp(milliseconds: 1_795_224_568_000)
    ) {
        population = EventPopulation(profile, seed: seed)
        random = SeededRandom(seed: seed)
        jitter = SeededRandom(seed: seed ^ 0x71_77)
        moment = startingAt.microseconds / 1000
    }

    /// The next `count` events, each a line.
    package mutating func body(_ count: Int = eventsPerBody) -> [UInt8] {
        var body: [UInt8] = []
        body.reserveCapacity(count * 360)
        for _ in 0..<count {
            moment += Int64(jitter.next() % 3)
            let at = moment + Int64(jitter.next() % 80) - 40
            let drawn = population.append(to: &body, &random)
            let id = Array(EventPopulation.uuid(jitter.next(), jitter.next()).utf8)
            body.replaceSubrange(drawn.id..<drawn.id + EventPopulation.idBytes, with: id)
            let time = Array(Timestamp(milliseconds: at).rfc3339.utf8.prefix(EventPopulation.timeBytes))
            body.replaceSubrange(drawn.time..<drawn.time + time.count, with: time)
            totals.count(drawn)
        }
        totals.bytes += body.count
        return body
    }
}

/// What standard events add up to.
package struct StandardTotals: Sendable, Codable, Equatable {
    package var events = 0
    package var bytes = 0
    /// Events by name.
    package var names: [String: Int] = [:]
    /// Hundredths by currency.
    package var cents: [String: Int64] = [:]
    package var withValue = 0

    package init() {}

    /// The exact sum of all values, whatever their currency: `1234.56`.
    package var valueSum: String { EventPopulation.decimal(cents: cents.values.reduce(0, +)) }

    mutating func count(_ drawn: EventPopulation.Drawn) {
        events += 1
        names[EventPopulation.names[drawn.name], default: 0] += 1
        guard let value = drawn.cents else { return }
        withValue += 1
        cents[EventPopulation.currencies[drawn.currency], default: 0] += value
    }
}
