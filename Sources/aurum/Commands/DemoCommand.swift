internal import Accounts
internal import ArgumentParser
internal import AurumCore
internal import Foundation
internal import Gateway
internal import Leads
internal import Logging
internal import ServiceLifecycle
internal import Synchronization
internal import Validation

/// A server with visitors who click, chat and become leads, and buyers who pay for them.
struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo", abstract: "Run a server with sample visitors and buyers, and print its URL.",
        discussion: """
            Visitors arrive from several campaigns, chat with the solar advisor over WebSocket and become leads; two \
            buyers on loopback bid for them, and two advertising networks on loopback are told of the sales. An app \
            has installs, and a publisher who cheats. The networks claim sales, some of them both; a campaign that \
            spends more than its cap is to be paused. Everything goes through the doors that real visitors and users \
            take. Ctrl-C ends it.
            """)

    @OptionGroup var options: ServerOptions
    @Option(name: .long, help: "Visitors a minute.")
    var visitors = 40.0
    @Option(name: .long, help: "Seed of the sample visitors.")
    var seed: UInt64 = 2026

    func run() async throws {
        let configuration = try await options.read(standards: [
            "egress.allowLoopback": "true", "log.format": "pretty", "log.level": "warning",
            "chat.conversationsPerAddressHour": "100000", "data.dir": "aurum-demo-data",
        ])
        ServeCommand.bootstrapLogging(configuration)
        let fakes = FakesServer(buyers: FakesServer.demoBuyers, port: 0, logger: Logger(label: "fakes"))
        let traffic = DemoVisitors(visitorsPerMinute: visitors, seed: seed)
        let server = try await RunningServer.open(configuration, extra: [fakes, traffic]) { url in
            Output.line("Aurum is ready at \(url)")
            Output.line("Dashboard: \(url)/dashboard")
            traffic.start(url)
        }
        if let token = server.newAdminToken {
            Output.line("Admin token (shown once): \(token)")
        } else {
            Output.line(
                "Sign in with the admin token shown at the first start, or make a fresh folder with --data-dir.")
        }
        traffic.prepare(server, fakes)
        try await server.run()
    }
}

/// Starts the sample visitors once the server listens and the buyers are registered.
final class DemoVisitors: Service {
    private let visitorsPerMinute: Double
    private let seed: UInt64
    private let ready: AsyncStream<String>
    private let signal: AsyncStream<String>.Continuation
    private let prepared = Mutex<Prepared?>(nil)

    private struct Prepared: Sendable {
        let buyers: BuyerRegistry
        let keys: KeyStore
        let site: String
        let fakes: FakesServer
    }

    init(visitorsPerMinute: Double, seed: UInt64) {
        self.visitorsPerMinute = visitorsPerMinute
        self.seed = seed
        (ready, signal) = AsyncStream.makeStream()
    }

    func prepare(_ server: RunningServer, _ fakes: FakesServer) {
        let made = Prepared(
            buyers: server.parts.buyers, keys: server.parts.keys, site: server.parts.site.publishableKey, fakes: fakes)
        prepared.withLock { $0 = made }
    }

    func start(_ url: String) { signal.yield(url) }

    func run() async throws {
        var urls = ready.cancelOnGracefulShutdown().makeAsyncIterator()
        guard let url = await urls.next(), let prepared = prepared.withLock({ $0 }) else { return }
        let fakes = prepared.fakes
        let port = try await fakes.port()
        try await DemoBuyers.register(prepared.buyers, port: port, codes: fakes.buyers.map(\.code))
        await sendSpend(url, prepared.keys)
        let tour = DemoTour(
            baseURL: url, key: key(.tour, prepared.keys), networks: "http://127.0.0.1:\(port)", seed: seed,
            logger: Logger(label: "demo"))
        let traffic = DemoTraffic(
            .init(
                baseURL: url, publishableKey: prepared.site, zips: DemoZIP.embedded(), seed: seed,
                visitorsPerMinute: visitorsPerMinute),
            logger: Logger(label: "demo"))
        try await withThrowingDiscardingTaskGroup { group in
            group.addTask { await tour.run() }
            try await traffic.run()
            group.cancelAll()
        }
    }

    /// A key of this run for one purpose.
    private func key(_ purpose: Purpose, _ keys: KeyStore) -> String {
        let key = KeyText(kind: .server)
        keys.addForThisRun(
            key,
            principal: Principal(
                org: "default", app: purpose.app, keyID: key.id, kind: .server, scopes: purpose.scopes,
                historical: purpose == .tour))
        return key.exposed
    }

    private enum Purpose {
        case spend, tour

        var app: String { self == .spend ? "default" : DemoTour.app }
        var scopes: Set<Scope> {
            switch self {
            case .spend: [.campaignsWrite]
            case .tour: [.eventsRead, .eventsWrite, .campaignsWrite, .analyticsRead, .policiesWrite]
            }
        }
    }

    /// What the campaigns cost this month, and how many sales their networks claim.
    private func sendSpend(_ url: String, _ keys: KeyStore) async {
        let today = CivilDate(daysSince1970: Int(SystemWallClock().now.microseconds / 86_400_000_000))
        do {
            try await DemoSpend(baseURL: url, key: key(.spend, keys), seed: seed).send(today: today)
        } catch {
            Logger(label: "demo").warning("the demo's spend was not imported", metadata: ["error": "\(error)"])
        }
    }
}

/// The demo's buyers as configuration.
enum DemoBuyers {
    static func register(_ registry: BuyerRegistry, port: Int, codes: [String]) async throws {
        for code in codes {
            _ = try await registry.put(org: "default", code: code, body: configuration(code, port: port))
        }
    }

    static func configuration(_ code: String, port: Int) -> JSONValue {
        let address = "http://127.0.0.1:\(port)/\(code)"
        return [
            "code": .string(code), "name": .string(code.capitalized), "state": "active",
            "ping": .string(address + "/ping"), "post": .string(address + "/post"),
            "leadTypes": ["rooftop", "communitySolar"], "exclusive": true, "maxLegs": 1,
            "timeZone": "America/New_York", "currency": "USD", "reservePrice": "20.00",
            "caps": [["unit": "day", "limit": 5000]], "networkFeeBasisPoints": 0, "returnWindowDays": 14,
        ]
    }
}
