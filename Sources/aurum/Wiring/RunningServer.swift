internal import Accounts
internal import AsyncHTTPClient
internal import Attribution
internal import AurumCore
internal import Connectors
internal import Conversation
internal import Database
internal import Events
internal import Foundation
internal import Gateway
internal import Leads
internal import Logging
internal import Runtime
internal import ServiceLifecycle
internal import Solar
internal import Telemetry
internal import UnixSignals

/// A server put together from its parts, ready to run. Reading this file from top to bottom tells what starts when.
struct RunningServer {
    let configuration: AurumConfiguration
    let parts: GatewayParts
    /// Start order; shutdown runs it backwards.
    let services: [any Service]
    /// Printed once, at the first start.
    let newAdminToken: String?
    /// Held as long as the server runs.
    let folder: DataFolder
    /// Closes what services left open.
    let close: @Sendable () async -> Void

    /// Opens the folder and everything in it. Nothing listens yet.
    /// - Throws: a sentence for the operator when the folder, the database or the log cannot be opened.
    static func open(
        _ configuration: AurumConfiguration, extra: [any Service] = [],
        onReady: @escaping @Sendable (_ url: String) async -> Void
    ) async throws -> RunningServer {
        FileLimit.raise()
        let stores = try await Stores.open(configuration)
        let trade = try Trade.open(configuration, stores)
        let disk = try disk(configuration, stores)
        let bulk = BulkWrites(freeShareMin: configuration.diskFreeShareMin, disk: disk)
        var parts = try await parts(configuration, stores, trade, bulk)
        parts.bulk = bulk
        let (attribution, leads, capture) = (parts.attribution, parts.leads, stores.events.capture)
        let (uploads, callbacks) = (parts.uploads?.store, parts.callbacks)
        let relay = OutboxRelay(
            database: stores.database, health: stores.health, registry: stores.registry,
            logger: Logger(label: "outbox"),
            exclusive: stores.runtime.roles.lock.relayTurn
        ) { batch in
            do { try await capture.appendInternal(batch.map { InternalEvent($0) }) } catch let refused
                as InternalEventRefused where !refused.reasons.isEmpty
            { throw OutboxRefused(reasons: refused.reasons) }
            try await Credits.follow(batch, attribution, leads)
            if let uploads { try await UploadWiring.follow(batch, uploads, leads) }
            if let callbacks { try await CallbackWiring.follow(batch, callbacks) }
        }
        let backups = Backups(
            database: stores.database, log: stores.events, gate: relay.gate, dataPath: stores.folder.path,
            clock: stores.clock)
        parts.backup = { try await backups.answer($0) }
        let inputs = probeInputs(stores, backups, disk)
        let contact = LocalContact(folder: stores.folder, keys: stores.keys)
        // Once before anybody is let in: what the quarantine holds decides what it may take.
        try await stores.quarantine.begin()
        let gateway = try GatewayServer(parts, settings: configuration.gatewaySettings) { port in
            let url = "http://\(configuration.httpHost):\(port)"
            contact.write(url: url)
            await onReady(url)
        }
        var services = stores.runtime.services
        services += [
            relay, parts.jobs.database.queue,
            DatabaseProbe(
                database: stores.database, health: stores.health, registry: stores.registry, clock: stores.clock,
                inputs: inputs),
            StatementWatch(database: stores.database),
        ]
        services += followers(stores, parts)
        services += metrics(configuration, stores)
        services.append(gateway)
        if configuration[.backupDirectory] != Setting.backupDirectory.standard {
            services.append(
                BackupSchedule(
                    backups: backups, directory: configuration[.backupDirectory],
                    every: .seconds(configuration.integer(.backupEveryMinutes) * 60),
                    freeShareMin: configuration.diskFreeShareMin, registry: stores.registry,
                    clock: stores.clock))
        }
        return RunningServer(
            configuration: configuration, parts: parts, services: services + extra,
            newAdminToken: stores.newAdminToken, folder: stores.folder,
            close: {
                await relay.drain()
                await stores.events.close()
                try? stores.database.close()
                try? await trade.client.shutdown()
                contact.remove()
            })
    }

