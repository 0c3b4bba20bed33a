import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// The binary with its records on PostgreSQL: the same server, pages and answers.
@Suite(.serialized) struct PostgresSystemTests {
    private func environment(_ url: String, _ more: [String: String] = [:]) -> [String: String] {
        ["AURUM_DATABASE_URL": url, "AURUM_LOG_LEVEL": "error"].merging(more) { $1 }
    }

    @Test func `a server on PostgreSQL sells a lead, keeps it over SIGKILL, and its ledger balances`() async throws {
        let url = try PostgresServer.shared().newURL()
        let folder = TemporaryFolder()
        try await FakesServer.withRunning(buyers: FakesServer.demoBuyers) { fakes, base in
            let server = SpawnedServer(
                executable: AurumBinary.path,
                environment: environment(url, ["AURUM_EGRESS_ALLOW_LOOPBACK": "true"]),
                dataDirectory: folder.file("data"))
            var target = try await server.start(within: .seconds(60))
            let admin = TestClient(url: target.url, key: target.adminToken)
            for buyer in fakes.buyers.map(\.code) { try await Self.register(admin, buyer, at: base) }
            let made = try await admin.makeKey(["leads:write", "leads:read", "ledger:read", "analytics:read"])
            var ids: [String] = []
            for number in 0..<3 { ids.append(try await accept(made, number)) }
            let again = try await accept(made, 0)
            #expect(again == ids[0], "the same key gives the same lead")
            try await sold(made, ids)
            let health = try await admin.get("/health").body
            #expect(health.canonical.contains("postgres"), "\(health.canonical)")
            #expect(!FileManager.default.fileExists(atPath: folder.file("data/aurum.db")))

            target = try await server.restart()
            let kept = TestClient(url: target.url, key: made.key)
            try await sold(kept, ids)
            let overview = try await kept.get("/v1/overview").body
            #expect(overview["leads"]?["sold"]?.integer == 3, "\(overview.canonical)")
            let accounts = try await kept.get("/v1/ledger").body["accounts"]?.array ?? []
            #expect(!accounts.isEmpty)
            #expect(accounts.reduce(0) { $0 + ($1["balance_minor"]?.integer ?? 1) } == 0, "\(accounts)")
            await server.stop()
        }
    }

    @Test func `status and migrate work on a fresh PostgreSQL, and the password is never shown`() async throws {
        let folder = TemporaryFolder()
        let url = try PostgresServer.shared().newURL() + "&password=verysecret"
        let environment = environment(url, ["AURUM_DATA_DIR": folder.file("data")])
        let before = try await AurumBinary.run(["database", "status", "--json"], environment: environment)
        #expect(before.status == 0, "\(before.output)")
        let fresh = try JSONDecoder().decode(JSONValue.self, from: Data(before.output.utf8))
        #expect(fresh["version"] == 0 && fresh["engine"]?.string?.hasPrefix("PostgreSQL") == true)
        let dry = try await AurumBinary.run(["database", "migrate", "--dry-run"], environment: environment)
        #expect(dry.output.contains("would apply 0001_records"), "\(dry.output)")
        let part = try await AurumBinary.run(["database", "migrate", "--to", "2"], environment: environment)
        #expect(part.output.contains("applied 0001_records, 0002_accounts\n"), "\(part.output)")
        let hasty = try await AurumBinary.run(["database", "migrate"], environment: environment)
        #expect(hasty.status != 0 && hasty.output.contains("--backup-done"), "\(hasty.output)")
        let all = try await AurumBinary.run(["database", "migrate", "--backup-done"], environment: environment)
        #expect(all.status == 0 && all.output.contains("0120_outbox_order"), "\(all.output)")
        let after = try await AurumBinary.run(["database", "status"], environment: environment)
        #expect(after.output.contains("pending  none"), "\(after.output)")
        let printed = try await AurumBinary.run(["serve", "--print-config"], environment: environment)
        #expect(printed.output.contains("database.url = ***"), "\(printed.output)")
        for answer in [before, dry, part, all, after, printed] { #expect(!answer.output.contains("verysecret")) }
    }

    @Test func `a node that waits for another's migrations says for whom, and status waits for nobody`() async throws {
        let (server, folder) = (try PostgresServer.shared(), TemporaryFolder())
        let schema = "held" + UID(high: .random(in: 1 ... .max), low: 1).hex
        try server.psql("CREATE SCHEMA \(schema)")
        let environment = environment(
            server.url(schema: schema),
            [
                "AURUM_LOG_LEVEL": "notice", "AURUM_DATA_DIR": folder.file("data"), "AURUM_HTTP_PORT": "0",
                "AURUM_METRICS_ADDRESS": "off",
            ])
        // Another node, as its session looks to the server.
        let lock = "hashtextextended('aurum migrations \(schema)', 0)"
        Thread.detachNewThread {
            _ = try? server.psql("SELECT pg_advisory_lock(\(lock)); SELECT 'held \(schema)', pg_sleep(120)")
        }
        let holder = "FROM pg_stat_activity WHERE query LIKE '%held \(schema)%' AND pid <> pg_backend_pid()"
        let deadline = ContinuousClock.now + .seconds(60)
        var pid = ""
        while pid.isEmpty, ContinuousClock.now < deadline {
            pid = try server.psql("SELECT pid \(holder) AND wait_event = 'PgSleep'")
        }
        let status = try await AurumBinary.run(
            ["database", "status"], environment: environment, within: .seconds(30))
        #expect(status.status == 0 && status.output.contains("process \(pid) of PostgreSQL"), "\(status.output)")
        let node = try ChildProcess(AurumBinary.path, ["serve"], environment: environment)
        let line = try await node.line(containing: "schema_waiting", within: .seconds(30))
        #expect(line.contains("process \(pid) of PostgreSQL"), "\(line)")
        #expect(!node.output.contains("Aurum is ready at"))
        try server.psql("SELECT pg_terminate_backend(pid) \(holder)")
        _ = try await node.line(containing: "Aurum is ready at", within: .seconds(60))
        node.terminate()
        #expect(try await node.exit(within: .seconds(60)) == 0)
        let after = try await AurumBinary.run(["database", "status"], environment: environment)
        #expect(!after.output.contains("migrates"), "\(after.output)")
    }

    @Test func `a database that cannot be reached or named is a sentence`() async throws {
        let folder = TemporaryFolder()
        let data = ["AURUM_DATA_DIR": folder.file("data"), "AURUM_HTTP_PORT": "0", "AURUM_METRICS_ADDRESS": "off"]
        let gone = try await AurumBinary.run(
            ["serve"], environment: environment("postgres://u@127.0.0.1:1/x", data))
        #expect(gone.status != 0 && gone.output.contains("does not answer"), "\(gone.output)")
        let wrong = try await AurumBinary.run(["serve"], environment: environment("mysql://u@127.0.0.1/x", data))
        #expect(
            wrong.status != 0 && wrong.output.contains("must begin with sqlite:/// or postgres://"), "\(wrong.output)")
        // An address of the environment is judged like one of the URL.
        for name in ["PGHOST", "PGHOSTADDR"] {
            let far = try await AurumBinary.run(
                ["database", "status"],
                environment: environment(
                    "postgres:///x?sslmode=disable", data.merging([name: "192.0.2.1"], uniquingKeysWith: { $1 })))
            #expect(far.status != 0 && far.output.contains("verify-full"), "\(name): \(far.output)")
        }
    }

