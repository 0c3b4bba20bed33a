internal import AurumCore
internal import Events
internal import Foundation
internal import Synchronization
internal import TestSupport
import Testing

/// Generated events through shards, blocks, segments and rolls, against a list of what was sent.
struct SegmentPropertyTests {
    /// One request as its sender remembers it.
    private struct Sent {
        var receipt: Receipt
        var lines: [GeneratedEvents.Line]
    }

    /// What each client sent, by its app, in order.
    private typealias Model = [String: [Sent]]

    private static func send(_ log: EventLog, seed: UInt64, clients: Int, requests: Int) async throws -> Model {
        try await withThrowingTaskGroup(of: (String, [Sent]).self) { group in
            for client in 0..<clients {
                group.addTask {
                    var events = GeneratedEvents(seed: seed &* 31 &+ UInt64(client), prefix: "c\(client)")
                    var sent: [Sent] = []
                    for number in 0..<requests {
                        let lines = events.body()
                        let isDocument = number % 5 == 4 && lines.allSatisfy { $0.reason != "not_json" }
                        let texts = lines.map(\.bytes)
                        let body =
                            isDocument
                            ? [0x5b] + texts.joined(separator: [0x2c]) + [0x5d]
                            : Array(texts.joined(separator: [0x0a]))
                        let receipt = try await log.capture.submit(
                            body, format: isDocument ? .json : .ndjson,
                            source: CaptureSource(org: client % 2 == 0 ? "acme" : "rival", app: "app\(client)"),
                            receivedAt: testNow)
                        sent.append(Sent(receipt: receipt, lines: lines))
                    }
                    return ("app\(client)", sent)
                }
            }
            return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
        }
    }

    /// Reads the whole log back: every byte, every outcome, every column.
    private static func check(_ reader: LogReader, _ model: Model, _ run: String) throws {
        var found: [String: [(bytes: [UInt8], outcome: UInt8)]] = [:]
        var blocks = 0
        for segment in try reader.segments() {
            for index in segment.blocks.indices {
                let block = try #require(try segment.read(index), "\(run): a damaged block")
                blocks += 1
                let outcomes = try block.outcomes()
                for request in block.requests {
                    for row in request.firstRow..<request.firstRow + request.rowCount {
                        let bytes = try #require(try reader.raw(block, row))
                        found[request.app, default: []].append((bytes, outcomes[row]))
                    }
                }
                let problem = try ColumnModel.difference(block)
                #expect(problem == nil, "\(run), segment \(segment.identity), block \(index): \(problem ?? "")")
            }
        }
        #expect(blocks > 0 && found.count == model.count, "\(run)")
        for (app, sent) in model {
            let lines = sent.flatMap(\.lines)
            let rows = found[app] ?? []
            #expect(rows.count == lines.count, "\(run): \(rows.count) of \(lines.count) events of \(app)")
            for (number, (row, line)) in zip(rows, lines).enumerated() {
                guard row.bytes == line.bytes, row.outcome == line.outcome.rawValue else {
                    Issue.record(
                        """
                        \(run): event \(number) of \(app) is \(row.outcome) \(String(decoding: row.bytes, as: UTF8.self))
                        and was sent as \(line.outcome) \(line.reason) \(String(decoding: line.bytes, as: UTF8.self))
                        """)
                    return
                }
            }
        }
    }

    /// Of an event that is too large the answer looks for the id near its start only.
    private static func gist(_ problems: ArraySlice<EventProblem>) -> [String] {
        problems.map {
            let reason = $0.reason ?? ""
            return "\($0.index) \($0.outcome) \(reason) \(reason == "event_too_large" ? "" : $0.id ?? "")"
        }
    }