    /// Who works off what the log and other processes bring.
    private static func followers(_ stores: Stores, _ parts: GatewayParts) -> [any Service] {
        var services: [any Service] = [
            CreditCompletion(
                attribution: parts.attribution, leads: parts.leads, logger: Logger(label: "attribution")),
            CreditFollowing(
                parts.attribution, stores.events, stores.policies, parts.leads, logger: Logger(label: "attribution")),
            InstallFollowing(
                follower: InstallFollower(parts.installs.installs), store: stores.events.store,
                logger: Logger(label: "attribution")),
        ]
        if let redis = parts.jobs.redis { services.append(redis.queue) }
        if stores.database.dialect == .postgres {
            services.append(KeyFollowing(keys: stores.keys, logger: Logger(label: "keys")))
        }
        return services
    }

    /// What health is told beside what the database says of itself.
    private static func probeInputs(
        _ stores: Stores, _ backups: Backups, _ disk: @escaping @Sendable () -> DiskSpace?
    ) -> DatabaseProbe.Inputs {
        var inputs = DatabaseProbe.Inputs(stores.database)
        let last = backups.last
        inputs.disk = disk
        inputs.diskFreeShareMin = Double(stores.eventLimits.freePercentWarn) / 100
        inputs.backup = { last.figures }
        return inputs
    }

    /// Room on the fullest volume of the server.
    private static func disk(
        _ configuration: AurumConfiguration, _ stores: Stores
    ) throws -> @Sendable () -> DiskSpace? {
        var volumes = [stores.folder.path]
        if case .sqlite(let path) = try configuration.databaseLocation() { volumes.append(path) }
        let paths = volumes
        return { DiskSpace.fullest(of: paths) }
    }

    /// What the gateway translates for.
    private static func parts(
        _ configuration: AurumConfiguration, _ stores: Stores, _ trade: Trade, _ bulk: BulkWrites
    ) async throws -> GatewayParts {
        let (database, registry, clock) = (stores.database, stores.registry, stores.clock)
        let queries = BehaviourWiring.engine(stores.events, stores.quarantine, registry: registry)
        let behaviour = BehaviourWiring.parts(
            configuration, stores.folder, stores.events, stores.eventLimits, database, queries, stores.policies,
            stores.jobs,
            caller: ExportCaller(client: trade.client, guards: stores.runtime.roles.guards, clock: clock),
            bulk: bulk, registry: registry)
        let logAttribution = AttributionWiring.attribution(
            stores.folder.path, stores.events, database, stores.policies.apps, registry: registry,
            freeBytesMin: stores.eventLimits.freeBytesMin)
        logAttribution.clean()
        let people = UploadPeople(stores, queries)
        let uploader = uploader(configuration, stores, trade, people)
        let callbacks = callbacks(configuration, stores, trade, people)
        let installs = AttributionWiring.installs(
            stores.events, database, stores.policies.apps, callbacks: callbacks.store, registry: registry)
        let links = LinkStore(database: database, clock: clock)
        let fraud = AttributionWiring.fraud(stores.events, database, stores.jobs, registry: registry)
        let buyers = BuyerRegistry(
            database: database, policies: trade.policies, allowLoopback: configuration.egressAllowLoopback)
        let attribution = AttributionService(
            database: database, events: PolicyEventStore(base: stores.events.store, desk: stores.quarantine),
            registry: registry)
        let growth = AttributionWiring.growth(attribution, queries, buyers, database, registry: registry)
        let jobs = try await JobWiring.places(
            stores.jobs, database, redis: stores.runtime.redis, market: trade.market, exports: behaviour.exports,
            quarantine: stores.quarantine, attribution: logAttribution, installs: installs, links: links,
            fraud: fraud, uploader: uploader, callbacks: callbacks,
            live: CreditFollowing.recomputation(
                attribution, LeadReads(database: database), logger: Logger(label: "attribution")),
            budgets: BudgetWatch(reports: growth, logger: Logger(label: "attribution")),
            budget: stores.runtime.roles.guards.budget, clock: clock, registry: registry, health: stores.health)
        var made = GatewayParts(
            keys: stores.keys, events: stores.events,
            queries: queries,
            eventLimits: stores.eventLimits, eventPolicies: stores.policies, quarantine: stores.quarantine,
            database: database,
            conversations: try conversations(configuration, stores, trade), intake: trade.intake,
            policies: trade.policies, market: trade.market,
            leads: LeadReads(database: database),
            buyers: buyers, ledger: LedgerReport(database: database), attribution: attribution,
            logAttribution: LogAttributionParts(logAttribution) { [jobs = stores.jobs] wish, org in
                try await JobWiring.enqueueAttribution(wish, org: org, jobs)?.id
            },
            installs: InstallParts(installs) { [jobs = stores.jobs] wish, org in
                try await JobWiring.enqueueInstalls(wish, org: org, jobs)?.id
            },
            behaviour: behaviour,
            jobs: jobs,
            site: ChatSiteSettings(
                publishableKey: stores.siteKey, operatorName: configuration.operatorName, flowID: SolarFlow.id),
            registry: registry, health: stores.health, clock: clock, logger: Logger(label: "gateway"),
            runtime: stores.runtime.roles)
        (made.campaigns, made.growth) = (growth.campaigns, growth)
        made.logAttribution.atWork = { try await JobWiring.runsAtWork(org: $0, jobs) }
        (made.uploads, made.callbacks) = (uploader, callbacks)
        made.fraud = FraudParts(fraud) { [jobs = stores.jobs] org in
            try await JobWiring.enqueueFraudReview(org: org, jobs)?.id
        }
        made.captureSettings = captureSettings(stores.policies.apps)
        return made
    }

