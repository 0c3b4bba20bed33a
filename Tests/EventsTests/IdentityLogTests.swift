internal import AurumCore
internal import Events
internal import Synchronization
import TestSupport
import Testing

/// The identity graph over a real log: fed by events, kept over restarts, seen by journeys.
struct IdentityLogTests {
    private static func identify(_ id: String, _ anonymous: String, _ user: String, device: String? = nil) -> String {
        let more = device.map { #","device_id":"\#($0)""# } ?? ""
        return #"{"id":"\#(id)","type":"identify","anonymous_id":"\#(anonymous)","user_id":"\#(user)"\#(more)}"#
    }

    private static func alias(_ id: String, _ previous: String, _ user: String) -> String {
        #"{"id":"\#(id)","type":"alias","previous_id":"\#(previous)","user_id":"\#(user)"}"#
    }

    private static let click =
        #"{"id":"c1","type":"click","anonymous_id":"a1","ts":"2026-11-21T11:00:00Z","#
        + #""campaign":{"network":"google","name":"spring"}}"#
    private static let purchase =
        #"{"id":"s1","type":"conversion","name":"purchase","user_id":"u1","value":"10","currency":"USD"}"#

    private func person(_ log: EventLog, _ identifier: PersonIdentifier, org: String = "acme") -> UInt64 {
        log.store.persons(org: org).person(log.identity.key(org: org, identifier))
    }

    private func journey(_ log: EventLog, user: String) async throws -> [String] {
        try await log.store.journey(
            JourneyQuery(
                org: "acme", traceID: nil, identifiers: [PersonIdentifier(.user, user)], until: testNow,
                lookback: .seconds(86_400))
        ).map(\.eventID)
    }

    @Test func `the click of the anonymous visitor is in the journey of the buyer until it is unmerged`() async throws {
        let log = try openEvents(VolatileLogStorage())
        _ = try await log.send(Self.click)
        _ = try await log.send(Self.purchase)
        #expect(try await journey(log, user: "u1").isEmpty)
        _ = try await log.send(Self.identify("i1", "a1", "u1"))
        #expect(try await journey(log, user: "u1") == ["c1"])
        let report = try await log.identity.person(org: "acme", PersonIdentifier(.user, "u1"))
        #expect(report.identifiers.map(\.value) == ["a1", "u1"])
        let link = try #require(report.links.first)
        #expect(link.cause == .identify && link.actor == "shop" && link.eventID == "i1" && link.at == testNow)
        try await log.identity.unmerge(org: "acme", link.merge, reason: "shared computer", actor: "test")
        #expect(try await journey(log, user: "u1").isEmpty)
        #expect(try await log.identity.person(org: "acme", PersonIdentifier(.user, "u1")).links.isEmpty)
        await #expect(throws: IdentityError.unknownMerge) {
            try await log.identity.unmerge(org: "acme", link.merge, reason: "again", actor: "test")
        }
        await log.close()
    }

    @Test func `identify joins one user, alias and hand may join two`() async throws {
        let registry = VolatileLogStorage()
        let log = try openEvents(registry)
        func same(_ a: PersonIdentifier, _ b: PersonIdentifier) -> Bool { person(log, a) == person(log, b) }
        _ = try await log.send(Self.identify("i1", "a1", "u1", device: "d1"))
        #expect(same(.init(.anonymous, "a1"), .init(.user, "u1")) && same(.init(.device, "d1"), .init(.user, "u1")))
        // The visitor signs in as somebody else: two users stay two.
        _ = try await log.send(Self.identify("i2", "a1", "u2"))
        #expect(!same(.init(.user, "u1"), .init(.user, "u2")) && person(log, .init(.user, "u2")) != 0)
        _ = try await log.send(Self.identify("i3", "undefined", "u3"))
        #expect(!same(.init(.anonymous, "undefined"), .init(.user, "u3")))
        // A duplicate and a bot say nothing.
        _ = try await log.send(Self.identify("i1", "a9", "u9"))
        _ = try await log.send(
            #"{"id":"i4","type":"identify","anonymous_id":"a8","user_id":"u8","context":{"user_agent":"Googlebot/2.1"}}"#
        )
        #expect(
            !same(.init(.anonymous, "a9"), .init(.user, "u9")) && !same(.init(.anonymous, "a8"), .init(.user, "u8")))
        // The same identifiers in another organisation are other people.
        _ = try await log.send(Self.identify("i5", "a5", "u5"), source: CaptureSource(org: "rival", app: "shop"))
        #expect(!same(.init(.anonymous, "a5"), .init(.user, "u5")))
        _ = try await log.send(Self.alias("l1", "u1", "u2"))
        #expect(same(.init(.user, "u1"), .init(.user, "u2")) && same(.init(.anonymous, "u1"), .init(.user, "u2")))
        let aliased = try await log.identity.person(org: "acme", PersonIdentifier(.user, "u2"))
        let alias = try #require(aliased.links.first { $0.cause == .alias })
        try await log.identity.unmerge(org: "acme", alias.merge, reason: "wrong", actor: "test")
        #expect(!same(.init(.user, "u1"), .init(.user, "u2")) && !same(.init(.anonymous, "u1"), .init(.user, "u2")))

