internal import Accounts
internal import Attribution
internal import AurumCore
internal import Events
internal import Foundation
internal import Gateway
internal import HTTPTypes
internal import Logging
internal import Runtime
internal import TestSupport
internal import Testing

/// The pages of attribution over the real routes, for people who are signed in by a cookie and send forms as browsers do.
struct AttributionPageHarness {
    let harness: CaptureHarness
    let attribution: LogAttribution
    let schemas: ConversionSchemaStore
    let clock: ManualWallClock
    private let keys: KeyStore
    private let sessions: Sessions
    /// What stands in the cookie and in each form.
    private static let csrf = String(repeating: "5e", count: 32)

    /// - Parameter atWork: runs that wait or work.
    init(atWork: [RunAtWork] = []) async throws {
        let open = try OpenDatabase()
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        let keys = try await KeyStore(database: open.database, clock: open.clock)
        let sessions = try await Sessions(database: open.database, clock: open.clock)
        let renderer = try PageRenderer(version: "test")
        let (made, schemas) = (Made(), ConversionSchemaStore(database: open.database, clock: open.clock))
        harness = try await CaptureHarness(register: { book, _, log in
            let store = log.store
            let attribution = LogAttribution(
                database: open.database, source: store, persons: { store.persons(org: $0) },
                folder: open.folder.file("runs"), clock: open.clock, registry: open.registry, logger: quiet)
            made.attribution = attribution
            // What is asked for is done at once.
            var parts = LogAttributionParts(attribution) { wish, org in
                let id = UID(now: open.clock.now)
                try await attribution.run(wish, org: org, id: id)
                return id
            }
            parts.atWork = { _ in atWork }
            AttributionPages(
                pages: renderer, access: Access(keys: keys, sessions: SignIns(sessions: sessions, keys: keys)),
                parts: parts, schemas: schemas, clock: open.clock, logger: quiet
            ).register(in: book)
        })
        attribution = try #require(made.attribution)
        (self.schemas, clock, self.keys, self.sessions) = (schemas, open.clock, keys, sessions)
    }

    /// What the registration leaves behind; one thread.
    private final class Made { var attribution: LogAttribution? }

    /// Signs somebody in; answers the cookies.
    func signIn(_ scopes: Set<Scope> = [.analyticsRead, .campaignsWrite]) async throws -> String {
        let made = try await keys.create(KeyRequest(org: "acme", kind: .admin, scopes: scopes))
        let principal = try #require(keys.principal(forKey: made.text.exposed))
        let token = try await sessions.start(org: "acme", person: principal.keyID, device: "")
        return "aurum_session=\(token.text); aurum_csrf=\(Self.csrf)"
    }

    func get(_ path: String, as cookies: String) async throws -> CaptureHarness.Answer {
        try await harness.get("/attribution/" + path, ["cookie": cookies])
    }

    /// - Parameter csrf: nil sends that of the cookie.
    func send(
        _ page: String, _ fields: [String: String], as cookies: String, csrf: String? = nil
    ) async throws -> CaptureHarness.Answer {
        var fields = fields
        fields["csrf"] = csrf ?? Self.csrf
        let body = fields.map { name, value in
            name + "=" + (value.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? "")
        }
        return try await harness.post(
            "/attribution/" + page, body.joined(separator: "&"),
            ["cookie": cookies, "content-type": "application/x-www-form-urlencoded"])
    }

    /// Purchases of persons after a click of a paid search, a minute before now.
    func sell(_ persons: Range<Int>, campaign: String = "spring") async throws {
        let at = harness.clock.now.milliseconds
        let events = persons.flatMap { person -> [JSONValue] in
            [
                [
                    "id": .string("click\(person)"), "type": "click", "ts": .integer(at - 60_000),
                    "anonymous_id": .string("p\(person)"),
                    "campaign": ["name": .string(campaign), "source": "google", "medium": "cpc"],
                ],
                [
                    "id": .string("sale\(person)"), "type": "conversion", "name": "purchase",
                    "ts": .integer(at - 1000), "anonymous_id": .string("p\(person)"), "value": 5, "currency": "USD",
                ],
            ]
        }
        let sent = try await harness.post(
            "/v1/events", events.map(\.canonical).joined(separator: "\n"),
            ["content-type": "application/x-ndjson"], key: try await harness.key(scopes: [.eventsWrite]))
        #expect(sent.status == 202, "\(sent.text)")
    }

    @discardableResult
    func run() async throws -> LogRunSummary {
        try await attribution.run(
            LogAttribution.Wish(conversion: "purchase"), org: "acme", id: UID(now: clock.now))
    }
}