    /// The chats, which end in leads.
    private static func conversations(
        _ configuration: AurumConfiguration, _ stores: Stores, _ trade: Trade
    ) throws -> ConversationService {
        let territory = try Territory()
        let flows = try SolarFlow.catalogue(territory: territory, estimator: try SolarEstimator())
        let solar = SolarIntake(intake: trade.intake, territory: territory)
        return ConversationService(
            database: stores.database, flows: flows, clock: stores.clock, registry: stores.registry,
            logger: Logger(label: "conversation"), limits: configuration.conversationLimits,
            limiter: stores.runtime.roles.limiter, onEnd: { try solar.accept($0, in: $1) })
    }

    private static func captureSettings(_ apps: AppBook) -> CaptureRoutes.Settings {
        { org, app in
            let settings = apps.state(org: org, app: app).settings
            return AppCaptureSettings(
                defaultCurrency: settings.defaultCurrency ?? "USD",
                allowedHosts: Set(settings.redirectHosts.flatMap { [$0, "*." + $0] }),
                linkResolveHours: settings.linkResolveHours)
        }
    }

    /// What tells advertising networks of conversions.
    private static func uploader(
        _ configuration: AurumConfiguration, _ stores: Stores, _ trade: Trade, _ people: UploadPeople
    ) -> Uploader {
        UploadWiring.uploader(
            UploadStore(
                database: stores.database, jobs: stores.jobs, sealer: stores.policies.sealer,
                allowLoopback: configuration.egressAllowLoopback, countsKeptFor: .seconds(15)),
            client: trade.client, guards: stores.runtime.roles.guards, people: people, clock: stores.clock,
            registry: stores.registry, health: stores.health)
    }

    /// What tells networks of installs, conversions and sales by addresses of their own.
    private static func callbacks(
        _ configuration: AurumConfiguration, _ stores: Stores, _ trade: Trade, _ people: UploadPeople
    ) -> CallbackDesk {
        CallbackWiring.desk(
            CallbackStore(
                database: stores.database, jobs: stores.jobs, sealer: stores.policies.sealer,
                allowLoopback: configuration.egressAllowLoopback, registry: stores.registry),
            client: trade.client, guards: stores.runtime.roles.guards, people: people, clock: stores.clock,
            registry: stores.registry)
    }

    /// The metrics listener, unless it is off.
    private static func metrics(_ configuration: AurumConfiguration, _ stores: Stores) -> [any Service] {
        guard let address = configuration.metricsAddress else { return [] }
        let process = ProcessMetrics(
            registry: stores.registry, startedAt: Double(stores.clock.now.microseconds) / 1e6,
            version: Release.version, commit: Release.commit)
        return [
            MetricsServer(
                host: address.host, port: address.port, registry: stores.registry, process: process,
                cluster: stores.runtime.roles.metrics, logger: Logger(label: "metrics"))
        ]
    }

    /// Runs until SIGTERM or SIGINT, then drains requests, sockets and the log within bounded time.
    func run() async throws {
        var group = ServiceGroupConfiguration(
            services: services.map { .init(service: $0, successTerminationBehavior: .gracefullyShutdownGroup) },
            gracefulShutdownSignals: [.sigterm, .sigint], logger: Logger(label: "aurum"))
        group.maximumGracefulShutdownDuration = .seconds(40)
        group.maximumCancellationDuration = .seconds(5)
        do {
            try await ServiceGroup(configuration: group).run()
        } catch {
            await close()
            throw error
        }
        await close()
    }
}

extension UploadPeople {
    fileprivate init(_ stores: Stores, _ queries: QueryEngine) {
        self.init(
            leads: LeadReads(database: stores.database), events: stores.events,
            store: PolicyEventStore(base: stores.events.store, desk: stores.quarantine), queries: queries,
            policies: stores.policies, clock: stores.clock)
    }
}

