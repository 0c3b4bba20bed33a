internal import Accounts
internal import Attribution
internal import AurumCore
internal import Events
internal import Gateway
internal import HTTPTypes
internal import Logging
internal import TestSupport
import Testing

/// Imported experiments over the real routes, up to the reports that go by them.
struct ExperimentRouteTests {
    private struct Gateway {
        let harness: CaptureHarness
        /// Its database goes with it.
        let open: OpenDatabase
        let attribution: LogAttribution
        let reader: String
        let writer: String

        init() async throws {
            let made = Made()
            let open = try OpenDatabase()
            self.open = open
            harness = try await CaptureHarness(register: { book, access, log in
                let store = log.store
                let attribution = LogAttribution(
                    database: open.database, source: store, persons: { store.persons(org: $0) },
                    folder: open.folder.file("runs"), clock: open.clock, registry: open.registry,
                    logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
                made.attribution = attribution
                LogAttributionRoutes(
                    access: access, parts: LogAttributionParts(attribution) { _, _ in nil }, clock: open.clock
                ).register(in: book)
            })
            attribution = try #require(made.attribution)
            reader = try await harness.key(scopes: [.analyticsRead])
            writer = try await harness.key(scopes: [.campaignsWrite, .eventsWrite])
        }

        /// What the registration leaves behind; one thread.
        private final class Made { var attribution: LogAttribution? }

        func call(
            _ method: HTTPRequest.Method, _ path: String = "", _ body: JSONValue? = nil, key: String? = nil
        ) async throws -> CaptureHarness.Answer {
            try await harness.call(
                method, "/v1/attribution/experiments" + path, body.map { Array($0.canonical.utf8) } ?? [],
                ["content-type": "application/json"], key: key ?? (method == .get ? reader : writer))
        }
    }

    /// A lift of a half, without doubt: of 12 conversions 4 are incremental.
    private static func body(_ change: (inout [String: JSONValue]) -> Void = { _ in }) -> JSONValue {
        let regions = (0..<8).map { index -> JSONValue in
            [
                "region": .string("r\(index)"), "side": index < 4 ? "treated" : "control",
                "conversions": .integer(index < 4 ? 3 : 2),
            ]
        }
        var members: [String: JSONValue] = [
            "name": "autumn", "channel": "paid_search", "from": "2026-11-20", "to": "2026-11-22",
            "regions": .array(regions),
        ]
        change(&members)
        return .object(members)
    }

    @Test func `an experiment is imported, read, used by a report, and removed`() async throws {
        let gateway = try await Gateway()
        let made = try await gateway.call(.post, "", Self.body())
        #expect(made.status == 201 && made.json["name"] == "autumn", "\(made.text)")
        #expect(abs((made.json["measured"]?["lift"]?["value"]?.double ?? 0) - 0.5) < 1e-12, "\(made.text)")
        let again = try await gateway.call(.post, "", Self.body())
        #expect(again.status == 201 && again.json == made.json, "\(again.text)")
        let listed = try await gateway.call(.get)
        #expect(listed.json["experiments"]?.array == [made.json], "\(listed.text)")
        #expect(try await gateway.call(.get, "?conversion=lead").json["experiments"] == [])
        let one = try await gateway.call(.get, "/autumn")
        #expect(one.json["regions"]?.array?.count == 8 && one.json["calibration"] == .null, "\(one.text)")
        // Eight purchases after a click: half of them are incremental.
        let at = gateway.harness.clock.now.milliseconds
        let events = (0..<8).flatMap { person -> [String] in
            [
                "{\"id\":\"c\(person)\",\"type\":\"click\",\"ts\":\(at - 60_000),\"anonymous_id\":\"p\(person)\","
                    + "\"campaign\":{\"name\":\"spring\",\"source\":\"google\",\"medium\":\"cpc\"}}",
                "{\"id\":\"s\(person)\",\"type\":\"conversion\",\"name\":\"purchase\",\"ts\":\(at - 1000),"
                    + "\"anonymous_id\":\"p\(person)\",\"value\":5,\"currency\":\"USD\"}",
            ]
        }
        let sent = try await gateway.harness.post(
            "/v1/events", events.joined(separator: "\n"), ["content-type": "application/x-ndjson"],
            key: gateway.writer)
        #expect(sent.status == 202, "\(sent.text)")
        _ = try await gateway.attribution.run(
            LogAttribution.Wish(conversion: "purchase"), org: "acme", id: UID(now: gateway.harness.clock.now))
        let path = "/v1/attribution/log-report?model=data_driven"
        let report = try await gateway.harness.call(.get, path, key: gateway.reader)
        let lines = report.json["lines"]?.array ?? []
        #expect(lines.map { $0["key"] } == ["(baseline)", "paid_search"], "\(report.text)")
        #expect(lines.allSatisfy { $0["amount_minor"] == 2000 && $0["conversions"]?.double == 4 }, "\(report.text)")
        let used = report.json["data_driven"]?["channels"]?.array?.first
        #expect(used?["experiment"]?["name"] == "autumn" && used?["factor"]?.double == 0.5, "\(report.text)")
        let shown = try await gateway.call(.get, "/autumn")
        #expect(shown.json["calibration"]?["credited_conversions"] == 8, "\(shown.text)")
        #expect(try await gateway.call(.delete, "/autumn").status == 204)
        let gone = try await gateway.call(.delete, "/autumn")
        #expect(gone.status == 404 && gone.code == "experiment_unknown", "\(gone.text)")
        let plain = try await gateway.harness.call(.get, path, key: gateway.reader)
        #expect(plain.json["lines"]?.array?.count == 1, "\(plain.text)")
        await gateway.harness.log.close()
    }

    @Test func `bad experiments, other keys and other organisations are refused`() async throws {
        let gateway = try await Gateway()
        let bad = try await gateway.call(.post, "", Self.body { $0["channel"] = "television" })
        #expect(bad.status == 422 && bad.text.contains("\"field\":\"channel\""), "\(bad.text)")
        let few = try await gateway.call(
            .post, "", Self.body { $0["regions"] = .array(Array(($0["regions"]?.array ?? []).prefix(7))) })
        #expect(few.status == 409 && few.code == "not_enough_regions", "\(few.text)")
        let unknown = try await gateway.call(.post, "", Self.body { $0["conversion"] = "nothing" })
        #expect(unknown.status == 404 && unknown.code == "conversion_unknown", "\(unknown.text)")
        for (method, path, key) in [
            (HTTPRequest.Method.post, "", gateway.reader), (.delete, "/autumn", gateway.reader),
            (.get, "", gateway.writer), (.get, "/autumn", gateway.writer),
        ] {
            let answer = try await gateway.call(method, path, method == .post ? Self.body() : nil, key: key)
            #expect(answer.status == 403, "\(method) \(path): \(answer.text)")
        }
        _ = try await gateway.attribution.experiments.add(Self.body(), org: "other")
        #expect(try await gateway.call(.get).json["experiments"] == [])
        #expect(try await gateway.call(.get, "/autumn").status == 404)
        #expect(try await gateway.call(.delete, "/autumn").status == 404)
        #expect(try await gateway.attribution.experiments.all(org: "other").count == 1)
        _ = try await gateway.call(.post, "", Self.body())
        let taken = try await gateway.call(.post, "", Self.body { $0["channel"] = "email" })
        #expect(taken.status == 409 && taken.code == "experiment_exists", "\(taken.text)")
        await gateway.harness.log.close()
    }
}
