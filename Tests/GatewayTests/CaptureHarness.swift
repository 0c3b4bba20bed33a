internal import Accounts
internal import Attribution
internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Gateway
internal import HTTPTypes
internal import Hummingbird
internal import HummingbirdTesting
internal import Logging
internal import NIOCore
import Runtime
internal import Telemetry
internal import TestSupport

/// The real capture routes over a real log and real keys, on a clock that stands.
struct CaptureHarness {
    let folder = TemporaryFolder()
    let clock = ManualWallClock()
    let registry: MetricRegistry
    let keys: KeyStore
    let log: EventLog
    let book: RouteBook
    let open: OpenDatabase
    private let application: Application<RouterResponder<GatewayContext>>

    static let origin = "https://www.shop.example"

    init(
        ratePerSecond: Double = 1_000_000, settings: AppCaptureSettings = AppCaptureSettings(),
        bulk: BulkWrites = BulkWrites(), linkApps: [AppSettings] = [],
        change: (inout EventsConfiguration) -> Void = { _ in },
        register: (RouteBook, Access, EventLog) -> Void = { _, _, _ in }
    ) async throws {
        let store = try OpenDatabase(clock: clock)
        registry = store.registry
        open = store
        keys = try await KeyStore(database: store.database, clock: clock)
        var configuration = EventsConfiguration()
        configuration.commitDelay = .milliseconds(0)
        configuration.limits.freeBytesMin = 0
        configuration.limits.preallocateBytes = 1 << 16
        configuration.limits.dedupIdentifiersMax = 100_000
        change(&configuration)
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        log = try EventLog.open(
            directory: folder.file("events"), configuration: configuration, registry: registry,
            health: HealthRegistry(clock: clock), clock: clock, logger: quiet)
        let router = Router(context: GatewayContext.self)
        let edge = EdgeMiddleware(registry: registry, clock: clock)
        router.add(middleware: edge)
        book = RouteBook(router: router, crossOrigin: edge.crossOrigin)
        let access = Access(
            keys: keys,
            sessions: SignIns(sessions: try await Sessions(database: store.database, clock: clock), keys: keys))
        CaptureRoutes(
            access: access, capture: log.capture,
            limits: configuration.limits,
            rates: CaptureRates(limiter: MemoryRateLimiter(clock: clock), perSecond: Int(ratePerSecond)),
            settings: { _, _ in settings }, registry: registry, clock: clock, logger: quiet, bulk: bulk,
            links: LinkParts(
                store: LinkStore(database: store.database, clock: clock), registry: registry
            ) { linkApps }
        ).register(in: book)
        register(book, access, log)
        application = Application(router: router, logger: quiet)
    }

    func key(
        _ kind: Principal.Kind = .server, scopes: Set<Scope> = [.eventsWrite], app: String = "shop",
        origins: Set<String> = [], historical: Bool = false, eventsPerSecond: Int? = nil
    ) async throws -> String {
        let made = try await keys.create(
            KeyRequest(
                org: "acme", app: app, kind: kind, scopes: scopes, origins: origins, historical: historical,
                eventsPerSecond: eventsPerSecond))
        return made.text.exposed
    }

    /// A publishable key of the shop's site.
    func siteKey() async throws -> String { try await key(.publishable, origins: [Self.origin]) }

    struct Answer: Sendable {
        var status: Int
        var headers: HTTPFields
        var body: [UInt8]
        var text: String { String(decoding: body, as: UTF8.self) }
        var json: JSONValue { (try? JSONDecoder().decode(JSONValue.self, from: Data(body))) ?? .null }
        var code: String { json["code"]?.string ?? "" }
        func header(_ name: String) -> String? { HTTPField.Name(name).flatMap { headers[$0] } }
        var receipt: String? { header("Aurum-Receipt") }
    }

    func call(
        _ method: HTTPRequest.Method, _ path: String, _ body: [UInt8] = [], _ headers: [String: String] = [:],
        key: String? = nil
    ) async throws -> Answer {
        var fields = HTTPFields()
        for (name, value) in headers { if let name = HTTPField.Name(name) { fields[name] = value } }
        if let key { fields[.authorization] = "Bearer \(key)" }
        let sent = fields
        return try await application.test(.router) { client in
            let answer = try await client.executeRequest(
                uri: path, method: method, headers: sent, body: body.isEmpty ? nil : ByteBuffer(bytes: body))
            return Answer(
                status: Int(answer.status.code), headers: answer.headers, body: Array(answer.body.readableBytesView))
        }
    }

    func post(
        _ path: String, _ body: String, _ headers: [String: String] = [:], key: String? = nil
    ) async throws -> Answer {
        try await call(.post, path, Array(body.utf8), headers, key: key)
    }

    func get(_ path: String, _ headers: [String: String] = [:]) async throws -> Answer {
        try await call(.get, path, [], headers)
    }

    /// What is stored, oldest first.
    func events() async throws -> [StoredEvent] {
        var filter = EventFilter(org: "acme")
        filter.newestFirst = false
        filter.outcomes = [.stored, .late, .bot]
        return try await log.store.events(filter)
    }
}