/// What a server stores and counts: opened first, closed last.
private struct Stores: Sendable {
    let folder: DataFolder
    let clock: SystemWallClock
    let registry: MetricRegistry
    let health: HealthRegistry
    let database: Database
    let events: EventLog
    let eventLimits: EventLimits
    let policies: EventPolicies
    let quarantine: QuarantineDesk
    let keys: KeyStore
    let runtime: RuntimeWiring
    let jobs: SQLJobStore
    let newAdminToken: String?
    let siteKey: String

    static func open(_ configuration: AurumConfiguration) async throws -> Stores {
        let clock = SystemWallClock()
        let registry = MetricRegistry()
        let health = HealthRegistry(clock: clock)
        let folder = try DataFolder(configuration)
        let database = try await Openings.database(configuration, registry: registry, clock: clock)
        health.report("database", .ok, fallback: database.weakness, details: [database.dialect.rawValue])
        let settings = configuration.events
        let policies = try await Openings.policies(folder, database, registry: registry)
        let events = try Openings.log(
            folder, settings, registry: registry, health: health, clock: clock, policies: policies)
        let quarantine = QuarantineDesk(
            policies: policies, log: events, database: database, limits: settings.limits, clock: clock)
        let keys = try await KeyStore(database: database, clock: clock)
        let fences = SQLFences(database: database, isShared: database.dialect == .postgres)
        return Stores(
            folder: folder, clock: clock, registry: registry, health: health, database: database, events: events,
            eventLimits: settings.limits, policies: policies, quarantine: quarantine, keys: keys,
            runtime: try await RuntimeWiring.open(
                configuration, database: database, fences: fences, registry: registry, health: health, clock: clock),
            jobs: SQLJobStore(
                database: database, fences: fences, registry: registry, time: DatabaseClock(registry: registry)),
            newAdminToken: try await FirstStart.adminToken(keys),
            siteKey: try await FirstStart.siteKey(keys, path: folder.siteKeyPath))
    }
}

/// What takes leads in and sells them.
private struct Trade: Sendable {
    let policies: ScorePolicies
    let intake: LeadIntake
    let client: HTTPClient
    let market: Marketplace

    static func open(_ configuration: AurumConfiguration, _ stores: Stores) throws -> Trade {
        let policies = try ScorePolicies.embedded()
        let issuer = try CertificateIssuer.open(
            keyFile: stores.folder.signingKeyPath, issuer: "aurum", clock: stores.clock)
        let egress = EgressGuard(allowLoopback: configuration.egressAllowLoopback)
        stores.health.report(
            "egress", .ok, required: false,
            fallback: configuration.egressAllowLoopback ? "loopback allowed" : nil)
        let client = HTTPLeadBuyer.makeClient(egress: egress)
        let jobs = LeadJobs(stores.jobs)
        let market = Marketplace(
            database: stores.database, jobs: jobs,
            buyer: GuardedLeadBuyer(
                HTTPLeadBuyer(client: client, egress: egress, clock: stores.clock),
                guards: stores.runtime.roles.guards),
            policies: policies, clock: stores.clock, registry: stores.registry)
        return Trade(
            policies: policies,
            intake: LeadIntake(
                policies: policies, issuer: issuer, jobs: jobs, clock: stores.clock, registry: stores.registry),
            client: client, market: market)
    }
}

/// Opening what the folder holds, with refusals as sentences for the operator.
enum Openings {
    static func database(
        _ configuration: AurumConfiguration, registry: MetricRegistry, clock: any WallClock
    ) async throws -> Database {
        let location = try configuration.databaseLocation()
        var pool = PostgresPoolSettings()
        pool.connectionsMax = configuration.integer(.databaseConnectionsMax)
        pool.connectionsMin = min(pool.connectionsMin, pool.connectionsMax)
        let database = try await databaseErrors(location) {
            try await Database.open(location, pool: pool, registry: registry, clock: clock)
        }
        database.queries.slowAfter = .milliseconds(configuration.integer(.databaseSlow))
        return database
    }

