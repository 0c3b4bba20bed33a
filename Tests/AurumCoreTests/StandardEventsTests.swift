import AurumCore
import Foundation
import Testing

/// The data that bars are stated for must be the data that the specification describes.
struct StandardEventsTests {
    private static let count = 24_000

    private func events(_ profile: EventProfile) throws -> (made: StandardEvents, bytes: Int, events: [JSONValue]) {
        var source = StandardEvents(profile: profile, seed: 7)
        var bytes = 0
        var events: [JSONValue] = []
        while events.count < Self.count {
            let body = source.body()
            bytes += body.count
            for line in body.split(separator: 0x0a) {
                events.append(try JSONDecoder().decode(JSONValue.self, from: Data(line)))
            }
        }
        return (source, bytes, events)
    }

    private func share(_ events: [JSONValue], _ holds: (JSONValue) -> Bool) -> Double {
        Double(events.count(where: holds)) / Double(events.count)
    }

    @Test func `the standard profile has the size and the shares of the specification`() throws {
        let (source, bytes, events) = try events(.standard)
        #expect(events.count == Self.count && source.totals.events == Self.count)
        #expect(abs(Double(bytes) / Double(events.count) - 342) <= 10)
        #expect(abs(share(events) { $0["context"]?["utm_campaign"] != nil } - 0.5) < 0.02)
        #expect(abs(share(events) { $0["properties"]?["referrer"] != nil } - 0.55) < 0.02)
        #expect(abs(share(events) { $0["properties"]?["revenue"] != nil } - 0.2) < 0.015)
        #expect(Set(events.compactMap { $0["event"]?.string }).count == 12)
        #expect((300...400).contains(Set(events.compactMap { $0["context"]?["utm_campaign"]?.string }).count))
        #expect((1500...3000).contains(Set(events.compactMap { $0["properties"]?["url"]?.string }).count))
        let byUser = share(events) { $0["userId"] != nil }
        #expect((0.35...0.65).contains(byUser), "\(byUser) by user id")
        #expect(Set(events.compactMap { $0["messageId"]?.string }).count == Self.count)
        #expect(events.allSatisfy { UID($0["messageId"]?.string ?? "") != nil })
        #expect(events.allSatisfy { Timestamp(rfc3339: $0["timestamp"]?.string ?? "") != nil })
    }

    @Test func `the most frequent person comes as often as Zipf says`() throws {
        let events = try events(.standard).events
        let counts = Dictionary(grouping: events) { $0["userId"]?.string ?? $0["anonymousId"]?.string ?? "" }
        let weight = (1...50_000).reduce(0.0) { $0 + 1 / pow(Double($1), 0.9) }
        let most = Double(counts.values.map(\.count).max() ?? 0) / Double(Self.count)
        #expect(abs(most - 1 / weight) / (1 / weight) < 0.15, "\(most), expected \(1 / weight)")
    }

    @Test func `the totals are those of the bodies, to the cent`() throws {
        let (source, bytes, events) = try events(.standard)
        #expect(source.totals.bytes == bytes)
        let names = Dictionary(grouping: events) { $0["event"]?.string ?? "" }.mapValues(\.count)
        #expect(source.totals.names == names)
        var cents: Int64 = 0
        for event in events {
            guard let revenue = event["properties"]?["revenue"]?.double else { continue }
            cents += Int64((revenue * 100).rounded())
        }
        #expect(source.totals.valueSum == EventPopulation.decimal(cents: cents))
    }

    @Test func `the harsh profile knows nobody by user id and hardly anybody twice`() throws {
        let events = try events(.harsh).events
        #expect(events.allSatisfy { $0["userId"] == nil })
        let persons = Set(events.compactMap { $0["anonymousId"]?.string }).count
        #expect(persons > Self.count * 9 / 10)
    }

    @Test func `the same seed makes the same bytes and another seed others`() {
        func body(_ seed: UInt64) -> [UInt8] {
            var source = StandardEvents(seed: seed)
            return source.body(50)
        }
        #expect(body(7) == body(7))
        #expect(body(7) != body(8))
    }
}
