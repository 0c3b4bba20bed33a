package import Accounts
package import Attribution
package import AurumCore
package import Conversation
package import Database
package import Events
internal import HTTPTypes
internal import Hummingbird
internal import HummingbirdCore
package import Leads
package import Logging
internal import NIOCore
internal import NIOHTTP1
internal import Runtime
internal import ServiceLifecycle
package import Telemetry

/// Everything the gateway translates for. Built by the executable.
package struct GatewayParts: Sendable {
    package var keys: KeyStore
    package var events: EventLog
    package var queries: QueryEngine
    package var eventLimits: EventLimits
    package var eventPolicies: EventPolicies
    package var quarantine: QuarantineDesk
    package var database: Database
    package var conversations: ConversationService
    package var intake: LeadIntake
    package var policies: ScorePolicies
    package var market: Marketplace
    package var leads: LeadReads
    package var buyers: BuyerRegistry
    package var ledger: LedgerReport
    package var attribution: AttributionService
    package var behaviour: BehaviourParts
    package var site: ChatSiteSettings
    package var registry: MetricRegistry
    package var health: HealthRegistry
    package var clock: any WallClock
    package var logger: Logger
    /// What each app's settings say to capture.
    package var captureSettings: CaptureRoutes.Settings = { _, _ in AppCaptureSettings() }

    package init(
        keys: KeyStore, events: EventLog, queries: QueryEngine, eventLimits: EventLimits,
        eventPolicies: EventPolicies, quarantine: QuarantineDesk, database: Database,
        conversations: ConversationService, intake: LeadIntake, policies: ScorePolicies, market: Marketplace,
        leads: LeadReads, buyers: BuyerRegistry, ledger: LedgerReport, attribution: AttributionService,
        behaviour: BehaviourParts, site: ChatSiteSettings, registry: MetricRegistry, health: HealthRegistry,
        clock: any WallClock, logger: Logger
    ) {
        self.keys = keys
        self.events = events
        self.queries = queries
        self.eventLimits = eventLimits
        self.eventPolicies = eventPolicies
        self.quarantine = quarantine
        self.database = database
        self.conversations = conversations
        self.intake = intake
        self.policies = policies
        self.market = market
        self.leads = leads
        self.buyers = buyers
        self.ledger = ledger
        self.attribution = attribution
        self.behaviour = behaviour
        self.site = site
        self.registry = registry
        self.health = health
        self.clock = clock
        self.logger = logger
    }
}

/// How the gateway listens and what it allows.
package struct GatewaySettings: Sendable {
    package var host: String
    package var port: Int
    package var version: String
    /// Events a second of one publishable key; twice that in a burst.
    package var eventsPerKeySecond: Int
    package var bounds = UpgradeChannel.Bounds()

    package init(host: String, port: Int, version: String, eventsPerKeySecond: Int) {
        self.host = host
        self.port = port
        self.version = version
        self.eventsPerKeySecond = eventsPerKeySecond
    }
}

