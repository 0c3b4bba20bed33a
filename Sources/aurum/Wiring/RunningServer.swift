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
        let parts = try parts(configuration, stores, trade)
        let (attribution, leads) = (parts.attribution, parts.leads)
        let (market, capture) = (trade.market, stores.events.capture)
        let relay = OutboxRelay(
            database: stores.database, health: stores.health, logger: Logger(label: "outbox")
        ) { batch in
            try await capture.appendInternal(batch.map { InternalEvent($0) })
            try await Credits.follow(batch, attribution, leads)
            if batch.contains(where: { $0.name == "lead.created" }) { market.wake() }
        }
        let contact = LocalContact(folder: stores.folder, keys: stores.keys)
        let gateway = try GatewayServer(parts, settings: configuration.gatewaySettings) { port in
            let url = "http://\(configuration.httpHost):\(port)"
            contact.write(url: url)
            await onReady(url)
        }
        return RunningServer(
            configuration: configuration, parts: parts,
            services: [
                relay, market, parts.behaviour.exports,
                QuarantineUpkeep(desk: stores.quarantine, logger: Logger(label: "quarantine")),
            ] + metrics(configuration, stores) + [gateway] + extra,
            newAdminToken: stores.newAdminToken, folder: stores.folder,
            close: {
                await relay.drain()
                await stores.events.close()
                try? stores.database.close()
                try? await trade.client.shutdown()
                contact.remove()
            })
    }

    /// What the gateway translates for.
    private static func parts(
        _ configuration: AurumConfiguration, _ stores: Stores, _ trade: Trade
    ) throws -> GatewayParts {
        let (database, registry, clock) = (stores.database, stores.registry, stores.clock)
        let territory = try Territory()
        let flows = try SolarFlow.catalogue(territory: territory, estimator: try SolarEstimator())
        let solar = SolarIntake(intake: trade.intake, territory: territory)
        let conversations = ConversationService(
            database: database, flows: flows, clock: clock, registry: registry, logger: Logger(label: "conversation"),
            limits: configuration.conversationLimits, onEnd: { try solar.accept($0, in: $1) })
        let queries = BehaviourWiring.engine(stores.events, stores.quarantine, registry: registry)
        var made = GatewayParts(
            keys: stores.keys, events: stores.events,
            queries: queries,
            eventLimits: stores.eventLimits, eventPolicies: stores.policies, quarantine: stores.quarantine,
            database: database,
            conversations: conversations, intake: trade.intake, policies: trade.policies, market: trade.market,
            leads: LeadReads(database: database),
            buyers: BuyerRegistry(
                database: database, policies: trade.policies, allowLoopback: configuration.egressAllowLoopback),
            ledger: LedgerReport(database: database),
            attribution: AttributionService(
                database: database, events: PolicyEventStore(base: stores.events.store, desk: stores.quarantine)),
            behaviour: BehaviourWiring.parts(
                configuration, stores.folder, stores.events, stores.eventLimits, database, queries,
                stores.policies.apps),
            site: ChatSiteSettings(
                publishableKey: stores.siteKey, operatorName: configuration.operatorName, flowID: SolarFlow.id),
            registry: registry, health: stores.health, clock: clock, logger: Logger(label: "gateway"))
        let apps = stores.policies.apps
        made.captureSettings = { org, app in
            let settings = apps.state(org: org, app: app).settings
            return AppCaptureSettings(
                defaultCurrency: settings.defaultCurrency ?? "USD",
                allowedHosts: Set(settings.redirectHosts.flatMap { [$0, "*." + $0] }))
        }
        return made
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
                logger: Logger(label: "metrics"))
        ]
    }

    /// Runs until SIGTERM or SIGINT, then drains requests, sockets and the log within bounded time.
    func run() async throws {
        var group = ServiceGroupConfiguration(
            services: services.map { .init(service: $0, successTerminationBehavior: .gracefullyShutdownGroup) },
            gracefulShutdownSignals: [.sigterm, .sigint], logger: Logger(label: "aurum"))
        group.maximumGracefulShutdownDuration = .seconds(20)
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
    let newAdminToken: String?
    let siteKey: String

    static func open(_ configuration: AurumConfiguration) async throws -> Stores {
        let clock = SystemWallClock()
        let registry = MetricRegistry()
        let health = HealthRegistry(clock: clock)
        let folder = try DataFolder(path: configuration.dataDirectory)
        let database = try Openings.database(folder, registry: registry, clock: clock)
        health.report("database", .ok)
        var settings = EventsConfiguration()
        settings.commitDelay = configuration.commitDelay
        settings.limits.bytesInFlightMax = configuration.integer(.eventBytesInFlight)
        settings.limits.bodyBytesMax = configuration.integer(.eventsBodyBytesMax)
        settings.limits.batchEventsMax = configuration.integer(.eventsBatchMax)
        settings.upkeep.logBytesMax = configuration.integer(.logBytesMax)
        let policies = try await Openings.policies(folder, database, registry: registry)
        let events = try Openings.log(
            folder, settings, registry: registry, health: health, clock: clock, policies: policies)
        let quarantine = QuarantineDesk(
            policies: policies, log: events, database: database, limits: settings.limits, clock: clock)
        let keys = try await KeyStore(database: database, clock: clock)
        return Stores(
            folder: folder, clock: clock, registry: registry, health: health, database: database, events: events,
            eventLimits: settings.limits, policies: policies, quarantine: quarantine, keys: keys,
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
        let market = Marketplace(
            database: stores.database, buyer: HTTPLeadBuyer(client: client, egress: egress, clock: stores.clock),
            policies: policies, clock: stores.clock, registry: stores.registry, logger: Logger(label: "leads"),
            configuration: .init())
        return Trade(
            policies: policies,
            intake: LeadIntake(policies: policies, issuer: issuer, clock: stores.clock, registry: stores.registry),
            client: client, market: market)
    }
}

/// Opening what the folder holds, with refusals as sentences for the operator.
enum Openings {
    static func database(_ folder: DataFolder, registry: MetricRegistry, clock: any WallClock) throws -> Database {
        do {
            return try Database.openSQLite(at: folder.databasePath, registry: registry, clock: clock)
        } catch SQLError.schema(let reason) {
            throw CommandFailure("the database \(folder.databasePath) does not fit this release: \(reason)")
        } catch SQLError.corrupt {
            throw CommandFailure("\(folder.databasePath) is damaged or no database; restore it from a backup")
        } catch let error as SQLError {
            throw CommandFailure("the database \(folder.databasePath) cannot be opened: \(error)")
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
        _ folder: DataFolder, _ configuration: EventsConfiguration = EventsConfiguration(), registry: MetricRegistry,
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

/// Follows the sale events that the relay has just put into the log.
enum Credits {
    static func follow(
        _ batch: [OutboxEvent], _ attribution: AttributionService, _ leads: LeadReads
    ) async throws {
        for event in batch {
            guard let leg = event.props["leg"]?.string.flatMap({ UID($0) }) else { continue }
            switch event.name {
            case "delivery.accepted":
                guard let minor = event.props["price_minor"]?.integer,
                    let currency = event.props["currency"]?.string.flatMap({ Currency($0) })
                else { continue }
                let visitor = try await leads.explain(org: event.org, leg: leg)?["visitor_id"]?.string
                try await attribution.credit(
                    Sale(
                        org: event.org, leg: leg, traceID: event.traceID, visitorID: visitor,
                        price: Money(minorUnits: minor, currency: currency), at: event.at))
            case "delivery.returned": try await attribution.reverse(org: event.org, leg: leg)
            default: continue
            }
        }
    }
}

extension AurumConfiguration {
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
