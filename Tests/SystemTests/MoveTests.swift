import AurumCore
import Crypto
import Database
import Foundation
import Telemetry
import TestSupport
import Testing
import Validation

/// A site whose records go from one database to another, and what stops them on the way.
@Suite(.serialized) struct MoveTests {
    private struct Contact: Decodable {
        let url: String
        let token: String
    }

    /// - Parameter url: a database elsewhere; nil for the file in the data folder.
    private func environment(_ data: String, _ url: String?) -> [String: String] {
        var environment = [
            "AURUM_HTTP_PORT": "0", "AURUM_METRICS_ADDRESS": "off", "AURUM_LOG_LEVEL": "warning",
            "AURUM_DATA_DIR": data,
        ]
        environment["AURUM_DATABASE_URL"] = url
        return environment
    }

    private func run(
        _ arguments: [String], _ data: String, _ url: String? = nil
    ) async throws -> (status: Int32, output: String) {
        try await AurumBinary.run(arguments, environment: environment(data, url), within: .seconds(120))
    }

    private func start(_ command: [String], _ data: String, _ url: String? = nil) async throws -> ChildProcess {
        let process = try ChildProcess(AurumBinary.path, command, environment: environment(data, url))
        _ = try await process.line(containing: "Aurum is ready at", within: .seconds(60))
        return process
    }

    private func stop(_ process: ChildProcess) async throws {
        process.terminate()
        #expect(try await process.exit(within: .seconds(60)) == 0)
    }

    private func client(_ data: String) throws -> TestClient {
        let contact = try JSONDecoder().decode(
            Contact.self, from: Data(contentsOf: URL(fileURLWithPath: data + "/server.json")))
        return TestClient(url: contact.url, key: contact.token)
    }

