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
        let clock = SystemWallClock()
        let registry = MetricRegistry()
        let health = HealthRegistry(clock: clock)
        let folder = try DataFolder(path: configuration.dataDirectory)
        FileLimit.raise()

        // Records and events.
        let database = try Openings.database(folder, registry: registry, clock: clock)
        health.report("database", .ok)
        var eventsConfiguration = EventsConfiguration()
        eventsConfiguration.commitDelay = configuration.commitDelay
        let events = try Openings.log(folder, eventsConfiguration, registry: registry, health: health, clock: clock)
        let keys = try await KeyStore(database: database, clock: clock)
        let newAdminToken = try await FirstStart.adminToken(keys)
        let site = ChatSiteSettings(
            publishableKey: try await FirstStart.siteKey(keys, path: folder.siteKeyPath),
            operatorName: configuration.operatorName, flowID: SolarFlow.id)

        // What happens to a visitor, then to a lead, then to a dollar.
        let policies = try ScorePolicies.embedded()
        let issuer = try CertificateIssuer.open(keyFile: folder.signingKeyPath, issuer: "aurum", clock: clock)
        let intake = LeadIntake(policies: policies, issuer: issuer, clock: clock, registry: registry)
        let egress = EgressGuard(allowLoopback: configuration.egressAllowLoopback)
        health.report(
            "egress", .ok, required: false,
            fallback: configuration.egressAllowLoopback ? "loopback allowed" : nil)
        let client = HTTPLeadBuyer.makeClient(egress: egress)
        let market = Marketplace(
            database: database, buyer: HTTPLeadBuyer(client: client, egress: egress, clock: clock), policies: policies,
            clock: clock, registry: registry, logger: Logger(label: "leads"), configuration: .init())
        let territory = try Territory()
        let flows = try SolarFlow.catalogue(territory: territory, estimator: try SolarEstimator())
        let solar = SolarIntake(intake: intake, territory: territory)
        let conversations = ConversationService(
            database: database, flows: flows, clock: clock, registry: registry,
            logger: Logger(label: "conversation"), limits: configuration.conversationLimits,
            onEnd: { try solar.accept($0, in: $1) })
        let attribution = AttributionService(database: database, events: events.store)
        let leads = LeadReads(database: database)
        let relay = OutboxRelay(database: database, health: health, logger: Logger(label: "outbox")) { batch in
            try await events.capture.appendInternal(batch.map { InternalEvent($0) })
            try await Credits.follow(batch, attribution, leads)
            if batch.contains(where: { $0.name == "lead.created" }) { market.wake() }
        }

        // What the world sees.
        let parts = GatewayParts(
            keys: keys, events: events, eventLimits: eventsConfiguration.limits, database: database,
            conversations: conversations, intake: intake, policies: policies, market: market,
            leads: leads,
            buyers: BuyerRegistry(
                database: database, policies: policies, allowLoopback: configuration.egressAllowLoopback),
            ledger: LedgerReport(database: database), attribution: attribution, site: site, registry: registry,
            health: health, clock: clock, logger: Logger(label: "gateway"))
        let contact = LocalContact(folder: folder, keys: keys)
        let gateway = try GatewayServer(parts, settings: configuration.gatewaySettings) { port in
            let url = "http://\(configuration.httpHost):\(port)"
            contact.write(url: url)
            await onReady(url)
        }
        var services: [any Service] = [relay, market]
        if let address = configuration.metricsAddress {
            let process = ProcessMetrics(
                registry: registry, startedAt: Double(clock.now.microseconds) / 1e6, version: Release.version,
                commit: Release.commit)
            services.append(
                MetricsServer(
                    host: address.host, port: address.port, registry: registry, process: process,
                    logger: Logger(label: "metrics")))
        }
        return RunningServer(
            configuration: configuration, parts: parts, services: services + [gateway] + extra,
            newAdminToken: newAdminToken, folder: folder,
            close: {
                await relay.drain()
                await events.close()
                try? database.close()
                try? await client.shutdown()
                contact.remove()
            })
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

    static func log(
        _ folder: DataFolder, _ configuration: EventsConfiguration = EventsConfiguration(), registry: MetricRegistry,
        health: HealthRegistry, clock: any WallClock
    ) throws -> EventLog {
        do {
            return try EventLog.open(
                directory: folder.logPath, configuration: configuration, registry: registry, health: health,
                clock: clock, logger: Logger(label: "events"))
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
        GatewaySettings(
            host: httpHost, port: httpPort, version: Release.version, eventsPerKeySecond: integer(.eventsPerKeySecond))
    }
}
