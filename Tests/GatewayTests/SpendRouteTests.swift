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

/// Spend and campaign reports over the real routes, a real log and a real database.
struct SpendRouteTests {
    private static let header = "date,network,campaign,currency,spend,impressions,clicks\n"
    private static let csv = ["content-type": "text/csv; charset=utf-8"]

    private struct Gateway {
        let open: OpenDatabase
        let harness: CaptureHarness
        let writer: String
        let reader: String

        init() async throws {
            let open = try OpenDatabase()
            let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            harness = try await CaptureHarness(register: { book, access, log in
                let attribution = AttributionService(database: open.database, events: log.store)
                let reports = CampaignReports(
                    attribution: attribution,
                    spend: SpendStore(
                        database: open.database, clock: open.clock, registry: open.registry,
                        revision: attribution.revision),
                    engine: QueryEngine(
                        source: log.store, registry: open.registry, clock: open.clock, logger: quiet),
                    clock: open.clock, registry: open.registry)
                AttributionRoutes(access: access, reports: reports).register(in: book)
                SpendRoutes(access: access, reports: reports, clock: open.clock, logger: quiet).register(in: book)
            })
            self.open = open
            writer = try await harness.key(scopes: [.campaignsWrite])
            reader = try await harness.key(scopes: [.analyticsRead])
        }

        func send(_ rows: String, _ query: String = "") async throws -> CaptureHarness.Answer {
            try await harness.post("/v1/spend" + query, SpendRouteTests.header + rows, SpendRouteTests.csv, key: writer)
        }

        func get(_ path: String) async throws -> CaptureHarness.Answer {
            try await harness.call(.get, path, key: reader)
        }
    }

    @Test func `a file is imported once, bad rows are named, and the report has the file's sum`() async throws {
        let gateway = try await Gateway()
        let rows = "2026-11-19,google,spring,USD,12.34,100,10\n2026-11-20,google,spring,USD,0.66,,\n"
        let first = try await gateway.send(rows)
        #expect(first.status == 200 && first.json["inserted"]?.integer == 2, "\(first.text)")
        #expect(
            first.json["unmatched_count"]?.integer == 1 && first.json["totals"]?.array?.first?["spend_minor"] == 1300)
        let again = try await gateway.send(rows)
        #expect(again.json["unchanged"]?.integer == 2 && again.json["inserted"]?.integer == 0)
        let bad =
            "x,google,spring,USD,1,,\n2026-11-18,google,spring,USD,1,,\n2026-11-17,google,spring,US,1,,\n"
            + "2026-11-16,google,spring,USD,a,,\n"
        let refused = try await gateway.send(bad)
        #expect(refused.status == 422 && refused.code == "spend_refused" && refused.json["refused"]?.integer == 3)
        let places = (refused.json["problems"]?.array ?? []).map {
            "\($0["line"]?.integer ?? 0) \($0["column"]?.string ?? "")"
        }
        #expect(places == ["2 date", "4 currency", "5 spend"], "\(refused.text)")
        let report = try await gateway.get("/v1/attribution/report")
        #expect(report.json["totals"]?.array?.first?["spend_minor"] == 1300, "\(report.text)")
        let skipped = try await gateway.send(bad, "?on_error=skip&timezone=America/New_York")
        #expect(skipped.status == 200 && skipped.json["inserted"]?.integer == 1, "\(skipped.text)")
        #expect(skipped.json["problems"]?.array?.count == 3)