    /// Asks until `isThere`, at most two minutes.
    private func wait(_ what: String, _ isThere: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(120)
        while try await !isThere() {
            guard ContinuousClock.now < deadline else {
                Issue.record("\(what) did not come")
                return
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// A demo whose visitors have come and gone, with conversations, leads sold and money booked.
    private func site(_ data: String) async throws {
        let demo = try await start(["demo", "--visitors", "40"], data)
        let client = try client(data)
        try await wait("five leads") { try await client.get("/v1/leads").body["leads"]?.array?.count ?? 0 >= 5 }
        try await stop(demo)
        // Until no lead is on its way to a buyer: what a lead says then stands still.
        let server = try await start(["serve"], data)
        let admin = try self.client(data)
        let onTheirWay: Set = ["collecting", "qualified", "routing"]
        try await wait("the end of selling") {
            let leads = try await admin.get("/v1/leads").body["leads"]?.array ?? []
            return leads.allSatisfy { !onTheirWay.contains($0["state"]?.string ?? "") }
        }
        try await stop(server)
    }

    /// An event that waits in the outbox while no server runs.
    private func plant(_ marker: String, _ location: DatabaseLocation) async throws {
        let database = try await Database.open(location, registry: MetricRegistry(), clock: SystemWallClock())
        let event = OutboxEvent(
            id: UID(high: .random(in: 1 ... .max), low: .random(in: 1 ... .max)), org: "default", key: marker,
            name: "lead.scored", traceID: nil, at: SystemWallClock().now, props: ["lead": .string(marker)])
        try await database.write("test.plant") { try $0.emit(event) }
        try database.close()
    }

    /// Name, rows and hash of every table, as a command printed them.
    private func tables(_ answer: (status: Int32, output: String)) throws -> [JSONValue] {
        #expect(answer.status == 0, "\(answer.output)")
        let body = try JSONDecoder().decode(JSONValue.self, from: Data(answer.output.utf8))
        return try #require(body["tables"]?.array, "\(answer.output)")
    }

    private func rows(_ tables: [JSONValue], _ name: String) -> Int64 {
        tables.first { $0["name"]?.string == name }?["rows"]?.integer ?? -1
    }

    /// Exports and imports; then exports what was imported, which must be the same to the last byte of every row.
    private func move(
        _ data: String, from: String?, to: String?, through folder: String
    ) async throws -> [JSONValue] {
        let exported = try tables(try await run(["database", "export", folder, "--json"], data, from))
        let imported = try tables(try await run(["database", "import", folder, "--json"], data, to))
        let again = try tables(try await run(["database", "export", folder + "-again", "--json"], data, to))
        #expect(imported == exported)
        for (one, other) in zip(exported.sorted(by: byName), again.sorted(by: byName)) { #expect(one == other) }
        #expect(again.count == exported.count && exported.count > 50)
        #expect(exported.allSatisfy { $0["sha256"]?.string?.count == 64 })
        return exported
    }

    private func byName(_ one: JSONValue, _ other: JSONValue) -> Bool {
        one["name"]?.string ?? "" < other["name"]?.string ?? ""
    }

    /// What a site says of its leads and of all its money, which adds up to nothing.
    private func books(_ client: TestClient) async throws -> [String] {
        let leads = try await client.get("/v1/leads?limit=200").body["leads"]?.array ?? []
        var texts: [String] = []
        for id in leads.compactMap({ $0["id"]?.string }).sorted() {
            let answer = try await client.get("/v1/leads/\(id)")
            #expect(answer.status == 200, "\(answer.text)")
            texts.append(answer.text)
        }
        let ledger = try await client.get("/v1/ledger")
        let accounts = ledger.body["accounts"]?.array ?? []
        #expect(!accounts.isEmpty && accounts.reduce(0) { $0 + ($1["balance_minor"]?.integer ?? 1) } == 0)
        return texts + [ledger.text]
    }

    /// How far the fences have come; every one that was handed out is at most this.
    private func fence(_ location: DatabaseLocation) async throws -> Int64 {
        let database = try await Database.open(location, registry: MetricRegistry(), clock: SystemWallClock())
        let number = try await database.read("test.fence") { tx in
            try tx.value(
                Int64.self, .dialect(sqlite: "SELECT reserved FROM fences", postgres: "SELECT last_value FROM fence"))
        }
        try database.close()
        return try #require(number)
    }

    /// A new job is done, under a fence above all before; events that waited are in the log once each.
    private func works(_ data: String, _ url: String?, above fence: Int64, _ markers: [String]) async throws -> [String]
    {
        let server = try await start(["serve"], data, url)
        let admin = try client(data)
        func jobs() async throws -> [JSONValue] {
            try await admin.get("/v1/jobs?type=jobs.trial&state=done&limit=200").body["jobs"]?.array ?? []
        }
        let before = try await jobs().count
        let made = try await admin.post("/v1/jobs/trial", ["count": 3])
        #expect(made.status == 200, "\(made.text)")
        try await wait("three jobs") { try await jobs().count == before + 3 }
        let fences = try await jobs().compactMap { $0["fence"]?.integer }.sorted()
        #expect(fences.suffix(3).count == 3 && fences.suffix(3).allSatisfy { $0 > fence }, "\(fences) after \(fence)")
        for marker in markers {
            func delivered() async throws -> Int {
                let events = try await admin.get("/v1/events?limit=1000&name=lead.scored").body["events"]?.array ?? []
                return events.filter { $0["props"]?["lead"]?.string == marker }.count
            }
            try await wait(marker) { try await delivered() > 0 }
            #expect(try await delivered() == 1, "\(marker)")
        }
        let books = try await books(admin)
        try await stop(server)
        return books
    }

    @Test func `a site goes to PostgreSQL and back to SQLite row by row, and goes on as it was`() async throws {
        let folder = TemporaryFolder()
        let data = folder.file("data")
        try await site(data)
        let home = DatabaseLocation.sqlite(path: data + "/aurum.db")
        let url = try PostgresServer.shared().newURL()
        let elsewhere = try DatabaseLocation(url: url, requireTLS: true)
        let before = try await works(data, nil, above: fence(home), [])
        #expect(before.count > 5)

        try await plant("moved-1", home)
        let last = try await fence(home)
        let there = try await move(data, from: nil, to: url, through: folder.file("there"))
        for table in ["leads", "ledger_lines", "conversation", "api_keys", "jobs", "lead_history"] {
            #expect(rows(there, table) > 0, "\(table) is empty: nothing was tried")
        }
        #expect(rows(there, "outbox") == 1)
        #expect(try await works(data, url, above: last, ["moved-1"]) == before)

        try await plant("moved-2", elsewhere)
        let highest = try await fence(elsewhere)
        #expect(highest > last)
        let file = folder.file("back.db")
        _ = try await move(data, from: url, to: "sqlite://" + file, through: folder.file("back"))
        #expect(try await works(data, "sqlite://" + file, above: highest, ["moved-1", "moved-2"]) == before)
        let made = try FileManager.default.attributesOfItem(atPath: folder.file("there/tables/leads"))
        #expect((made[.posixPermissions] as? NSNumber)?.intValue == 0o600)
    }

    // MARK: Refusals

    private func expect(
        _ sentence: String, _ arguments: [String], _ data: String, _ url: String? = nil,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        let answer = try await run(arguments, data, url)
        #expect(
            answer.status != 0 && answer.output.contains(sentence), "\(answer.output)", sourceLocation: sourceLocation)
    }

    @Test func `what cannot be moved is refused with a sentence, and nothing is touched`() async throws {
        let folder = TemporaryFolder()
        let (data, out) = (folder.file("data"), folder.file("out"))
        let server = try await start(["serve"], data)
        try await expect("stop it first", ["database", "export", out], data)
        try await stop(server)
        try FileManager.default.createDirectory(atPath: out, withIntermediateDirectories: true)
        try Data("x".utf8).write(to: URL(fileURLWithPath: out + "/mine"))
        try await expect("is not empty", ["database", "export", out], data)
        try FileManager.default.removeItem(atPath: out)
        let made = try await run(["database", "export", out], data)
        #expect(made.status == 0 && made.output.contains("exported") && made.output.contains("backup.key"))
        #expect(try await run(["backup", "verify", out], data).status == 0)

        try await expect("holds rows", ["database", "import", out], data)
        try await expect("no backup key", ["database", "import", out], folder.file("other"))
        let target = "sqlite://" + folder.file("target.db")
        try await expect(
            "export of the tables alone", ["restore", "--from", out, "--key-file", data + "/backup.key"],
            folder.file("restored"), target)
        let backup = folder.file("backup")
        #expect(try await run(["backup", "create", "--to", backup], data).status == 0)
        try await expect("backup of a whole site", ["database", "import", backup], data, target)

        let victim = URL(fileURLWithPath: out + "/tables/api_keys")
        let whole = try Data(contentsOf: victim)
        var changed = whole
        changed[changed.count / 2] ^= 1
        try changed.write(to: victim)
        try await expect("tables/api_keys is damaged", ["database", "import", out], data, target)
        try FileManager.default.removeItem(at: victim)
        try await expect("tables/api_keys is missing", ["database", "import", out], data, target)
        try whole.write(to: victim)

        let old = "sqlite://" + folder.file("old.db")
        #expect(try await run(["database", "migrate", "--to", "100"], data, old).status == 0)
        try await expect("has schema 100, and an export needs", ["database", "export", out + "-2"], data, old)
        try await expect("run `aurum database migrate`, then", ["database", "export", out + "-2"], data, old)
        try await expect("holds no tables of Aurum", ["database", "export", out + "-2"], data, target)
        for (schema, sentence) in [(1, "then export it again"), (9999, "or a newer one")] {
            try forge(out, schema: schema, key: data + "/backup.key")
            try await expect(sentence, ["database", "import", out], data, target)
        }
        for name in ["out-2", "out-2.unfinished", "target.db"] {
            #expect(!FileManager.default.fileExists(atPath: folder.file(name)), "\(name)")
        }
    }

    /// Gives the list of an export another schema and signs it again, as only the key's owner can.
    private func forge(_ folder: String, schema: Int, key: String) throws {
        let list = URL(fileURLWithPath: folder + "/manifest.json")
        let text = try String(contentsOf: list, encoding: .utf8)
            .replacing(/"schema" : \d+/, with: "\"schema\" : \(schema)")
        let secret = try #require(
            Hex.decode(String(contentsOfFile: key, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)))
        let seed = HKDF<SHA256>.deriveKey(
            inputKeyMaterial: SymmetricKey(data: secret), info: Data("aurum backup signature".utf8),
            outputByteCount: 32)
        let signer = try Curve25519.Signing.PrivateKey(rawRepresentation: seed.withUnsafeBytes { Data($0) })
        try Data(text.utf8).write(to: list)
        try Data((Hex.encode(try signer.signature(for: Data(text.utf8))) + "\n").utf8)
            .write(to: URL(fileURLWithPath: folder + "/manifest.sig"))
    }

    @Test func `an export says what a database of PostgreSQL lacks, and which command helps`() async throws {
        let folder = TemporaryFolder()
        let server = try PostgresServer.shared()
        let schema = "lacking" + UID(high: .random(in: 1 ... .max), low: 1).hex
        try server.psql("CREATE SCHEMA \(schema)")
        let (url, data, out) = (server.url(schema: schema), folder.file("data"), folder.file("out"))
        try await expect("holds no tables of Aurum", ["database", "export", out], data, url)
        #expect(try await run(["database", "migrate", "--to", "100"], data, url).status == 0)
        try await expect(
            "make a backup of it, run `aurum database migrate --backup-done`, then", ["database", "export", out], data,
            url)
        // Half filled and behind: migrations would not make it whole.
        try server.psql("CREATE TABLE \(schema).database_restore (run BIGINT PRIMARY KEY)")
        let half = try await run(["database", "export", out], data, url)
        #expect(half.status != 0 && half.output.contains("is half filled"), "\(half.output)")
        #expect(half.output.contains("`aurum database import`") && !half.output.contains("migrate"), "\(half.output)")
        try server.psql("DROP TABLE \(schema).database_restore")
        #expect(try await run(["database", "migrate", "--backup-done"], data, url).status == 0)
        #expect(try await run(["database", "export", out], data, url).status == 0)
    }

    @Test func `a database on which a server of another folder works is not exported`() async throws {
        let folder = TemporaryFolder()
        let url = try PostgresServer.shared().newURL()
        let server = try await start(["serve"], folder.file("first"), url)
        let database = try await Database.open(
            try DatabaseLocation(url: url, requireTLS: true), registry: MetricRegistry(), clock: SystemWallClock())
        try await wait("the server's row") {
            try await database.sinceLastProbe(now: SystemWallClock().now) != nil
        }
        try database.close()
        let out = folder.file("out")
        try await expect("a server works with this database", ["database", "export", out], folder.file("second"), url)
        try await stop(server)
        #expect(try await run(["database", "export", out], folder.file("second"), url).status == 0)
    }

    @Test func `an import that is killed leaves a database that nothing opens, and is begun again`() async throws {
        let folder = TemporaryFolder()
        let (data, out) = (folder.file("data"), folder.file("out"))
        let first = try await start(["serve"], data)
        try await stop(first)
        // Enough that the import takes its time.
        let home = try await Database.open(
            .sqlite(path: data + "/aurum.db"), registry: MetricRegistry(), clock: SystemWallClock())
        let count = 100_000
        try await home.write("test.many") { tx in
            try tx.run(
                """
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < \(count))
                INSERT INTO consents (org, person, analytics, ads, personalisation, gpc, at)
                SELECT 'elsewhere', i, 1, 1, 1, 0, i FROM n
                """)
        }
        try home.close()
        #expect(try await run(["database", "export", out], data).status == 0)

        let server = try PostgresServer.shared()
        let schema = "killed" + UID(high: .random(in: 1 ... .max), low: 1).hex
        try server.psql("CREATE SCHEMA \(schema)")
        let url = server.url(schema: schema)
        let importing = try ChildProcess(
            AurumBinary.path, ["database", "import", out], environment: environment(data, url))
        try await wait("the first rows") {
            Int((try? server.psql("SELECT COUNT(*) FROM \(schema).consents")) ?? "") ?? 0 > 0
        }
        importing.kill()
        _ = try await importing.exit()
        let part = Int(try server.psql("SELECT COUNT(*) FROM \(schema).consents")) ?? 0
        #expect(part > 0 && part < count, "\(part): killed too late")
        let status = try await run(["database", "status"], data, url)
        #expect(status.status == 0 && status.output.contains("did not finish"), "\(status.output)")
        try await expect("did not finish", ["serve"], data, url)
        try await expect("did not finish", ["database", "export", out + "-2"], data, url)

        let again = try await run(["database", "import", out], data, url)
        #expect(again.status == 0 && again.output.contains("records_import_again"), "\(again.output)")
        #expect(try server.psql("SELECT COUNT(*) FROM \(schema).consents") == "\(count)")
        let moved = try await start(["serve"], data, url)
        #expect(try await client(data).get("/health").body.canonical.contains("postgres"))
        try await stop(moved)
    }
}
