import AurumCore
import Foundation
import TestSupport
import Testing

/// The commands about events, as a stranger meets them.
struct EventCommandTests {
    private static let quiet = ["AURUM_HTTP_PORT": "0", "AURUM_METRICS_ADDRESS": "off", "AURUM_LOG_LEVEL": "warning"]

    private let folder = TemporaryFolder()
    private var environment: [String: String] {
        Self.quiet.merging(["AURUM_DATA_DIR": folder.file("data")]) { $1 }
    }

    private func write(_ name: String, _ text: String) throws -> String {
        try Data(text.utf8).write(to: URL(fileURLWithPath: folder.file(name)))
        return folder.file(name)
    }

    private func run(_ arguments: String...) async throws -> (status: Int32, output: String) {
        try await AurumBinary.run(arguments, environment: environment)
    }

    private func withServer(_ more: [String: String] = [:], _ body: () async throws -> Void) async throws {
        let server = try ChildProcess(
            AurumBinary.path, ["serve"], environment: environment.merging(more) { $1 })
        _ = try await server.line(containing: "Aurum is ready at", within: .seconds(20))
        try await body()
        server.terminate()
        #expect(try await server.exit(within: .seconds(30)) == 0)
    }

    /// Six persons see a page, the even ones buy; each has a channel of her own kind.
    private static func shop(_ count: Int = 6) -> String {
        (0..<count).flatMap { person -> [String] in
            let campaign = person < 4 ? #","campaign":{"source":"google","medium":"cpc"}"# : ""
            let page =
                #"{"id":"p\#(person)","type":"page","url":"https://a.example/","user_id":"u\#(person)"\#(campaign)}"#
            let sale = #"{"id":"s\#(person)","type":"conversion","name":"purchase","user_id":"u\#(person)"}"#
            return person % 2 == 0 ? [page, sale] : [page]
        }.joined(separator: "\n")
    }

    @Test func `an import says in one sentence what is wrong with its file or its server`() async throws {
        let file = try write("events.ndjson", Self.shop())
        for (arguments, sentence) in [
            ([folder.file("none")], "cannot be read: No such file"), ([folder.path], "is a folder; name a file"),
            ([file], "no server runs on"),
            ([file, "--key", "sk_x", "--target", "http://127.0.0.1:1"], "cannot be reached; is it running?"),
            ([file, "--key", "sk_x", "--target", "localhost"], "localhost is no address of a server"),
        ] {
            let started = ContinuousClock.now
            let answer = try await AurumBinary.run(["events", "import"] + arguments, environment: environment)
            #expect(answer.status == 1 && answer.output.contains(sentence), "\(arguments): \(answer)")
            #expect(answer.output.split(separator: "\n").count == 1, "\(answer.output)")
            #expect(ContinuousClock.now - started < .seconds(15), "\(arguments)")
        }
        let packed = folder.file("events.ndjson.gz")
        try Data([0x1f, 0x8b, 8, 0]).write(to: URL(fileURLWithPath: packed))
        let answer = try await run("events", "import", packed, "--key", "sk_x", "--target", "http://127.0.0.1:1")
        #expect(answer.status == 1 && answer.output.contains("unpack it on the way"), "\(answer.output)")
    }

    @Test func `an import names the lines that were refused, and the one that is too long`() async throws {
        try await withServer(["AURUM_EVENTS_BODY_BYTES_MAX": "65536"]) {
            let bad = #"{"id":"bad","type":"nonsense","user_id":"u"}"#
            let mixed = try await run("events", "import", try write("a.ndjson", Self.shop() + "\n\n" + bad + "\n"))
            #expect(mixed.status == 1 && mixed.output.contains("line 11: "), "\(mixed.output)")
            #expect(mixed.output.contains("10 received, 9 stored, 0 duplicate, 1 quarantined"), "\(mixed.output)")

            // 300 events are more than the server takes at once, no line is.
            let many = (0..<300).map { number in
                #"{"id":"m\#(number)","type":"track","name":"many","user_id":"u","props":{"t":"\#(Self.long(400))"}}"#
            }
            let all = try await run("events", "import", try write("b.ndjson", many.joined(separator: "\n")))
            #expect(all.status == 0 && all.output.contains("300 received, 300 stored"), "\(all.output)")

            let long = #"{"id":"long","type":"page","user_id":"u","title":"\#(Self.long(70_000))"}"#
            let file = try write("c.ndjson", many[..<20].joined(separator: "\n") + "\n" + long + "\n")
            let answer = try await run("events", "import", file)
            #expect(answer.status == 1 && answer.output.contains("line 21: The body is larger"), "\(answer.output)")
            #expect(answer.output.contains("The first 20 lines were taken"), "\(answer.output)")
        }
    }

    private static func long(_ count: Int) -> String { String(repeating: "x", count: count) }