    /// Runs `body`; what the database says becomes a sentence for the operator.
    static func databaseErrors<Value>(
        _ location: DatabaseLocation, _ body: () async throws -> Value
    ) async throws -> Value {
        do { return try await body() } catch SQLError.schema(let reason) {
            throw CommandFailure("the database \(location.shown) does not fit this release: \(reason)")
        } catch SQLError.corrupt {
            throw CommandFailure("\(location.shown) is damaged or no database; restore it from a backup")
        } catch SQLError.unavailable where location.dialect == .postgres {
            throw CommandFailure(
                "\(location.shown) does not answer, or refuses this user; check AURUM_DATABASE_URL with psql")
        } catch let error as SQLError {
            throw CommandFailure("the database \(location.shown) cannot be opened: \(error)")
        }
    }

    /// What organisations decide about their events, and the key that seals personal fields.
    static func policies(
        _ folder: DataFolder, _ database: Database, registry: MetricRegistry
    ) async throws -> EventPolicies {
        do {
            let sealer = try InstallationKeySealer.open(keyFile: folder.personalKeyPath)
            let volume = try? FileManager.default.attributesOfFileSystem(forPath: folder.path)[.systemSize] as? NSNumber
            return try await EventPolicies.open(
                database, sealer: sealer, quota: QuarantineQuota(volumeBytes: volume?.intValue, registry: registry),
                datacentres: (try? String(contentsOfFile: folder.datacentrePath, encoding: .utf8)).map {
                    AddressRanges($0)
                })
        } catch let error as PersonalKeyError { throw CommandFailure(error.sentence) }
    }

    static func log(
        _ folder: DataFolder, _ configuration: EventsConfiguration, registry: MetricRegistry,
        health: HealthRegistry, clock: any WallClock, policies: EventPolicies? = nil,
        logLevel: Logger.Level? = nil
    ) throws -> EventLog {
        var logger = Logger(label: "events")
        if let logLevel { logger.logLevel = logLevel }
        do {
            return try EventLog.open(
                directory: folder.logPath, configuration: configuration, registry: registry, health: health,
                clock: clock, logger: logger, policies: policies)
        } catch { throw CommandFailure(error.sentence) }
    }
}

/// Follows the events of leads, sales and the ledger that the relay has just put into the log.
enum Credits {
    static func follow(
        _ batch: [OutboxEvent], _ attribution: AttributionService, _ leads: LeadReads
    ) async throws {
        try await attribution.follow(batch) { try await step($0, leads) }
    }

    private static func step(_ event: OutboxEvent, _ leads: LeadReads) async throws -> CreditStep? {
        if event.name == "lead.created", let lead = event.props["lead"]?.string.flatMap({ UID($0) }) {
            let known = try await leads.read(org: event.org, id: lead)
            return .lead(
                NewLead(
                    org: event.org, lead: lead, traceID: event.traceID,
                    visitorID: known?["source"]?["visitor_id"]?.string, at: event.at))
        }
        guard let leg = event.props["leg"]?.string.flatMap({ UID($0) }) else { return nil }
        switch event.name {
        case "delivery.accepted":
            guard let minor = event.props["price_minor"]?.integer,
                let currency = event.props["currency"]?.string.flatMap({ Currency($0) })
            else { return nil }
            let known = try await leads.explain(org: event.org, leg: leg)
            return .sale(
                Sale(
                    org: event.org, leg: leg, traceID: event.traceID, visitorID: known?["visitor_id"]?.string,
                    price: Money(minorUnits: minor, currency: currency), at: event.at,
                    milestoneAt: known?["lead"]?["created_at"]?.string.flatMap { Timestamp(rfc3339: $0) }))
        case "delivery.returned": return .returned(org: event.org, leg: leg)
        case "ledger.posted" where event.props["kind"]?.string == "recognised":
            return .recognised(org: event.org, leg: leg, at: event.at)
        default: return nil
        }
    }
}

extension AurumConfiguration {
    /// Of a disk, what must be free for writes that can wait.
    fileprivate var diskFreeShareMin: Double { Double(events.limits.freePercentMin) / 100 }

    var conversationLimits: ConversationLimits {
        var limits = ConversationLimits.standard
        limits.conversationsPerAddressHour = integer(.chatsPerAddressHour)
        limits.conversationsPerSiteMinute = max(limits.conversationsPerSiteMinute, integer(.chatsPerAddressHour))
        limits.messagesPer10Seconds = integer(.chatMessagesPer10Seconds)
        return limits
    }

    var gatewaySettings: GatewaySettings {
        var settings = GatewaySettings(
            host: httpHost, port: httpPort, version: Release.version, eventsPerKeySecond: integer(.eventsPerKeySecond))
        settings.bounds.connectionsMax = FileLimit.connections(atMost: settings.bounds.connectionsMax)
        return settings
    }
}