        let merge = try await log.identity.merge(
            org: "acme", .init(.user, "u1"), .init(.user, "u2"), reason: "same person", actor: "test")
        #expect(same(.init(.user, "u1"), .init(.user, "u2")))
        let again = try await log.identity.merge(
            org: "acme", .init(.user, "u2"), .init(.user, "u1"), reason: "same person", actor: "test")
        #expect(again == merge)
        var filter = EventFilter(org: "acme")
        filter.names = ["identity.merged", "identity.unmerged"]
        let events = try await log.store.events(filter)
        #expect(events.map(\.name) == ["identity.merged", "identity.unmerged"])
        #expect(events[0].props?["actor"] == "test" && events[0].props?["cause"] == "manual")
        #expect(events[0].props?["merge_id"]?.string == merge.text && !events[0].raw.contains("u1"))
        await #expect(throws: IdentityError.refused(.notLinkable)) {
            _ = try await log.identity.merge(
                org: "acme", .init(.user, "guest"), .init(.user, "u2"), reason: "", actor: "")
        }
        await #expect(throws: IdentityError.refused(.notLinkable)) {
            _ = try await log.identity.merge(org: "acme", .init(.group, "g"), .init(.user, "u2"), reason: "", actor: "")
        }
        await #expect(throws: IdentityError.sameIdentifier) {
            _ = try await log.identity.merge(org: "acme", .init(.user, "u2"), .init(.user, "u2"), reason: "", actor: "")
        }
        await #expect(throws: IdentityError.unknownMerge) {
            try await log.identity.unmerge(org: "rival", merge, reason: "", actor: "")
        }
        await log.close()
    }

    @Test func `at the bound new links are refused and an unmerge makes room`() async throws {
        let log = try openEvents(VolatileLogStorage()) { $0.limits.identity.identifiersMax = 4 }
        for number in 1...3 { _ = try await log.send(Self.identify("i\(number)", "a\(number)", "u\(number)")) }
        #expect(log.identity.persons.identifierCount == 4)
        #expect(person(log, .init(.anonymous, "a3")) != person(log, .init(.user, "u3")))
        await #expect(throws: IdentityError.refused(.full)) {
            _ = try await log.identity.merge(org: "acme", .init(.user, "u1"), .init(.user, "u9"), reason: "", actor: "")
        }
        let link = try #require(
            try await log.identity.person(org: "acme", .init(.user, "u1")).links.first)
        try await log.identity.unmerge(org: "acme", link.merge, reason: "room", actor: "")
        _ = try await log.send(Self.identify("i4", "a3", "u3"))
        #expect(person(log, .init(.anonymous, "a3")) == person(log, .init(.user, "u3")))
        await log.close()
    }

    // MARK: restart

    /// Seeded events, merges and unmerges against a log.
    private func change(_ log: EventLog, _ random: inout SeededRandom, round: Int, count: Int) async throws {
        for number in 0..<count {
            let (a, b) = (random.next() % 60, random.next() % 60)
            let id = "r\(round)-\(number)"
            switch random.next() % 12 {
            case 0..<6: _ = try await log.send(Self.identify(id, "a\(a)", "u\(b)", device: a % 3 == 0 ? "d\(b)" : nil))
            case 6..<8: _ = try await log.send(Self.alias(id, "u\(a)", "u\(b)"))
            case 8..<10:
                do {
                    _ = try await log.identity.merge(
                        org: "acme", .init(.user, "u\(a)"), .init(.user, "u\(b)"), reason: "test", actor: "key\(a % 5)")
                } catch is IdentityError {}
            default:
                let links = try await log.identity.person(org: "acme", .init(.user, "u\(a)")).links
                guard let link = links.first else { continue }
                try await log.identity.unmerge(org: "acme", link.merge, reason: "test", actor: "key")
            }
        }
    }

    @Test func `after a restart everybody is who he was, whatever is left of the checkpoints`() async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("identity restart seed \(seed)")
        var random = SeededRandom(seed: seed)
        var storage = VolatileLogStorage()
        var lines: [String] = []
        for round in 0..<8 {
            let log = try openEvents(storage) {
                $0.limits.segmentBytesMax = 20_000
                $0.limits.identity.checkpointChanges = 25
                $0.limits.identity.readableLinksMax = 0
            }
            #expect(log.identity.persons.lines == lines, "seed \(seed), round \(round)")
            try await change(log, &random, round: round, count: 60)
            lines = log.identity.persons.lines
            #expect(lines.count > 20)
            #expect(try log.identity.rebuiltLines(log.store) == lines, "seed \(seed), round \(round)")
            switch round % 4 {
            case 0:
                await log.close()
                storage = storage.copy()
            case 1:
                // Power is cut: what was acknowledged is there, a checkpoint may be torn.
                storage.cutPower()
                await log.close()
                storage = storage.afterCut(seed: random.next())
            case 2:
                await log.close()
                storage = storage.copy()
                for name in ["identity-a", "identity-b"] where !storage.bytes(name).isEmpty {
                    var bytes = storage.bytes(name)
                    bytes[Int(random.next() % UInt64(bytes.count))] ^= 4
                    storage.place(name, bytes)
                }
            default:
                await log.close()
                storage = storage.copy()
                storage.place("identity-a", [])
            }
        }
    }

    @Test func `many linked identifiers are restored in less than three seconds`() async throws {
        let folder = TemporaryFolder()
        let log = try openEvents(try PosixLogStorage(folder: folder.file("events")))
        let events = soakCount(2_500_000)
        var number = 0
        let began = ContinuousClock.now
        while number < events {
            let end = min(events, number + 2500)
            let lines = (number..<end).map { Self.identify("i\($0)", "a\($0)", "u\($0)") }
            #expect(try await log.send(lines.joined(separator: "\n")).stored == lines.count)
            number = end
        }
        let took = ContinuousClock.now - began
        #expect(log.identity.persons.identifierCount == 2 * events)
        await log.close()
        let again = try openEvents(try PosixLogStorage(folder: folder.file("events")))
        print(
            "\(2 * events) identifiers: fed within \(took), restored within \(again.identity.persons.openingSeconds) s")
        #expect(again.identity.persons.identifierCount == 2 * events && again.identity.persons.openingSeconds < 3)
        for number in stride(from: 0, to: events, by: events / 500) {
            #expect(person(again, .init(.anonymous, "a\(number)")) == person(again, .init(.user, "u\(number)")))
        }
        await again.close()
    }

    // MARK: readers

    private final class Flag: Sendable {
        private let state = Atomic<Bool>(false)
        var isSet: Bool { state.load(ordering: .relaxed) }
        func set() { state.store(true, ordering: .relaxed) }
    }

    @Test func `a snapshot shows an event's links all or not at all, while others write`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let isDone = Flag()
        let count = 400
        try await withThrowingTaskGroup(of: Void.self) { group in
            for reader in 0..<3 {
                group.addTask {
                    var last = 0
                    var rounds = 0
                    while !isDone.isSet || rounds == 0 {
                        rounds += 1
                        let persons = log.store.persons(org: "acme")
                        #expect(persons.version >= last, "reader \(reader)")
                        last = persons.version
                        for number in 0..<count {
                            let keys = [
                                log.identity.key(org: "acme", .init(.anonymous, "a\(number)")),
                                log.identity.key(org: "acme", .init(.device, "d\(number)")),
                                log.identity.key(org: "acme", .init(.user, "u\(number)")),
                            ]
                            let found = Set(keys.map { persons.person($0) })
                            #expect(found.count == 1 || found == Set(keys))
                            #expect(keys.allSatisfy { persons.person(persons.person($0)) == persons.person($0) })
                        }
                        await Task.yield()
                    }
                }
            }
            group.addTask {
                for number in 0..<count {
                    _ = try await log.send(
                        Self.identify("i\(number)", "a\(number)", "u\(number)", device: "d\(number)"))
                }
                isDone.set()
            }
            try await group.waitForAll()
        }
        #expect(log.identity.persons.identifierCount == 3 * count)
        await log.close()
    }

    @Test func `a merge is visible to queries within a second, on a real disk`() async throws {
        let folder = TemporaryFolder()
        let log = try openEvents(try PosixLogStorage(folder: folder.file("events")))
        var body = ""
        for number in 0..<2000 { body += Self.identify("i\(number)", "a\(number)", "u\(number)") + "\n" }
        _ = try await log.send(body)
        var times: [Duration] = []
        for number in 0..<200 {
            let (a, b) = (PersonIdentifier(.user, "u\(number)"), PersonIdentifier(.user, "u\(number + 1)"))
            let began = ContinuousClock.now
            _ = try await log.identity.merge(org: "acme", a, b, reason: "test", actor: "test")
            #expect(person(log, a) == person(log, b))
            times.append(ContinuousClock.now - began)
        }
        times.sort()
        print("merge to visible: p50 \(times[100]), p99 \(times[198]), n 200")
        #expect(times[198] < .seconds(1))
        await log.close()
    }
}