    /// Receipts and outcomes say what the sender was told.
    private static func check(_ log: EventLog, _ model: Model, _ run: String) async throws {
        for (app, sent) in model {
            let org = app.last?.wholeNumberValue.map { $0 % 2 == 0 } == true ? "acme" : "rival"
            for (number, request) in sent.enumerated() {
                let counts = request.lines.reduce(into: [EventOutcome: Int]()) { $0[$1.outcome, default: 0] += 1 }
                let receipt = request.receipt
                let told: [EventOutcome: Int] = [
                    .stored: receipt.stored, .duplicate: receipt.duplicate, .quarantined: receipt.quarantined,
                    .bot: receipt.bot, .late: receipt.late,
                ]
                #expect(told == told.merging(counts) { $1 } && receipt.received == request.lines.count, "\(run) \(app)")
                guard number % 4 == 0 else { continue }
                let stored = try #require(try await log.store.receipt(receipt.id, org: org), "\(run)")
                #expect(
                    stored.received == receipt.received
                        && stored.problems.count == request.lines.count - receipt.stored, "\(run)")
                #expect(Self.gist(stored.problems.prefix(20)) == Self.gist(receipt.problems[...]), "\(run)")
                guard let line = request.lines.first(where: { $0.outcome != .duplicate && $0.reason == "" }),
                    let id = line.id
                else { continue }
                let outcome = try #require(try await log.store.outcome(eventID: id, org: org, app: app), "\(run) \(id)")
                #expect(outcome.outcome == line.outcome && outcome.receipt == receipt.id, "\(run) \(id)")
            }
        }
    }

    private static let seeds = (0..<soakCount(75)).map { _ in UInt64.random(in: 0...UInt64.max) }

    @Test(arguments: seeds)
    func `what was sent reads back byte for byte and column for column, before and after a restart`(
        seed: UInt64
    ) async throws {
        let run = "seed \(seed)"
        var random = SeededRandom(seed: seed)
        let storage = VolatileLogStorage()
        let (shards, bytes) = (1 + random.below(3), 20_000 + random.below(200_000))
        let dictionaries = random.chance(2) ? 60_000 + random.below(200_000) : 32 << 20
        func open() throws -> EventLog {
            try openEvents(storage) {
                $0.shards = shards
                $0.limits.segmentBytesMax = bytes
                $0.limits.dictionaryBytesMax = dictionaries
            }
        }
        let log = try open()
        let model = try await Self.send(log, seed: seed, clients: 3, requests: 8)
        try Self.check(LogReader(storage, named: run), model, run)
        try await Self.check(log, model, run)
        await log.close()
        let again = try open()
        #expect(again.recovery.damaged.isEmpty && again.recovery.cutBytes == 0, "\(run)")
        try Self.check(LogReader(storage, named: run), model, run + ", reopened")
        try await Self.check(again, model, run + ", reopened")
        let sent = (model["app0"] ?? []).lazy.flatMap(\.lines)
        let first = try #require(sent.first { $0.outcome == .stored }, "seed \(seed)")
        #expect(try await again.send(String(decoding: first.bytes, as: UTF8.self), source: Self.appZero).duplicate == 1)
        await again.close()
    }

    private static let appZero = CaptureSource(org: "acme", app: "app0")

    /// Sends bodies of lines and reads all of them back.
    private func roundTrip(
        _ bodies: [[String]], shards: Int = 1, change: (inout EventLimits) -> Void = { _ in }
    ) async throws -> [String] {
        let storage = VolatileLogStorage()
        let log = try openEvents(storage) {
            $0.shards = shards
            $0.limits.batchEventsMax = 50_000
            $0.limits.bodyBytesMax = 64 << 20
            change(&$0.limits)
        }
        for body in bodies {
            let receipt = try await log.send(body.joined(separator: "\n"))
            #expect(receipt.stored == body.count, "\(receipt.problems.first.map { "\($0)" } ?? "")")
        }
        await log.close()
        let reader = try LogReader(storage, named: "memory")
        var found: [String] = []
        for segment in try reader.segments() {
            for index in segment.blocks.indices {
                let block = try #require(try segment.read(index))
                for row in 0..<block.rowCount {
                    found.append(String(decoding: try reader.raw(block, row) ?? [], as: UTF8.self))
                }
                if block.rowCount < 400 {
                    let problem = try ColumnModel.difference(block)
                    #expect(problem == nil, "\(problem ?? "")")
                }
            }
        }
        #expect(found == bodies.flatMap { $0 })
        return try storage.names().filter { $0.hasSuffix(".aurumlog") }.sorted()
    }

    private static func line(_ number: Int, _ more: String) -> String {
        "{\"id\":\"i\(number)\",\"type\":\"track\",\"name\":\"n\",\"user_id\":\"u\(number % 7)\"\(more)}"
    }

    @Test func `more forms than the bound are kept whole, and the next segment starts over`() async throws {
        let names = (0..<14).map { "p\($0)" }
        let lines = (0..<9000).map { number in
            let members = names.indices.filter { number >> $0 & 1 == 1 }.map { "\"\(names[$0])\":\(number)" }
            return Self.line(number, ",\"props\":{" + members.joined(separator: ",") + "}")
        }
        let later = (0..<300).map { Self.line(30_000 + $0, ",\"props\":{\"p0\":\($0)}") }
        let again = (0..<300).map { Self.line(20_000 + $0, ",\"props\":{\"p0\":\($0)}") }
        let files = try await roundTrip([Array(lines[0..<6000]), Array(lines[6000...]), again, later]) {
            $0.segmentRowsMax = 9000
        }
        #expect(files.count >= 2)
    }

    @Test func `more columns than the bound are kept whole`() async throws {
        let lines = (0..<300).map { number in
            let members = (0..<10).map { "\"c\(number * 7 + $0)\":\($0 % 2 == 0 ? "\"t\"" : "1.5")" }
            return Self.line(number, ",\"props\":{" + members.joined(separator: ",") + "}")
        }
        _ = try await roundTrip([Array(lines[0..<150]), Array(lines[150...])])
    }

    @Test func `columns of ever new texts go plain and come back to numbers`() async throws {
        var bodies: [[String]] = []
        for block in 0..<70 {
            let count = block < 3 ? 2600 : 12
            let isNew = block < 3
            bodies.append(
                (0..<count).map { row in
                    let number = block * 10_000 + row
                    return Self.line(
                        number,
                        ",\"title\":\"t\(isNew ? number : row % 3)\",\"props\":{\"a\":\"\(number)\\u00e9\",\"b\":[\(row)]}"
                    )
                })
        }
        _ = try await roundTrip(bodies)
    }

    @Test func `full dictionaries seal the segment and nothing is lost`() async throws {
        let bodies = (0..<40).map { block in
            (0..<50).map { Self.line(block * 50 + $0, ",\"title\":\"title \(block) \($0) of many\"") }
        }
        let files = try await roundTrip(bodies) { $0.dictionaryBytesMax = 100_000 }
        #expect(files.count > 2)
    }

    @Test func `texts at their limits read back`() async throws {
        let long = String(repeating: "é", count: 4096)
        func lines(_ first: Int) -> [String] {
            [
                Self.line(first, ",\"props\":{\"a\":\"\(long)\",\"b\":\"\(String(long.dropLast()))\\n\"}"),
                Self.line(
                    first + 1, ",\"url\":\"\(String(repeating: "u", count: 4096))\",\"title\":\"\(long.prefix(256))\""),
                Self.line(
                    first + 2, ",\"session_id\":\"\(String(repeating: "s", count: 200))\",\"props\":{\"a\":\"\"}"),
                Self.line(first + 3, ",\"props\":{\"\(String(repeating: "k", count: 128))\":1}"),
            ]
        }
        _ = try await roundTrip([lines(1), lines(11)])
    }

    private static func corpus(_ target: String) throws -> [(name: String, bytes: [UInt8])] {
        var folder = URL(fileURLWithPath: #filePath)
        for _ in 0..<3 { folder.deleteLastPathComponent() }
        folder.appendPathComponent("Fuzz/corpus/\(target)")
        let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        return try names.map { ($0, Array(try Data(contentsOf: folder.appendingPathComponent($0)))) }
    }

    @Test func `what the fuzzer started from and once found holds`() throws {
        let bodies = try Self.corpus("contract")
        #expect(bodies.count > 10)
        for (name, bytes) in bodies {
            let problem = bytes.withUnsafeBytes { ContractProof.problem($0) }
            #expect(problem == nil, "\(name): \(problem ?? "")")
        }
        let segments = try Self.corpus("segments")
        #expect(!segments.isEmpty)
        for (_, bytes) in segments { try? SegmentSeeds.readAll(SegmentMender.mended(bytes)) }
    }

    @Test func `an id of another kind than the form was learned from is answered too`() throws {
        let ids = ["abc", "3c6ef372-fe94-f82a-a28f-49ef273fe6c3", "3c6ef372fe94f82aa28f49ef273fe6c3", "\u{e9}"]
        for first in ids {
            for second in ids {
                let lines = [first, second].map { id in
                    """
                    {"messageId":"\(id)","type":"page","userId":"p","url":"https://a.example/?gclid=g","properties":{}}
                    """
                }
                let bytes = Array(lines.joined(separator: "\n").utf8)
                let result = bytes.withUnsafeBytes {
                    ContractChecker().verdicts($0, format: .ndjson, receivedAt: SegmentSeeds.StandingClock().now)
                }
                #expect(try result.get().map(\.id) == [first, second])
            }
        }
    }

    @Test func `mutated bodies of many forms are read the same by form and by parser, and read back`() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        for round in 0..<soakCount(5000) {
            var events = GeneratedEvents(seed: seed &+ UInt64(round), prefix: "m")
            var bytes: [UInt8] = [0x20] + events.body().prefix(8).map(\.bytes).joined(separator: [0x0a])
            for _ in 0..<random.below(4) {
                let place = 1 + random.below(bytes.count - 1)
                switch random.below(3) {
                case 0: bytes[place] = random.pick(Array("\"\\{}[],:0-e. \n".utf8))
                case 1: bytes.remove(at: place)
                default:
                    let from = 1 + random.below(bytes.count - 1)
                    bytes.insert(contentsOf: Array(bytes[from..<min(bytes.count, from + 20)]), at: place)
                }
            }
            let problem = bytes.withUnsafeBytes { ContractProof.problem($0) }
            #expect(
                problem == nil,
                "seed \(seed), round \(round): \(problem ?? "") of \(String(decoding: bytes, as: UTF8.self))")
            if problem != nil { return }
        }
    }

    @Test func `a segment with damaged contents and right checksums is refused or read, never fatal`() throws {
        let seeds = try SegmentSeeds.make()
        for seed in seeds {
            #expect(SegmentMender.mended(seed) == seed, "what is whole needs no mending")
            try SegmentSeeds.readAll(seed)
        }
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = SeededRandom(seed: seed)
        print("seed \(seed)")
        for _ in 0..<soakCount(50_000) {
            var bytes = random.pick(seeds)
            for _ in 0...random.below(4) {
                let place = random.below(bytes.count)
                switch random.below(4) {
                case 0: bytes[place] ^= UInt8(1 << random.below(8))
                case 1: bytes[place] = random.pick([0, 1, 0x7f, 0x80, 0xff])
                case 2: bytes.removeSubrange(place..<min(bytes.count, place + random.below(9)))
                default:
                    let from = random.below(bytes.count)
                    bytes.insert(contentsOf: Array(bytes[from..<min(bytes.count, from + 16)]), at: place)
                }
                if bytes.isEmpty { bytes = [0] }
            }
            try? SegmentSeeds.readAll(SegmentMender.mended(bytes))
        }
    }
}
