internal import AurumCore
internal import Foundation
import Testing
internal import Validation

@Suite struct EventBodiesTests {
    private static let head = "POST /v1/events HTTP/1.1\r\nHost: test\r\n"

    private func bodies(_ profile: EventProfile = .standard, thread: Int = 0, threads: Int = 1) -> EventBodies {
        EventBodies(
            profile: profile, batch: 100, count: 4, heads: [Self.head], seed: 7, salt: 99, thread: thread,
            threads: threads)
    }

    private func lines(_ message: [UInt8]) throws -> [JSONValue] {
        let text = String(decoding: message, as: UTF8.self)
        let split = try #require(text.range(of: "\r\n\r\n"))
        let body = text[split.upperBound...]
        #expect(text.contains("Content-Length: \(body.utf8.count)\r\n"))
        return try body.split(separator: "\n").map {
            try JSONDecoder().decode(JSONValue.self, from: Data($0.utf8))
        }
    }

    @Test func `bodies come in turn when they are asked to, else the last one first`() throws {
        for inTurn in [true, false] {
            let heads = ["a", "b", "c"].map { Self.head + "Authorization: Bearer \($0)\r\n" }
            var source = EventBodies(
                profile: .standard, batch: 1, count: 3, heads: heads, seed: 7, salt: 1, inTurn: inTurn)
            let keys = try (0..<6).map { _ in
                let message = source.nextMessage(nowMilliseconds: 1_795_224_568_000)
                let text = String(decoding: try #require(message).bytes, as: UTF8.self)
                return try #require(text.firstMatch(of: /Bearer (.)/)?.output.1)
            }
            #expect(keys == (inTurn ? ["a", "b", "c", "a", "b", "c"] : ["a", "a", "a", "a", "a", "a"]))
        }
    }

    @Test func `no id is ever sent twice, and each is known afterwards`() throws {
        var seen: Set<String> = []
        for thread in 0..<2 {
            var source = bodies(thread: thread, threads: 2)
            for round in 0..<20 {
                let next = source.nextMessage(nowMilliseconds: 1_795_224_568_000)
                let sent = try #require(next)
                for (index, event) in try lines(sent.bytes).enumerated() {
                    let id = try #require(event["messageId"]?.string)
                    #expect(UID(id) != nil && id.utf8.count == 36)
                    #expect(Array(id.utf8)[14] == UInt8(ascii: "4"))
                    #expect(seen.insert(id).inserted, "\(id) came twice")
                    #expect(id == EventBodies.id(salt: 99, sequence: sent.sequence, batch: 100, index: index))
                }
                #expect(sent.sequence == UInt64(round * 2 + thread))
            }
        }
        #expect(seen.count == 4000)
    }

    @Test func `events carry fresh times, the last minute at most`() throws {
        var source = bodies()
        // Around a full minute, so that times fall on both sides of it.
        for now in [1_795_224_540_000, 1_795_224_540_040, 1_795_224_599_999, 1_795_224_600_001] as [Int64] {
            let next = source.nextMessage(nowMilliseconds: now)
            let sent = try #require(next)
            for event in try lines(sent.bytes) {
                let time = try #require(Timestamp(rfc3339: event["timestamp"]?.string ?? ""))
                #expect(time.milliseconds <= now && time.milliseconds > now - 1000, "\(time.rfc3339)")
            }
        }
    }

    @Test func `the standard profile is the data the bars are stated for`() throws {
        var source = EventBodies(profile: .standard, batch: 800, count: 20, heads: [Self.head], seed: 7, salt: 1)
        #expect(abs(source.bytesPerEvent - 342) <= 10, "\(source.bytesPerEvent) bytes an event")
        var names: [String: Int] = [:]
        var counts = (all: 0.0, users: 0.0, campaigns: 0.0, referrers: 0.0, money: 0.0)
        for _ in 0..<20 {
            let next = source.nextMessage(nowMilliseconds: 1_795_224_568_000, recycle: false)
            let sent = try #require(next)
            for event in try lines(sent.bytes) {
                counts.all += 1
                names[event["event"]?.string ?? "", default: 0] += 1
                if event["userId"] != nil { counts.users += 1 }
                if event["context"]?["utm_source"] != nil { counts.campaigns += 1 }
                if event["properties"]?["referrer"] != nil { counts.referrers += 1 }
                if event["properties"]?["revenue"] != nil { counts.money += 1 }
            }
        }
        #expect(names.count == 12)
        #expect(names["Page Viewed", default: 0] > names["Email Opened", default: 0] * 6)
        #expect(abs(counts.campaigns / counts.all - 0.5) < 0.03)
        #expect(abs(counts.referrers / counts.all - 0.55) < 0.03)
        #expect(abs(counts.money / counts.all - 0.2) < 0.03)
        #expect(counts.users / counts.all > 0.3 && counts.users / counts.all < 0.7)
    }

    @Test func `in the harsh profile everybody is anonymous`() throws {
        var source = bodies(.harsh)
        var persons: Set<String> = []
        for _ in 0..<4 {
            let next = source.nextMessage(nowMilliseconds: 1_795_224_568_000, recycle: false)
            let sent = try #require(next)
            for event in try lines(sent.bytes) {
                #expect(event["userId"] == nil)
                persons.insert(event["anonymousId"]?.string ?? "")
            }
        }
        #expect(persons.count > 380)
    }

    @Test func `a body sent again has the ids that it had`() throws {
        var source = bodies()
        let first = try (0..<6).map { _ in
            let next = source.nextMessage(nowMilliseconds: 1_795_224_568_000)
            return try lines(try #require(next).bytes).map { $0["messageId"]?.string }
        }
        source.repeatOnly([4, 1])
        for number in [4, 1] {
            let next = source.nextMessage(nowMilliseconds: 1_795_224_569_000)
            let sent = try #require(next)
            #expect(sent.sequence == UInt64(number))
            #expect(try lines(sent.bytes).map { $0["messageId"]?.string } == first[number])
        }
        #expect(source.nextMessage(nowMilliseconds: 1_795_224_569_000) == nil)
    }
}