/// HTTP, WebSocket and pages on one listener.
package struct GatewayServer: Service {
    private let application: Application<RouterResponder<GatewayContext>>
    private let settings: GatewaySettings

    /// - Parameters:
    ///   - onReady: called once with the port that is listened on.
    /// - Throws: when a page template cannot be parsed.
    package init(
        _ parts: GatewayParts, settings: GatewaySettings, onReady: @escaping @Sendable (Int) async -> Void
    ) throws {
        self.settings = settings
        let sessions = SessionStore(clock: parts.clock)
        let access = Access(keys: parts.keys, sessions: sessions)
        let overview = OverviewFeed(parts)
        let router = Router(context: GatewayContext.self)
        let pages = try PageRenderer(version: settings.version)
        router.add(middleware: EdgeMiddleware(registry: parts.registry, clock: parts.clock, pages: pages))
        router.add(middleware: BodyBudgetMiddleware(budget: BodyBudget(bytesMax: parts.eventLimits.bytesInFlightMax)))
        let book = RouteBook(router: router)
        try Self.register(parts, settings, access, overview, pages, in: book)
        book.refuseOtherMethods()

        let sockets = Sockets(parts, access: access, overview: overview)
        let bounds = settings.bounds
        let refusals = EdgeRefusals(
            registry: parts.registry, clock: parts.clock, headerBytesMax: bounds.headerBytesMax)
        application = Application(
            router: router,
            server: HTTPServerBuilder { responder in
                UpgradeChannel(
                    responder: responder, bounds: bounds, refusals: refusals, wantsSocket: { sockets.wants($0) },
                    onSocket: { await sockets.serve($0, $1) })
            },
            configuration: .init(
                address: .hostname(settings.host, port: settings.port), serverName: nil, backlog: 1024,
                availableConnectionsDelegate: MaximumAvailableConnections(bounds.connectionsMax)),
            onServerRunning: { channel in await onReady(channel.localAddress?.port ?? settings.port) },
            logger: parts.logger)
    }

    /// - Throws: `ListenError` when the port cannot be opened.
    package func run() async throws {
        try await ListenError.naming(host: settings.host, port: settings.port) { try await application.run() }
    }

    private static func register(
        _ parts: GatewayParts, _ settings: GatewaySettings, _ access: Access, _ overview: OverviewFeed,
        _ pages: PageRenderer, in book: RouteBook
    ) throws {
        let rate = Double(settings.eventsPerKeySecond)
        let store = PolicyEventStore(base: parts.events.store, desk: parts.quarantine)
        CaptureRoutes(
            access: access, capture: parts.events.capture, limits: parts.eventLimits,
            publicRate: RateLimiter(ratePerSecond: rate, burst: rate * 2, clock: parts.clock),
            settings: parts.captureSettings, registry: parts.registry, clock: parts.clock, logger: parts.logger
        ).register(in: book)
        EventRoutes(access: access, store: store, policies: parts.eventPolicies).register(in: book)
        IdentityRoutes(
            access: access, identity: parts.events.identity, store: store, clock: parts.clock,
            limits: parts.eventLimits, policies: parts.eventPolicies
        ).register(in: book)
        LogRoutes(access: access, upkeep: parts.events.upkeep, policies: parts.eventPolicies, logger: parts.logger)
            .register(in: book)
        QueryRoutes(access: access, engine: parts.queries).register(in: book)
        AppRoutes(access: access, apps: parts.eventPolicies.apps).register(in: book)
        QuarantineRoutes(access: access, desk: parts.quarantine, limits: parts.eventLimits).register(in: book)
        LeadRoutes(access: access, parts: parts).register(in: book)
        MoneyRoutes(access: access, parts: parts).register(in: book)
        ConversationRoutes(access: access, conversations: parts.conversations).register(in: book)
        SolarRoutes(access: access, rate: RateLimiter(ratePerSecond: 10, burst: 60, clock: parts.clock))
            .register(in: book)
        OverviewRoutes(access: access, feed: overview, explainer: Explainer(parts)).register(in: book)
        BehaviourRoutes(access: access, questions: parts.behaviour.questions).register(in: book)
        ExportRoutes(access: access, exports: parts.behaviour.exports).register(in: book)
        KeyRoutes(access: access, keys: parts.keys).register(in: book)
        HealthRoutes(access: access, health: parts.health).register(in: book)
        PageRoutes(
            pages: pages, keys: parts.keys, sessions: access.sessions,
            leads: parts.leads, site: parts.site,
            attempts: RateLimiter(ratePerSecond: 5.0 / 60, burst: 10, clock: parts.clock)
        ).register(in: book)
        registerSockets(access, parts.behaviour.tail, in: book)
        book.get("/schemas/event/1", RouteDescription("JSON Schema of one event.", tag: "events")) { _, _ in
            .json(EventSchema.version1)
        }
        book.describe(.get, "/openapi.json", RouteDescription("This document.", tag: "operations"))
        let document = OpenAPI.document(book.entries, version: settings.version)
        let answer = Response.json(document)
        for method in [HTTPRequest.Method.get, .head] {
            book.router.on("/openapi.json", method: method) { _, _ in answer }
        }
        precondition(book.differences.isEmpty, "routes and their document differ: \(book.differences)")
    }

    /// What a request to a socket path is told that did not become a socket: why not.
    private static func registerSockets(_ access: Access, _ tail: TailFeed, in book: RouteBook) {
        let chat = RouteDescription(
            "The visitor's WebSocket.", tag: "sockets", success: 101, query: ["site": "A publishable key."])
        book.get("/v1/chat", chat) { request, _ -> Response in
            let key = RequestInput.text("site", request) ?? ""
            guard let principal = access.keys.principal(forKey: key) else { throw Problem.unknownKey }
            guard principal.has(.eventsWrite) else { throw Problem.scopeMissing(.eventsWrite) }
            try access.checkOrigin(request.headers[.origin], principal, host: request.head.authority)
            throw Problem.upgradeRequired
        }
        let live = RouteDescription("The dashboard's WebSocket.", tag: "sockets", scope: .analyticsRead, success: 101)
        book.get("/v1/live", live) { request, _ -> Response in
            _ = try access.require(.analyticsRead, request)
            throw Problem.upgradeRequired
        }
        TailSocket.describe(access, tail, in: book)
    }
}

/// Which requests become sockets, and what serves them.
struct Sockets: Sendable {
    private let chat: ChatSocket
    private let live: LiveSocket
    private let tail: TailSocket
    /// Sockets a process holds.
    static let socketsMax: Double = 20_000

    init(_ parts: GatewayParts, access: Access, overview: OverviewFeed) {
        chat = ChatSocket(
            access: access, conversations: parts.conversations, site: parts.site,
            loop: SocketLoop(open: parts.registry.gauge(.webSocketConnections, "chat")))
        live = LiveSocket(
            access: access, overview: overview,
            loop: SocketLoop(open: parts.registry.gauge(.webSocketConnections, "live")))
        tail = TailSocket(
            access: access, feed: parts.behaviour.tail, clock: parts.clock,
            loop: SocketLoop(open: parts.registry.gauge(.webSocketConnections, "tail")))
    }

    func wants(_ head: HTTPRequestHead) -> Bool {
        guard chat.loop.open.value + live.loop.open.value + tail.loop.open.value < Self.socketsMax else { return false }
        return switch path(head) {
        case "/v1/chat": (try? chat.principal(head)) != nil
        case "/v1/live": (try? live.principal(head)) != nil
        case TailSocket.path: tail.refusal(head) == nil
        default: false
        }
    }

    func serve(_ socket: UpgradeChannel.Socket, _ head: HTTPRequestHead) async {
        if path(head) == "/v1/live" {
            guard let principal = try? live.principal(head) else { return await live.loop.turnAway(socket) }
            await live.serve(socket, principal)
        } else if path(head) == TailSocket.path {
            await tail.serve(socket, head)
        } else {
            guard let principal = try? chat.principal(head) else { return await chat.loop.turnAway(socket) }
            await chat.serve(socket, head, principal)
        }
    }

    private func path(_ head: HTTPRequestHead) -> Substring {
        head.uri.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false).first ?? ""
    }
}
