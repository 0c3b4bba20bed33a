internal import Accounts
internal import AurumCore
internal import Database
internal import Events
internal import Gateway
internal import HTTPTypes
internal import Logging
internal import Telemetry
internal import TestSupport
import Testing

/// Schedules of exports and posts that are asked for anew, over the real routes.
struct ExportRouteTests {
    private struct World {
        let harness: CaptureHarness
        let exports: ExportService
        /// Reads events.
        let reader: String
        /// May also have what those have said who refuse advertising.
        let officer: String
        /// Of another organisation.
        let rival: String
        private let open: OpenDatabase

        init() async throws {
            let open = try OpenDatabase()
            self.open = open
            let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            var made: ExportService?
            harness = try await CaptureHarness(register: { book, access, log in
                let service = ExportService(
                    database: open.database,
                    engine: QueryEngine(
                        source: log.store, registry: open.registry, clock: open.clock, logger: quiet),
                    folder: open.folder.file("exports"), directory: nil, freeBytesMin: 0, clock: open.clock,
                    logger: quiet,
                    hooks: ExportHooks(
                        allowsLoopback: false, sealer: InstallationKeySealer(key: Array(repeating: 7, count: 32)),
                        registry: open.registry, enqueue: { _, _, _ in }, send: { _ in .delivered(status: 204) }),
                    enqueue: { _, _, _ in })
                ExportRoutes(access: access, exports: service, bulk: BulkWrites()).register(in: book)
                made = service
            })
            exports = try #require(made)
            try await exports.adopt()
            reader = try await harness.key(scopes: [.eventsRead])
            officer = try await harness.key(scopes: [.eventsRead, .privacyManage])
            let other = try await harness.keys.create(
                KeyRequest(org: "rival", app: "shop", kind: .server, scopes: [.eventsRead]))
            rival = other.text.exposed
        }

        func call(
            _ method: HTTPRequest.Method, _ path: String, _ body: JSONValue? = nil, key: String
        ) async throws -> CaptureHarness.Answer {
            try await harness.call(
                method, path, body.map { Array($0.canonical.utf8) } ?? [], ["Content-Type": "application/json"],
                key: key)
        }
    }

    private static let schedules = "/v1/export-schedules"

    private static func hook(_ consent: String) -> JSONValue {
        [
            "target": "webhook", "url": "https://x.example/in", "secret": "0123456789abcdef",
            "consent": .string(consent),
        ]
    }

    @Test func `a schedule is set, listed and ended by its own organisation, with the rights that its events need`()
        async throws
    {
        let world = try await World()
        let path = Self.schedules + "/hourly"
        let usual: JSONValue = ["every_hours": 1, "export": Self.hook("ads")]
        let all: JSONValue = ["every_hours": 1, "export": Self.hook("any")]
        let writer = try await world.harness.key()
        #expect(try await world.call(.put, path, usual, key: writer).status == 403)
        let refused = try await world.call(.put, path, all, key: world.reader)
        #expect(refused.status == 403 && refused.code == "scope_missing", "\(refused.text)")
        let wrong = try await world.call(.put, path, ["every_hours": 0, "export": [:]], key: world.reader)
        #expect(wrong.status == 422 && wrong.text.contains("every_hours"), "\(wrong.text)")
        let set = try await world.call(.put, path, usual, key: world.reader)
        #expect(set.status == 200 && set.json["name"] == "hourly", "\(set.text)")
        #expect(!set.text.contains("0123456789abcdef"))
        let changed = try await world.call(.put, path, all, key: world.officer)
        #expect(changed.status == 200 && changed.json["export"]?["consent"] == "any", "\(changed.text)")
        let listed = try await world.call(.get, Self.schedules, key: world.reader)
        #expect(listed.json["schedules"]?.array?.count == 1, "\(listed.text)")
        let theirs = try await world.call(.get, Self.schedules, key: world.rival)
        #expect(theirs.json["schedules"]?.array?.isEmpty == true, "\(theirs.text)")
        let foreign = try await world.call(.delete, path, key: world.rival)
        #expect(foreign.status == 404 && foreign.code == "export_schedule_unknown", "\(foreign.text)")
        #expect(try await world.call(.delete, path, key: world.reader).status == 204)
        #expect(try await world.call(.delete, path, key: world.reader).status == 404)
        await world.harness.log.close()
    }

    @Test func `a post is asked for anew by who may read what it holds, until it was taken`() async throws {
        let world = try await World()
        let made = try await world.call(.post, "/v1/exports", Self.hook("any"), key: world.officer)
        let id = try #require(made.json["id"]?.string.flatMap { UID($0) }, "\(made.text)")
        let path = "/v1/exports/\(id.hex)/deliver"
        let early = try await world.call(.post, path, key: world.officer)
        #expect(early.status == 409 && early.code == "export_not_given_up", "\(early.text)")
        try await world.exports.work(id, org: "acme")
        #expect(try await world.call(.post, path, key: world.reader).status == 403)
        #expect(try await world.call(.post, path, key: world.rival).status == 404)
        let asked = try await world.call(.post, path, key: world.officer)
        #expect(asked.status == 200 && asked.json["delivery"] == "waiting", "\(asked.text)")
        #expect(try await world.exports.deliver(id, org: "acme") == .over)
        let told = try await world.call(.get, "/v1/exports/\(id.hex)", key: world.reader)
        #expect(told.json["delivery"] == "delivered" && told.json["attempts"]?.array?.count == 1, "\(told.text)")
        let late = try await world.call(.post, path, key: world.officer)
        #expect(late.status == 409 && late.code == "export_not_given_up", "\(late.text)")
        await world.harness.log.close()
    }
}