        let list = try await gateway.get("/v1/spend?from=2026-11-19&to=2026-11-20")
        #expect(list.json["rows"]?.array?.map { $0["spend_minor"]?.integer } == [1234], "\(list.text)")
        let file = try await gateway.get("/v1/spend?format=csv")
        #expect(
            file.text.contains("2026-11-20,google,,,spring,,,,USD,0.66,,,,")
                && file.header("content-disposition") != nil)
        let json = try await gateway.harness.post(
            "/v1/spend",
            #"{"rows":[{"date":"2026-11-20","network":"meta","campaign":"v","currency":"USD","spend":1.5}]}"#,
            ["content-type": "application/json"], key: gateway.writer)
        #expect(json.json["inserted"]?.integer == 1, "\(json.text)")
        let table = try await gateway.get("/v1/attribution/report?group_by=network&format=csv")
        #expect(table.text.contains("\r\nmeta,USD,1.50,"), "\(table.text)")
        #expect(try await gateway.get("/v1/spend/template.csv").text.hasPrefix("date,network,account_id,"))
        await gateway.harness.log.close()
    }

    @Test func `a list is read to its end page by page, and a file has every row`() async throws {
        let gateway = try await Gateway()
        let days = 1...12
        let rows = days.map { day in
            (0..<500).map { "2026-11-\(day < 10 ? "0" : "")\(day),google,c\($0),USD,1,,\n" }.joined()
        }
        #expect(try await gateway.send(rows.joined()).json["inserted"]?.integer == 6000)
        let first = try await gateway.get("/v1/spend")
        #expect(first.json["rows"]?.array?.count == 1000 && first.json["next"]?.string != nil)
        // What is imported between two pages is on none of them, nor does it take a row from them.
        var seen: [String] = []
        var next: String?
        repeat {
            let mark = next?.addingPercentEncoding(withAllowedCharacters: .alphanumerics)
            let page = try await gateway.get("/v1/spend?limit=700" + (mark.map { "&after=\($0)" } ?? ""))
            #expect(page.status == 200, "\(page.text)")
            seen += (page.json["rows"]?.array ?? []).map {
                "\($0["date"]?.string ?? "") \($0["campaign"]?.string ?? "") \($0["spend_minor"]?.integer ?? 0)"
            }
            next = page.json["next"]?.string
            if seen.count == 700 {
                _ = try await gateway.send("2026-11-01,google,c0,USD,2,,\n2026-11-01,google,new,USD,1,,\n")
            }
        } while next != nil
        #expect(seen.count == 6000 && Set(seen).count == 6000 && seen.allSatisfy { $0.hasSuffix(" 100") })
        let file = try await gateway.get("/v1/spend?format=csv")
        #expect(file.text.split(separator: "\r\n").count == 6002 && file.header("aurum-next") == nil)
        let part = try await gateway.get("/v1/spend?format=csv&limit=10&network=google")
        #expect(part.text.split(separator: "\r\n").count == 11 && part.header("aurum-next") != nil)
        let end = try await gateway.get("/v1/spend?limit=6001")
        #expect(end.json["rows"]?.array?.count == 6001 && end.json["next"] == .null)
        #expect(try await gateway.get("/v1/spend?after=x").status == 400)
        await gateway.harness.log.close()
    }

    @Test func `wrong requests are refused with a reason, and each route has its scope`() async throws {
        let gateway = try await Gateway()
        let harness = gateway.harness
        #expect(try await harness.post("/v1/spend", Self.header, Self.csv).status == 401)
        #expect(try await harness.post("/v1/spend", Self.header, Self.csv, key: gateway.reader).status == 403)
        for path in ["/v1/spend", "/v1/spend/template.csv", "/v1/attribution/report", "/v1/attribution/models/compare"]
        {
            #expect(try await harness.call(.get, path, key: gateway.writer).status == 403, "\(path)")
            #expect(try await gateway.get(path).status == 200, "\(path)")
        }
        for query in ["?on_error=maybe", "?timezone=Mars/Base"] {
            let answer = try await gateway.send("2026-11-19,google,spring,USD,1,,\n", query)
            #expect(answer.status == 400, "\(query) \(answer.text)")
        }
        let type = try await harness.post("/v1/spend", "x", ["content-type": "text/plain"], key: gateway.writer)
        #expect(type.status == 400)
        let broken = try await harness.post(
            "/v1/spend", "[{", ["content-type": "application/json"], key: gateway.writer)
        #expect(broken.status == 400 && broken.code == "malformed_body")
        let header = try await harness.post("/v1/spend", "date,spend\n", Self.csv, key: gateway.writer)
        #expect(header.status == 400 && header.code == "bad_spend_file" && header.text.contains("network"))
        let large = try await harness.call(
            .post, "/v1/spend", [UInt8](repeating: 32, count: SpendFile.bytesMax + 1), Self.csv, key: gateway.writer)
        #expect(large.status == 413)
        for query in [
            "model=none", "group_by=x", "basis=x", "days=0", "days=5&from=2026-01-01", "from=yesterday", "format=xml",
            "timezone=Mars/Base",
        ] {
            let answer = try await gateway.get("/v1/attribution/report?\(query)")
            #expect(answer.status == 400, "\(query) \(answer.text)")
        }
        #expect(try await gateway.get("/v1/spend?network=%00").status == 400)
        await harness.log.close()
    }

    /// `count` sales of one dollar under one model, each of a campaign of its own.
    private static func fill(_ open: OpenDatabase, _ model: CreditModel, _ count: Int) async throws {
        try await open.database.write("test.fill") { transaction in
            for index in 0..<count {
                let (leg, campaign) = (UID(high: 9, low: UInt64(index)), "c\(index)")
                _ = try transaction.run(
                    """
                    INSERT INTO attribution_credits
                        (org, leg, model, position, event_id, campaign, source, medium, channel, touched_at,
                         share_ppm, amount_minor, currency, sold_at, created_at)
                    VALUES ('acme', \(leg), \(model.rawValue), 0, NULL, \(campaign), 's', 'm', 'email',
                            \(transaction.now), 1000000, 100, 'USD', \(transaction.now), \(transaction.now))
                    """)
            }
        }
    }

    @Test func `totals count every line, also those that are cut`() async throws {
        let gateway = try await Gateway()
        let count = CampaignReport.linesMax + 1
        try await Self.fill(gateway.open, .linear, count)
        let report = try await gateway.get("/v1/attribution/report?model=linear")
        #expect(report.status == 200 && report.json["truncated"] == true, "\(report.text.prefix(200))")
        #expect(report.json["rows"]?.array?.count == CampaignReport.linesMax)
        #expect(report.json["totals"]?.array?.first?["revenue_minor"]?.integer == Int64(count) * 100)
        let both = try await gateway.get("/v1/attribution/models/compare?compare_to=linear")
        #expect(both.json["truncated"] == true && both.json["rows"]?.array?.count == CampaignReport.linesMax)
        let other = try await gateway.get("/v1/attribution/report?model=last&group_by=day")
        #expect(other.json["rows"]?.array?.isEmpty == true && other.json["truncated"] == false)
        await gateway.harness.log.close()
    }

    @Test func `a report by ads says what an earlier release did not keep, and its groups are named`() async throws {
        let gateway = try await Gateway()
        try await Self.fill(gateway.open, .last, 3)
        let file =
            "date,network,campaign,ad_group_id,currency,spend\n2026-11-19,google,spring,g1,USD,2.00\n"
            + "2026-11-19,google,spring,,USD,1.00\n"
        let sent = try await gateway.harness.post("/v1/spend", file, Self.csv, key: gateway.writer)
        #expect(sent.json["inserted"]?.integer == 2, "\(sent.text)")
        let report = try await gateway.get("/v1/attribution/report?group_by=ad_group")
        let rows = report.json["rows"]?.array ?? []
        #expect(rows.map { $0["key"]?.string } == ["(not set)", "g1"], "\(report.text)")
        #expect(rows.map { $0["spend_minor"]?.integer } == [100, 200])
        #expect(rows.map { $0["not_recorded"]?["conversions"]?.integer } == [3, nil])
        for name in ["creative", "keyword", "publisher"] {
            let answer = try await gateway.get("/v1/attribution/report?group_by=\(name)")
            #expect(answer.status == 200 && answer.json["group_by"]?.string == name, "\(answer.text)")
            #expect(answer.json["totals"]?.array?.first?["revenue_minor"] == 300, "\(answer.text)")
            let compared = try await gateway.get("/v1/attribution/models/compare?group_by=\(name)")
            #expect(compared.json["totals"]?.array?.first?["not_recorded"]?["conversions"] == 3, "\(compared.text)")
        }
        let csv = try await gateway.get("/v1/attribution/report?group_by=keyword&format=csv")
        #expect(csv.text.hasPrefix("keyword,currency,") && csv.text.hasSuffix(",3\r\n"), "\(csv.text)")
        #expect(try await gateway.get("/v1/attribution/report?group_by=adgroup").status == 400)
        await gateway.harness.log.close()
    }

    @Test func `a report of an earlier moment says what was imported then, and what there is now`() async throws {
        let gateway = try await Gateway()
        _ = try await gateway.send("2026-11-19,google,spring,USD,12.34,100,10\n")
        let before = try await gateway.get("/v1/attribution/report").json["as_of"]?.string ?? ""
        gateway.open.clock.advance(by: .seconds(60))
        _ = try await gateway.send("2026-11-19,google,spring,USD,10.00,100,10\n")
        let past = try await gateway.get("/v1/attribution/report?as_of=\(before)")
        let row = past.json["rows"]?.array?.first ?? .null
        #expect(past.status == 200 && past.json["as_of"]?.string == before, "\(past.text)")
        #expect(past.json["compared_at"]?.string != nil && past.json["spend_known_since"] == .null)
        #expect(row["spend_minor"] == 1234 && row["changed"] == ["spend_minor": 1000], "\(past.text)")
        let total = past.json["totals"]?.array?.first ?? .null
        #expect(total["spend_minor"] == 1234 && total["changed"] == ["spend_minor": 1000])
        let compared = try await gateway.get("/v1/attribution/models/compare?as_of=\(before)")
        let first = compared.json["rows"]?.array?.first ?? .null
        #expect(first["spend_minor"] == 1234 && first["changed"] == ["spend_minor": 1000], "\(compared.text)")
        #expect(first["models"]?["last"]?["changed"] == .object([:]))
        let csv = try await gateway.get("/v1/attribution/report?format=csv&as_of=\(before)")
        let lines = csv.text.split(separator: "\r\n")
        #expect(lines.first?.hasSuffix(",recognised_now,returned_now") == true)
        #expect(lines.last?.contains(",12.34,") == true && lines.last?.contains(",10.00,") == true, "\(csv.text)")
        let buyers = try await gateway.get("/v1/attribution/report?group_by=buyer")
        #expect(buyers.status == 200 && buyers.json["rows"]?.array?.isEmpty == true, "\(buyers.text)")
        await gateway.harness.log.close()
    }

    @Test func `a question that is not supported is refused and not passed over`() async throws {
        let gateway = try await Gateway()
        for query in [
            "as_of=yesterday", "as_of=2026-11-01", "as_of=2999-01-01T00:00:00Z", "compare=last", "model=x", "from=x",
            "basis=x",
        ] {
            let answer = try await gateway.get("/v1/attribution/report?\(query)")
            #expect(answer.status == 400 && answer.code == "bad_query", "\(query) \(answer.text)")
        }
        await gateway.harness.log.close()
    }
}
