import AurumCore
import Events
import Foundation
import TestSupport
import Testing

/// Journeys whose touchpoints memory no longer holds.
struct OlderTouchTests {
    private static let persons = 10
    private static let clicks = 240

    /// A log of many small segments whose index holds 24 touchpoints.
    private static func open(_ storage: any LogStorage, freeBytesMin: Int = 0) throws -> EventLog {
        try openEvents(storage) {
            ($0.limits.segmentBytesMax, $0.limits.touchesMax, $0.limits.freeBytesMin) = (6000, 24, freeBytesMin)
            ($0.upkeep.ownBlockRows, $0.upkeep.blockRowsMax) = (40, 90)
        }
    }

    private static func person(_ number: Int) -> String { "u\(number * 7 % persons)" }

    /// Clicks of ten persons, a second apart, each followed by an event that is no touchpoint.
    private static func fill(_ log: EventLog) async throws {
        for number in 0..<clicks {
            let at = (testNow - .seconds(clicks - number)).rfc3339
            let click =
                #"{"id":"c\#(number)","type":"click","user_id":"\#(person(number))","ts":"\#(at)","#
                + #""campaign":{"name":"n\#(number % 4)"}}"#
            let filler = trackLine(["id": "\"f\(number)\"", "props": "{\"text\":\"\(UUID().uuidString)\"}"])
            _ = try await log.send(
                click + "\n" + filler, source: CaptureSource(org: "acme", app: ["app", "blog", "shop"][number % 3]))
        }
    }

    /// Every person's clicks are all there, in their order.
    private static func check(_ log: EventLog, _ note: String) async throws {
        for number in 0..<persons {
            let touches = try await log.store.journey(
                JourneyQuery(
                    org: "acme", traceID: nil, identifiers: [PersonIdentifier(.user, "u\(number)")],
                    until: testNow, lookback: .seconds(86_400)))
            let wanted = (0..<clicks).filter { person($0) == "u\(number)" }.map { "c\($0)" }
            #expect(touches.map(\.eventID) == wanted, "u\(number) \(note)")
        }
    }

    private static func files(_ storage: VolatileLogStorage) throws -> [String] {
        try storage.names().filter { $0.hasSuffix(".touches") }.sorted()
    }

    @Test func `a journey holds what memory forgot, in segments, in archives and after a start`() async throws {
        let storage = VolatileLogStorage()
        var log = try Self.open(storage)
        try await Self.fill(log)
        try await Self.check(log, "in segments")
        let beside = try Self.files(storage)
        #expect(beside.count > 3)
        await log.close()
        log = try Self.open(storage)
        try await Self.check(log, "after a start")
        #expect(try log.upkeep.run(all: true, isPaced: false).files > 0)
        try await Self.check(log, "in archives")
        let known = Set(try storage.names())
        let lonely = try Self.files(storage).filter { !known.contains(String($0.dropLast(8))) }
        #expect(lonely.isEmpty, "their segments are gone")
        await log.close()
        log = try Self.open(storage)
        try await Self.check(log, "in archives after a start")
        await log.close()
    }

    @Test func `what is beside a segment may be damaged, half written or gone`() async throws {
        let storage = VolatileLogStorage()
        var log = try Self.open(storage)
        try await Self.fill(log)
        try await Self.check(log, "before")
        await log.close()
        for (number, name) in try Self.files(storage).enumerated() {
            let file = try LogFile(storage, name)
            switch number % 4 {
            case 0: try file.write([0xff], at: 4096 + 100)
            case 1: try file.write([UInt8](repeating: 0, count: 4096), at: 0)
            case 2: try file.truncate(to: 5000)
            default: try storage.remove(name)
            }
        }
        log = try Self.open(storage)
        try await Self.check(log, "after damage")
        try await Self.check(log, "made anew")
        await log.close()
    }

    @Test func `a full volume costs time and no touchpoint`() async throws {
        let storage = VolatileLogStorage()
        var log = try Self.open(storage)
        try await Self.fill(log)
        await log.close()
        log = try Self.open(storage, freeBytesMin: .max)
        try await Self.check(log, "without files")
        #expect(try Self.files(storage).isEmpty)
        await log.close()
    }

    @Test func `views beyond their window push no click out`() async throws {
        let log = try Self.open(VolatileLogStorage())
        let events = (0..<300).map { number -> String in
            let at = (testNow - .seconds(7200 - number)).rfc3339
            let kind = number == 0 ? "click" : "impression"
            return #"{"id":"e\#(number)","type":"\#(kind)","user_id":"u1","ts":"\#(at)","campaign":{"name":"n"}}"#
        }
        _ = try await log.send(events.joined(separator: "\n"))
        func touches(views: Duration) async throws -> [String] {
            try await log.store.journey(
                JourneyQuery(
                    org: "acme", traceID: nil, identifiers: [PersonIdentifier(.user, "u1")], until: testNow,
                    lookback: .seconds(86_400), viewLookback: views, limit: 50)
            ).map(\.eventID)
        }
        #expect(try await touches(views: .seconds(86_400)) == (250..<300).map { "e\($0)" })
        #expect(try await touches(views: .seconds(3600)) == ["e0"])
        await log.close()
    }
}
