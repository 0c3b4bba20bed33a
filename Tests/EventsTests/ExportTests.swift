import AurumCore
import Database
import Events
import Foundation
import Logging
import Synchronization
import TestSupport
import Testing

/// Exports as files: what is in them, and that what is cut off goes on.
struct ExportTests {
    private static func log(_ count: Int) async throws -> EventLog {
        let log = try openEvents(VolatileLogStorage())
        for start in stride(from: 0, to: count, by: 1000) {
            let lines = (start..<min(count, start + 1000)).map { number in
                trackLine(["id": "\"e\(number)\"", "name": number % 2 == 0 ? "\"even\"" : "\"odd\""])
            }
            _ = try await log.send(lines.joined(separator: "\n"))
        }
        return log
    }

    private static func unpack(_ path: String, _ tool: String) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [tool, "-dc", path]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        return String(decoding: data, as: UTF8.self)
    }

    @Test(arguments: [("gzip", "gzip"), ("none", "cat")])
    func `every event is in the file once, in the order of the log`(compression: String, tool: String) async throws {
        let log = try await Self.log(25_000)
        let folder = TemporaryFolder()
        let body: JSONValue = [
            "compression": .string(compression), "where": ["column": "name", "op": "=", "value": "odd"],
        ]
        let written = try await ExportService.write(
            body, org: "acme", from: log.store, now: testNow, to: folder.file("out"))
        #expect(written.rows == 12_500)
        let text =
            tool == "cat"
            ? try String(contentsOfFile: folder.file("out"), encoding: .utf8)
            : try Self.unpack(folder.file("out"), tool)
        let ids = text.split(separator: "\n").map { line in
            (try? JSONDecoder().decode(JSONValue.self, from: Data(line.utf8)))?["id"]?.string ?? ""
        }
        #expect(ids == stride(from: 1, to: 25_000, by: 2).map { "e\($0)" })
        #expect(try ExportService.sha256(ofFile: folder.file("out")) == written.sha256)
        let again = try await ExportService.write(
            body, org: "acme", from: log.store, now: testNow, to: folder.file("again"))
        #expect(again.sha256 == written.sha256)
        await log.close()
    }

    private static let consents = [
        "plain": "{}", "granted": #"{"ads":"granted"}"#, "denied": #"{"ads":"denied"}"#, "gpc": #"{"gpc":true}"#,
        "no analytics": #"{"analytics":"denied","ads":"unknown"}"#,
    ]

    private static func mixed() async throws -> EventLog {
        let log = try openEvents(VolatileLogStorage())
        let lines = consents.keys.sorted().map { id in
            trackLine(["id": JSONValue.quoted(id), "user_id": JSONValue.quoted(id), "consent": consents[id] ?? "{}"])
        }
        _ = try await log.send(lines.joined(separator: "\n"))
        return log
    }

    @Test func `events that refuse advertising are in no export that does not ask for all`() async throws {
        let log = try await Self.mixed()
        let folder = TemporaryFolder()
        let (ads, all) = (["granted", "no analytics", "plain"], Self.consents.keys.sorted())
        for (consent, expected) in [(JSONValue.null, ads), ("ads", ads), ("any", all)] {
            _ = try await ExportService.write(
                ["format": "csv", "compression": "none", "columns": ["id"], "consent": consent], org: "acme",
                from: log.store, now: testNow, to: folder.file("out"))
            let text = try String(contentsOfFile: folder.file("out"), encoding: .utf8)
            #expect(text.split(separator: "\r\n").dropFirst().map(String.init) == expected, "\(consent.canonical)")
        }
        await #expect(throws: BehaviourError.self) {
            try await ExportService.write(
                ["consent": "none"], org: "acme", from: log.store, now: testNow, to: folder.file("none"))
        }
        await log.close()
    }

    @Test func `rows a person leave out who refuses advertising, totals do not, and an export of all is recorded`()
        async throws
    {
        let log = try await Self.mixed()
        let open = try OpenDatabase()
        let folder = TemporaryFolder()
        let exports = ExportService(
            database: open.database, engine: openEngine(log), folder: folder.file("exports"), directory: nil,
            freeBytesMin: 0, clock: open.clock, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            enqueue: { _, _, _ in })
        try await exports.adopt()
        let byPerson: JSONValue = ["group_by": ["user_id"]]
        let total: JSONValue = ["measures": ["count"]]
        // Nobody knows what a property of one's own says.
        let byProperty: JSONValue = ["measures": ["count"], "group_by": ["props.email"]]
        let asked = [(byPerson, "ads", 3), (byPerson, "any", 5), (total, "ads", 1), (byProperty, "ads", 1)]
        for (query, consent, rows) in asked {
            let job = try #require(
                try await exports.made(
                    ["query": query, "format": "csv", "compression": "none", "consent": .string(consent)], org: "acme"))
            try await exports.work(job.id, org: "acme")
            let done = try #require(try await exports.job(job.id, org: "acme"))
            #expect(done.state == .done && done.rows == rows, "\(query.canonical) \(consent)")
            let text = try String(contentsOfFile: try #require(exports.file(done)).path, encoding: .utf8)
            #expect(query != total || text == "count\r\n5\r\n", "\(text)")
            #expect(query != byProperty || text == "props.email,count\r\n,3\r\n", "\(text)")
        }
        let records = try await open.database.read("test.records") { tx in
            try tx.values(JSONValue.self, "SELECT props FROM outbox WHERE name = 'export.unconfined'")
        }
        #expect(records.count == 1 && records.first?["actor"] == "key-1", "\(records)")
        #expect(records.first?["request"]?["consent"] == "any")
        await log.close()
    }

    @Test func `cells of CSV are quoted, and formulas are text`() async throws {
        let log = try openEvents(VolatileLogStorage())
        let names = ["=1+1", "+x", "-5.25", "@sum", "a,b", "say \"hi\"", "two\nlines", "plain", "-", "-1-1"]
        let lines = names.enumerated().map { index, name in
            trackLine(["id": "\"\(index)\"", "name": JSONValue.quoted(name), "props": "{\"n\":\(index),\"ok\":true}"])
        }
        _ = try await log.send(lines.joined(separator: "\n"))
        let folder = TemporaryFolder()
        _ = try await ExportService.write(
            ["format": "csv", "compression": "none", "columns": ["id", "name", "props.n", "props", "title"]],
            org: "acme", from: log.store, now: testNow, to: folder.file("out.csv"))
        let text = try String(contentsOfFile: folder.file("out.csv"), encoding: .utf8)
        let cells = [
            "'=1+1", "'+x", "-5.25", "'@sum", "\"a,b\"", "\"say \"\"hi\"\"\"", "\"two\nlines\"", "plain", "'-", "'-1-1",
        ]
        let rows = cells.enumerated().map { index, cell in
            "\(index),\(cell),\(index),\"{\"\"n\"\":\(index),\"\"ok\"\":true}\",\r\n"
        }
        #expect(text == "id,name,props.n,props,title\r\n" + rows.joined())
        await log.close()
    }

    @Test func `an export whose job was cancelled has failed, and its work changes that no more`() async throws {
        let log = try await Self.log(12_000)
        let open = try OpenDatabase()
        let folder = TemporaryFolder()
        let exports = ExportService(
            database: open.database, engine: openEngine(log), folder: folder.file("exports"), directory: nil,
            freeBytesMin: 0, clock: open.clock, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            enqueue: { _, _, _ in })
        try await exports.adopt()
        let job = try #require(try await exports.made(["format": "ndjson"], org: "acme"))
        let database = open.database
        for _ in 0..<2 {
            try await exports.work(job.id, org: "acme") { _ in
                try await database.write("test.cancel") { try ExportService.cancel(job.id, org: "acme", in: $0) }
            }
            let after = try #require(try await exports.job(job.id, org: "acme"))
            #expect(after.state == .failed && after.error == "cancelled")
        }
        await log.close()
    }

    @Test func `a job ends done with its hash, is listed, fetched and removed; another organisation sees nothing`()
        async throws
    {
        let log = try await Self.log(12_000)
        let open = try OpenDatabase()
        let folder = TemporaryFolder()
        let asked = Mutex<[UID]>([])
        let exports = ExportService(
            database: open.database, engine: openEngine(log), folder: folder.file("exports"),
            directory: folder.file("target"), freeBytesMin: 0, clock: open.clock,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            enqueue: { id, _, _ in asked.withLock { $0.append(id) } })
        try await exports.adopt()
        let job = try #require(
            try await exports.made(["format": "ndjson", "compression": "zstd", "target": "directory"], org: "acme"))
        let query = try #require(
            try await exports.made(
                ["query": ["group_by": ["name"]], "format": "csv", "compression": "none"], org: "acme"))
        #expect(asked.withLock { $0 } == [job.id, query.id])
        for id in asked.withLock({ $0 }) { try await exports.work(id, org: "acme") }
        let done = try await exports.list(org: "acme")
        #expect(done.map(\.state) == [.done, .done], "\(done.map(\.error))")
        let events = try #require(try await exports.job(job.id, org: "acme"))
        #expect(events.rows == 12_000 && events.resumed == 0)
        let (path, _) = try #require(exports.file(events))
        #expect(try ExportService.sha256(ofFile: path) == events.sha256)
        let name = "\(job.id.hex).ndjson.zst"
        #expect(try ExportService.sha256(ofFile: folder.file("target/\(name)")) == events.sha256)
        let note = try String(contentsOfFile: folder.file("target/\(name).sha256"), encoding: .utf8)
        #expect(note == "\(events.sha256 ?? "")  \(name)\n")
        let answer = try #require(try await exports.job(query.id, org: "acme"))
        let table = try String(contentsOfFile: try #require(exports.file(answer)).path, encoding: .utf8)
        #expect(table == "name,count\r\neven,6000\r\nodd,6000\r\n")
        #expect(try await exports.job(job.id, org: "rival") == nil)
        #expect(try await exports.list(org: "rival").isEmpty)
        #expect(try await !exports.remove(job.id, org: "rival"))
        #expect(try await exports.remove(job.id, org: "acme"))
        #expect(!FileManager.default.fileExists(atPath: path))
        await log.close()
    }
}

extension ExportService {
    /// The export that a body makes.
    func made(_ body: JSONValue, org: String) async throws -> ExportJob? {
        let kept = try await create(body, org: org, actor: "key-1")
        let answer = try JSONDecoder().decode(JSONValue.self, from: Data(kept.body.utf8))
        guard let id = answer["id"]?.string.flatMap({ UID($0) }) else { return nil }
        return try await job(id, org: org)
    }
}