    @Test func `the table of a funnel shows the breakdown, and outcomes add up beside a server and without one`()
        async throws
    {
        let question = try write(
            "q.json",
            #"{"last":"7d","breakdown":"channel","steps":[{"name":"seen","where":"type = page"},"#
                + #"{"name":"bought","where":"name = purchase"}]}"#
        )
        var tables: [String] = []
        var counts: [String] = []
        func ask() async throws {
            let funnel = try await run("events", "funnel", question)
            tables.append(funnel.output.split(separator: "\n").dropLast().joined(separator: "\n"))
            let outcomes = try await run("events", "outcomes", "--by", "reason")
            counts.append(outcomes.output.split(separator: "\n").dropLast().joined(separator: "\n"))
        }
        try await withServer {
            let bad = #"{"id":"bad","type":"nonsense","user_id":"u"}"#
            _ = try await run("events", "import", try write("e.ndjson", Self.shop() + "\n" + bad))
            try await ask()
        }
        try await ask()
        #expect(tables[0] == tables[1] && counts[0] == counts[1], "\(tables) \(counts)")
        #expect(tables[0].contains("channel") && tables[0].contains("seen  bought  of first"), "\(tables[0])")
        #expect(tables[0].contains("paid_search  4     2       50.0 %"), "\(tables[0])")
        #expect(counts[0].contains("stored") && counts[0].contains("quarantined"), "\(counts[0])")
        let json = try await run("events", "outcomes", "--json", "--app", "default")
        let rows = try JSONDecoder().decode(JSONValue.self, from: Data(json.output.utf8))["rows"]?.array ?? []
        #expect(rows.reduce(0) { $0 + ($1["count"]?.integer ?? 0) } == 10, "\(json.output)")
        let none = try await run("events", "outcomes", "--app", "other", "--json")
        #expect(none.output.contains("\"row_count\" : 0"), "\(none.output)")
        #expect(try await run("events", "outcomes", "--by", "colour").status == 64)
    }

    @Test func `an export is written as its name says, and a name that says something else is refused`() async throws {
        try await withServer {
            _ = try await run("events", "import", try write("e.ndjson", Self.shop()))
            for (name, start) in [
                ("x.csv", Array("id,".utf8)), ("x.ndjson", Array("{".utf8)), ("x.jsonl", Array("{".utf8)),
                ("x", Array("{".utf8)), ("x.csv.gz", [0x1f, 0x8b]), ("x.jsonl.zst", [0x28, 0xb5, 0x2f, 0xfd]),
            ] {
                let answer = try await run("events", "export", "--out", folder.file(name))
                #expect(answer.status == 0 && answer.output.contains("9 events"), "\(name): \(answer.output)")
                let bytes = try Data(contentsOf: URL(fileURLWithPath: folder.file(name)))
                #expect(bytes.starts(with: start), "\(name)")
            }
        }
        for wrong in [
            ["y.csv", "--format", "ndjson"], ["y.jsonl.gz", "--format", "csv"], ["y.csv.gz", "--compression", "none"],
            ["y.zst", "--compression", "gzip"],
        ] {
            let answer = try await AurumBinary.run(
                ["events", "export", "--out", folder.file(wrong[0])] + wrong.dropFirst(), environment: environment)
            #expect(answer.status == 64 && answer.output.contains("say different things"), "\(wrong): \(answer.output)")
        }
        let told = try await run("events", "export", "--out", folder.file("told.txt"), "--format", "csv")
        #expect(told.status == 0, "\(told.output)")
        for (place, sentence) in [(folder.path, "is a folder"), (folder.file("none/x"), "there is no folder")] {
            let answer = try await run("events", "export", "--out", place)
            #expect(answer.status == 1 && answer.output.contains(sentence), "\(answer.output)")
        }
    }

    @Test func `verify and inspect look into the folder of the settings, and say when there is none`() async throws {
        try await withServer { _ = try await run("events", "import", try write("e.ndjson", Self.shop())) }
        let whole = try await run("events", "verify")
        #expect(whole.status == 0 && whole.output.contains("0 damaged ranges"), "\(whole.output)")
        #expect(try await run("events", "inspect").output.contains("%"))
        let file = try write("file", "")
        for (place, sentence) in [(folder.file("none"), "there is no folder"), (file, "is a file; give the folder")] {
            for command in ["verify", "inspect"] {
                let answer = try await run("events", command, place)
                #expect(answer.status == 1 && answer.output.contains(sentence), "\(answer.output)")
            }
        }
        let refused = try await run("quarantine", "list", "--reason", "nonsense")
        #expect(refused.status == 1 && refused.output.contains("must be plan or one of"), "\(refused.output)")
    }

    @Test func `a publishable key without an origin comes with a warning, and lists show apps and origins`()
        async throws
    {
        let bare = try await run("keys", "create", "--publishable", "--app", "phone")
        #expect(bare.status == 0 && bare.output.contains("works from no web page"), "\(bare.output)")
        let bound = try await run(
            "keys", "create", "--publishable", "--app", "shop", "--origin", "https://www.example.com")
        #expect(bound.status == 0 && !bound.output.contains("works from no web page"), "\(bound.output)")
        let wrong = try await run("keys", "create", "--scope", "events:write", "--origin", "https://www.example.com")
        #expect(wrong.status == 64 && wrong.output.contains("--origin is for --publishable keys"), "\(wrong.output)")
        let list = try await run("keys", "list").output.split(separator: "\n")
        #expect(list.first?.contains("origins") == true && list.count == 3, "\(list)")
        #expect(list.contains { $0.contains("phone") && $0.contains("none") }, "\(list)")
        #expect(list.contains { $0.contains("shop") && $0.contains("https://www.example.com") }, "\(list)")
    }
}
