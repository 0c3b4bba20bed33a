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
package import Runtime
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
    package var logAttribution: LogAttributionParts
    package var installs: InstallParts
    package var links: LinkParts
    package var postbacks: PostbackStore
    package var campaigns: CampaignReports
    package var growth: GrowthReports
    /// nil where no connectors are wired.
    package var uploads: Uploader?
    package var callbacks: CallbackDesk?
    package var fraud: FraudParts
    package var behaviour: BehaviourParts
    package var jobs: JobPlaces
    package var site: ChatSiteSettings
    package var registry: MetricRegistry
    package var health: HealthRegistry
    package var clock: any WallClock
    package var logger: Logger
    /// What each app's settings say to capture.
    package var captureSettings: CaptureRoutes.Settings = { _, _ in AppCaptureSettings() }
    /// Makes a backup of the site in a new folder.
    package var backup: BackupRoutes.Make = { _ in throw BackupRefused(sentence: "This server makes no backups.") }
    /// Asked before exports, imports and replays.
    package var bulk = BulkWrites()
    package var runtime: RuntimeRoles

    package init(
        keys: KeyStore, events: EventLog, queries: QueryEngine, eventLimits: EventLimits,
        eventPolicies: EventPolicies, quarantine: QuarantineDesk, database: Database,
        conversations: ConversationService, intake: LeadIntake, policies: ScorePolicies, market: Marketplace,
        leads: LeadReads, buyers: BuyerRegistry, ledger: LedgerReport, attribution: AttributionService,
        logAttribution: LogAttributionParts, installs: InstallParts, behaviour: BehaviourParts, jobs: JobPlaces,
        site: ChatSiteSettings,
        registry: MetricRegistry,
        health: HealthRegistry, clock: any WallClock, logger: Logger, runtime: RuntimeRoles
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
        self.logAttribution = logAttribution
        self.installs = installs
        let apps = eventPolicies.apps
        links = LinkParts(store: LinkStore(database: database, clock: clock), registry: registry) { apps.everySettings }
        postbacks = PostbackStore(database: database, clock: clock, registry: registry)
        campaigns = CampaignReports(
            attribution: attribution,
            spend: SpendStore(
                database: database, clock: clock, registry: registry, revision: attribution.revision,
                time: DatabaseClock(registry: registry)),
            engine: queries, clock: clock, registry: registry)
        growth = GrowthReports(campaigns: campaigns) { try await buyers.longestReturnDays(org: $0) }
        fraud = FraudParts(FraudDesk(database: database, clock: clock, registry: registry, logger: logger))
        self.behaviour = behaviour
        self.jobs = jobs
        self.site = site
        self.registry = registry
        self.health = health
        self.clock = clock
        self.logger = logger
        self.runtime = runtime
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
        let signIns = SignIns(sessions: parts.runtime.sessions, keys: parts.keys)
        let access = Access(keys: parts.keys, sessions: signIns)
        let overview = OverviewFeed(parts)
        let router = Router(context: GatewayContext.self)
        let pages = try PageRenderer(version: settings.version)
        let edge = EdgeMiddleware(
            registry: parts.registry, clock: parts.clock, pages: pages, repeats: parts.database.queries.repeats)
        router.add(middleware: edge)
        let budget = BodyBudget(bytesMax: parts.eventLimits.bytesInFlightMax)
        router.add(middleware: BodyBudgetMiddleware(budget: budget))
        router.add(middleware: SessionMiddleware(signIns: signIns))
        let book = RouteBook(router: router, crossOrigin: edge.crossOrigin)
        let capture = CaptureRoutes(
            access: access, capture: parts.events.capture, limits: parts.eventLimits,
            rates: CaptureRates(limiter: parts.runtime.limiter, perSecond: settings.eventsPerKeySecond),
            settings: parts.captureSettings, registry: parts.registry, clock: parts.clock, logger: parts.logger,
            bulk: parts.bulk, links: parts.links)
        capture.register(in: book)
        try Self.register(parts, access, overview, pages, version: settings.version, in: book)
        book.refuseOtherMethods()

        let sockets = Sockets(parts, access: access, overview: overview)
        let bounds = settings.bounds
        let refusals = EdgeRefusals(
            registry: parts.registry, clock: parts.clock, headerBytesMax: bounds.headerBytesMax)
        let lane = capture.lane(edge: edge, budget: budget, registry: parts.registry)
        application = Application(
            router: router,
            server: HTTPServerBuilder { responder in
                UpgradeChannel(
                    responder: responder, bounds: bounds, refusals: refusals,
                    lane: { CaptureLaneHandler(lane, writeWithin: .seconds(bounds.writeSeconds)) },
                    wantsSocket: { sockets.wants($0) }, onSocket: { await sockets.serve($0, $1) })
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
        _ parts: GatewayParts, _ access: Access, _ overview: OverviewFeed, _ pages: PageRenderer, version: String,
        in book: RouteBook
    ) throws {
        let store = PolicyEventStore(base: parts.events.store, desk: parts.quarantine)
        EventRoutes(
            access: access, store: store, policies: parts.eventPolicies, within: parts.queries.limits.duration
        ).register(in: book)
        IdentityRoutes(
            access: access, identity: parts.events.identity, store: store, clock: parts.clock,
            limits: parts.eventLimits, policies: parts.eventPolicies
        ).register(in: book)
        let (events, installs) = (parts.events.store, parts.installs.installs)
        LogRoutes(
            access: access, upkeep: parts.events.upkeep, policies: parts.eventPolicies, logger: parts.logger
        ) { org, identifier in
            let persons = events.personKeys(org: org, of: identifier)
            try await installs.forget(org: org, identifier, persons: persons)
        }.register(in: book)
        QueryRoutes(access: access, engine: parts.queries).register(in: book)
        AppRoutes(access: access, apps: parts.eventPolicies.apps).register(in: book)
        QuarantineRoutes(access: access, desk: parts.quarantine, limits: parts.eventLimits, bulk: parts.bulk)
            .register(in: book)
        LeadRoutes(access: access, parts: parts).register(in: book)
        MoneyRoutes(access: access, parts: parts).register(in: book)
        ConversationRoutes(access: access, conversations: parts.conversations).register(in: book)
        SolarRoutes(access: access, limiter: parts.runtime.limiter).register(in: book)
        OverviewRoutes(access: access, feed: overview, explainer: Explainer(parts)).register(in: book)
        registerAttribution(parts, access, in: book)
        BehaviourRoutes(access: access, questions: parts.behaviour.questions).register(in: book)
        ExportRoutes(access: access, exports: parts.behaviour.exports, bulk: parts.bulk).register(in: book)
        JobRoutes(access: access, places: parts.jobs, clock: parts.clock).register(in: book)
        KeyRoutes(access: access, keys: parts.keys).register(in: book)
        SessionRoutes(access: access).register(in: book)
        HealthRoutes(access: access, health: parts.health).register(in: book)
        DatabaseRoutes(access: access, database: parts.database).register(in: book)
        OutboxRoutes(access: access, database: parts.database).register(in: book)
        BackupRoutes(access: access, make: parts.backup).register(in: book)
        BreakerRoutes(access: access, guards: parts.runtime.guards, holds: parts.runtime.holds).register(in: book)
        FaultRoutes(access: access, faults: parts.runtime.guards.faults).register(in: book)
        PageRoutes(
            pages: pages, keys: parts.keys, sessions: access.sessions,
            leads: parts.leads, site: parts.site, limiter: parts.runtime.limiter
        ).register(in: book)
        AttributionPages(
            pages: pages, access: access, parts: parts.logAttribution, schemas: parts.postbacks.schemas,
            clock: parts.clock, logger: parts.logger
        ).register(in: book)
        registerSockets(access, parts.behaviour.tail, parts.clock, in: book)
        book.get("/schemas/event/1", RouteDescription("JSON Schema of one event.", tag: "events")) { _, _ in
            .json(EventSchema.version1)
        }
        book.describe(.get, "/openapi.json", RouteDescription("This document.", tag: "operations"))
        let document = OpenAPI.document(book.entries, version: version)
        let answer = Response.json(document)
        for method in [HTTPRequest.Method.get, .head] {
            book.router.on("/openapi.json", method: method) { _, _ in answer }
        }
        precondition(book.differences.isEmpty, "routes and their document differ: \(book.differences)")
    }

    private static func registerAttribution(_ parts: GatewayParts, _ access: Access, in book: RouteBook) {
        AttributionRoutes(access: access, reports: parts.campaigns).register(in: book)
        LogAttributionRoutes(access: access, parts: parts.logAttribution, clock: parts.clock).register(in: book)
        InstallDecisionRoutes(access: access, parts: parts.installs).register(in: book)
        ReEngagementRoutes(access: access, installs: parts.installs.installs).register(in: book)
        SpendRoutes(access: access, reports: parts.campaigns, clock: parts.clock, logger: parts.logger)
            .register(in: book)
        GrowthRoutes(
            access: access, reports: parts.growth, behaviour: parts.behaviour.questions, clock: parts.clock,
            logger: parts.logger
        ).register(in: book)
        FraudRoutes(access: access, parts: parts.fraud).register(in: book)
        PostbackRoutes(access: access, store: parts.postbacks, limiter: parts.runtime.limiter).register(in: book)
        if let uploads = parts.uploads {
            UploadRoutes(access: access, uploader: uploads, logger: parts.logger).register(in: book)
        }
        if let callbacks = parts.callbacks {
            CallbackRoutes(access: access, desk: callbacks, logger: parts.logger).register(in: book)
        }
    }

    /// What a request to a socket path is told that did not become a socket: why not.
    private static func registerSockets(
        _ access: Access, _ tail: TailFeed, _ clock: any WallClock, in book: RouteBook
    ) {
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
        let campaigns = RouteDescription(
            "The WebSocket of the page Campaigns: takes the parameters of the report, and compare=1 for all models.",
            tag: "sockets", scope: .analyticsRead, success: 101)
        book.get(CampaignSocket.path, campaigns) { request, _ -> Response in
            _ = try access.require(.analyticsRead, request)
            _ = try AttributionRoutes.question("model", now: clock.now) { RequestInput.text($0, request) }
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
    private let campaigns: CampaignSocket
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
        campaigns = CampaignSocket(
            live: live, feed: CampaignFeed(parts.campaigns),
            loop: SocketLoop(open: parts.registry.gauge(.webSocketConnections, "campaigns")))
    }

    private var openCount: Double {
        chat.loop.open.value + live.loop.open.value + tail.loop.open.value + campaigns.loop.open.value
    }

    func wants(_ head: HTTPRequestHead) -> Bool {
        guard openCount < Self.socketsMax else { return false }
        return switch path(head) {
        case "/v1/chat": (try? chat.principal(head)) != nil
        case "/v1/live": (try? live.principal(head)) != nil
        case CampaignSocket.path: (try? campaigns.watch(head, live.principal(head))) != nil
        case TailSocket.path: tail.refusal(head) == nil
        default: false
        }
    }

    func serve(_ socket: UpgradeChannel.Socket, _ head: HTTPRequestHead) async {
        if path(head) == "/v1/live" {
            guard let principal = try? live.principal(head) else { return await live.loop.turnAway(socket) }
            await live.serve(socket, head, principal)
        } else if path(head) == CampaignSocket.path {
            await campaigns.serve(socket, head)
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
