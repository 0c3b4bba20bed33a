internal import Accounts
internal import Attribution
internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Gateway
internal import HTTPTypes
internal import Logging
internal import Telemetry
internal import TestSupport
import Testing

/// Campaign reports of a conversion of the log over the real routes.
struct CampaignRunRouteTests {
    private struct Gateway {
        let harness: CaptureHarness
        let open: OpenDatabase
        let attribution: LogAttribution
        let reader: String

        init() async throws {
            let made = Made()
            let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            let open = try OpenDatabase()
            harness = try await CaptureHarness(register: { book, access, log in
                let store = log.store
                let service = AttributionService(database: open.database, events: store)
                let reports = CampaignReports(
                    attribution: service,
                    spend: SpendStore(
                        database: open.database, clock: open.clock, registry: open.registry,
                        revision: service.revision),
                    engine: QueryEngine(source: store, registry: open.registry, clock: open.clock, logger: quiet),
                    clock: open.clock, registry: open.registry)
                AttributionRoutes(access: access, reports: reports).register(in: book)
                SpendRoutes(access: access, reports: reports, clock: open.clock, logger: quiet).register(in: book)
                made.attribution = LogAttribution(
                    database: open.database, source: store, persons: { store.persons(org: $0) },
                    folder: open.folder.file("runs"), clock: open.clock, registry: open.registry, logger: quiet)
            })
            self.open = open
            attribution = try #require(made.attribution)
            reader = try await harness.key(scopes: [.analyticsRead])
        }

        /// What the registration leaves behind; one thread.
        private final class Made { var attribution: LogAttribution? }

        func get(_ path: String) async throws -> CaptureHarness.Answer {
            try await harness.call(.get, "/v1/attribution/" + path, key: reader)
        }

        /// A purchase after a click, and what the click's campaign cost.
        func fill() async throws {
            let at = harness.clock.now.milliseconds
            let events: [JSONValue] = [
                [
                    "id": "click", "type": "click", "ts": .integer(at - 60_000), "anonymous_id": "ann",
                    "campaign": ["name": "spring", "source": "google", "medium": "cpc"],
                ],
                [
                    "id": "sale", "type": "conversion", "name": "purchase", "ts": .integer(at - 1000),
                    "anonymous_id": "ann", "value": 12.5, "currency": "USD",
                ],
            ]
            let writer = try await harness.key(scopes: [.eventsWrite, .campaignsWrite])
            let sent = try await harness.post(
                "/v1/events", events.map(\.canonical).joined(separator: "\n"),
                ["content-type": "application/x-ndjson"], key: writer)
            #expect(sent.status == 202, "\(sent.text)")
            let spend = try await harness.post(
                "/v1/spend", "date,network,campaign,currency,spend\n2026-11-21,google,SPRING,USD,5.00\n",
                ["content-type": "text/csv"], key: writer)
            #expect(spend.status == 200, "\(spend.text)")
        }
    }

    @Test func `a report and a comparison of a definition name their run, and errors say what to call`() async throws {
        let gateway = try await Gateway()
        try await gateway.fill()
        let early = try await gateway.get("report?definition=purchase")
        #expect(early.status == 404 && early.code == "attribution_not_computed", "\(early.text)")
        #expect(early.text.contains("POST /v1/attribution/recompute"), "\(early.text)")
        for path in ["report", "models/compare"] {
            let unknown = try await gateway.get(path + "?definition=nothing")
            #expect(unknown.status == 404 && unknown.code == "conversion_unknown", "\(unknown.text)")
        }
        _ = try await gateway.attribution.run(
            LogAttribution.Wish(conversion: "purchase"), org: "acme", id: UID(now: gateway.harness.clock.now))
        let report = try await gateway.get("report?definition=purchase&model=shapley")
        #expect(report.status == 200 && report.json["model"] == "shapley", "\(report.text)")
        let row = report.json["rows"]?.array?.first ?? .null
        #expect(row["key"] == "spring" && row["spend_minor"] == 500 && row["revenue_minor"] == 1250, "\(row)")
        #expect(row["roas"]?.double == 2.5 && row["cpa_minor"] == 500 && row["leads"] == .null)
        #expect(report.json["definition"] == "purchase" && report.json["result"]?["version"] == 1)
        #expect(report.json["unattributed"]?["conversions"] == 0 && report.json["beyond_run"] == false)
        let compared = try await gateway.get("models/compare?definition=purchase&compare_to=markov3&group_by=channel")
        #expect(compared.status == 200 && compared.json["compare_to"] == "markov3", "\(compared.text)")
        #expect(compared.json["models"]?.array?.compactMap(\.string) == (LogModel.standard + [.dataDriven]).map(\.name))
        let figures = compared.json["rows"]?.array?.first?["models"]?["markov1"]
        #expect(figures?["roas"]?.double == 2.5 && figures?["difference_minor"] == 0, "\(compared.text)")
        let weightless = try await gateway.get("report?definition=purchase&model=custom")
        #expect(weightless.status == 409 && weightless.code == "no_custom_weights", "\(weightless.text)")
        let csv = try await gateway.get("report?definition=purchase&format=csv&model=markov1")
        #expect(csv.text.contains("\r\nspring,USD,5.00,"), "\(csv.text)")
        // Without a definition all is as it was.
        let leads = try await gateway.get("report")
        #expect(leads.json["definition"] == nil && leads.json["basis"] == "booked", "\(leads.text)")
        #expect(leads.json["rows"]?.array?.first?["revenue_minor"] == 0)
        await gateway.harness.log.close()
    }

    @Test(arguments: [
        "model=markov1", "definition=No", "definition=", "definition=purchase&model=magic",
        "definition=purchase&group_by=source", "definition=purchase&group_by=buyer",
        "definition=purchase&basis=recognised", "definition=purchase&as_of=2026-11-01T00:00:00Z",
        "definition=purchase&timezone=America/New_York", "definition=purchase&from=2026-11-01T01:00:00Z",
    ])
    func `what runs do not know is refused`(query: String) async throws {
        let gateway = try await Gateway()
        let answer = try await gateway.get("report?\(query)")
        #expect(answer.status == 400 && answer.code == "bad_query", "\(query) \(answer.text)")
        if query.contains("basis") || query.contains("as_of") {
            #expect(answer.text.contains("less refunds, and keeps no past"), "\(answer.text)")
        }
        await gateway.harness.log.close()
    }
}