    @Test func `the bench measures both engines`() async throws {
        let url = try PostgresServer.shared().newURL()
        let answer = try await AurumBinary.run(
            ["bench", "database", "--tiny", "--json"], environment: environment(url), within: .seconds(120))
        #expect(answer.status == 0, "\(answer.output)")
        let report = try JSONDecoder().decode(JSONValue.self, from: Data(answer.output.utf8))
        let names = Set((report["rows"]?.array ?? []).compactMap { $0["name"]?.string })
        for name in ["fsync p50", "sqlite: point reads", "postgres: point reads", "postgres: mixed, 50 at once"] {
            #expect(names.contains(name), "\(names)")
        }
    }

    static func register(
        _ admin: TestClient, _ code: String, at base: String, dayLimit: Int64 = 50
    ) async throws {
        let buyer: JSONValue = [
            "code": .string(code), "name": .string(code.capitalized), "state": "active",
            "ping": .string("\(base)/\(code)/ping"), "post": .string("\(base)/\(code)/post"),
            "leadTypes": ["rooftop"], "exclusive": true, "maxLegs": 1, "timeZone": "America/New_York",
            "currency": "USD", "reservePrice": "1.00", "caps": [["unit": "day", "limit": .integer(dayLimit)]],
            "returnWindowDays": 14,
        ]
        let answer = try await admin.call(
            "PUT", "/v1/buyers/\(code)", Array(buyer.canonical.utf8), ["content-type": "application/json"])
        #expect(answer.status == 200, "\(answer.text)")
    }

    /// Sends one lead under a key of its own and answers its id.
    private func accept(_ admin: TestClient, _ number: Int) async throws -> String {
        let answer = try await Self.offer(admin, number)
        #expect(answer.status == 201, "\(answer.text)")
        return try #require(answer.body["id"]?.string, "\(answer.text)")
    }

    /// Sends the lead of this number under its key.
    static func offer(_ client: TestClient, _ number: Int) async throws -> TestClient.Answer {
        let lead: JSONValue = [
            "type": "rooftop",
            "contact": [
                "name": "Ana Diaz", "phone": .string("917555\(1000 + number)"),
                "email": .string("ana\(number)@example.com"), "zip": "11215",
            ],
            "attributes": [
                "bill": 41_000, "ownership": "owner", "decision": "alone", "timeline": "under3Months",
                "roofCoverage": 9000, "firstTimeAnswers": 4, "ownQuestion": true, "payment": "cash",
            ],
            "source": ["visitor_id": .string("v-\(number)"), "campaign": "brooklyn"],
            "consent": [
                "text": "I agree that solar companies may call me.", "version": "1", "language": "en",
                "control": "I agree", "scope": "rooftop", "channels": ["phone", "email"], "session_id": "s",
                "events": [["shown": "disclosure"], ["typed": "I agree"]],
            ],
        ]
        return try await client.call(
            "POST", "/v1/leads", Array(lead.canonical.utf8),
            ["content-type": "application/json", "idempotency-key": "lead-\(number)"])
    }

    private func sold(_ admin: TestClient, _ ids: [String]) async throws {
        for id in ids {
            var state: String?
            for _ in 0..<400 where state != "sold" {
                state = try await admin.get("/v1/leads/\(id)").body["state"]?.string
                if state != "sold" { try await Task.sleep(for: .milliseconds(25)) }
            }
            #expect(state == "sold", "lead \(id)")
        }
    }
}
