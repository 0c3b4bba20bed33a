import Attribution
import AurumCore
import Database
import Events
import Logging
import Telemetry
import TestSupport
import Testing

/// What campaign reports are made of: a real log and real tables of one organisation.
struct CampaignWorld {
    let open: OpenDatabase
    let log: EventLog
    let reports: CampaignReports
    var attribution: AttributionService { reports.attribution }

    init(on engine: Dialect) throws {
        open = try OpenDatabase(clock: ManualWallClock(), on: engine)
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        log = try EventLog.open(
            directory: open.folder.file("events"), registry: open.registry,
            health: HealthRegistry(clock: open.clock), clock: open.clock, logger: quiet)
        let attribution = AttributionService(
            database: open.database, events: log.store, registry: open.registry)
        reports = CampaignReports(
            attribution: attribution,
            spend: SpendStore(
                database: open.database, clock: open.clock, registry: open.registry,
                revision: attribution.revision),
            engine: QueryEngine(source: log.store, registry: open.registry, clock: open.clock, logger: quiet),
            clock: open.clock, registry: open.registry)
    }

    func send(_ members: String, by person: String) async throws {
        let line = """
            {"id":"\(UID(now: open.clock.now).hex)","anonymous_id":"\(person)","session_id":"s-\(person)",\(members)}
            """
        let receipt = try await log.capture.submit(
            Array((line + "\n").utf8), format: .ndjson, source: CaptureSource(org: "o", app: "site"),
            receivedAt: open.clock.now)
        #expect(receipt.stored == 1)
    }

    func visit(_ query: String, by person: String) async throws {
        try await send("\"type\":\"page\",\"url\":\"https://a.example/?\(query)\"", by: person)
        open.clock.advance(by: .seconds(60))
    }

    func installs(_ judge: any TouchJudge = TrustingJudge()) -> InstallAttribution {
        InstallAttribution(
            database: open.database, source: log.store, log: log.store.logIdentity, judge: judge, clock: open.clock,
            registry: open.registry, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    /// Reads the log and decides its installs.
    func follow(_ judge: any TouchJudge = TrustingJudge()) async throws {
        try await InstallFollower(installs(judge)).catchUp()
    }

    static let spendColumns = "date,network,campaign_id,campaign,currency,spend,impressions,clicks"

    func spend(_ rows: String, columns: String = spendColumns) async throws {
        let text = columns + "\n" + rows
        let file = try SpendReader.csv(Array(text.utf8), latest: reports.spend.latestDay)
        _ = try await reports.spend.store(file, org: "o")
    }

    @discardableResult
    func sell(_ low: UInt64, _ cents: Int64, to person: String, currency: Currency = .usd) async throws -> UID {
        let leg = UID(high: 9, low: low)
        try await attribution.credit(
            NewLead(org: "o", lead: UID(high: 8, low: low), traceID: nil, visitorID: person, at: open.clock.now))
        try await attribution.credit(
            Sale(
                org: "o", leg: leg, traceID: nil, visitorID: person,
                price: Money(minorUnits: cents, currency: currency), at: open.clock.now))
        return leg
    }

    func report(
        _ model: CreditModel, _ change: (inout CampaignQuestion) -> Void = { _ in }
    ) async throws -> CampaignReport {
        var question = CampaignQuestion(models: [model])
        change(&question)
        return try await reports.report(org: "o", question)
    }

    /// The line of a key in a currency.
    func line(_ report: CampaignReport, _ key: String, _ currency: Currency = .usd) throws -> CampaignLine {
        try #require(
            report.models[0].lines.first { $0.key == key && $0.currency == currency }, "\(key) in \(report.models)")
    }
}
