import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// The demo as somebody meets it who has just started it.
@Suite(.serialized) struct DemoTests {
    private static let installs = 226

    private struct Contact: Decodable {
        let url: String
        let token: String
    }

    private struct Running {
        let process: ChildProcess
        let client: TestClient

        /// - Parameter homes: where its records and shared state are, unless the defaults.
        init(_ data: String, homes: [String: String] = [:]) async throws {
            let environment = [
                "AURUM_HTTP_PORT": "0", "AURUM_METRICS_ADDRESS": "off", "AURUM_LOG_LEVEL": "warning",
                "AURUM_DATA_DIR": data,
            ].merging(homes) { $1 }
            process = try ChildProcess(
                AurumBinary.path, ["demo", "--seed", "7", "--visitors", "40"], environment: environment)
            _ = try await process.line(containing: "Aurum is ready at", within: .seconds(20))
            let contact = try JSONDecoder().decode(
                Contact.self, from: Data(contentsOf: URL(fileURLWithPath: data + "/server.json")))
            client = TestClient(url: contact.url, key: contact.token)
        }

        /// Asks until the answer is as wanted; says what it was when it never is.
        @discardableResult
        func shows(
            _ path: String, within time: Duration = .seconds(90), _ holds: (JSONValue) -> Bool
        ) async throws -> JSONValue {
            let deadline = ContinuousClock.now + time
            while true {
                let answer = try await client.get(path)
                if answer.status == 200, holds(answer.body) { return answer.body }
                guard ContinuousClock.now < deadline else {
                    Issue.record("\(path) never showed it: \(answer.text.prefix(2000))\n\(process.output.suffix(2000))")
                    return answer.body
                }
                try await Task.sleep(for: .milliseconds(200))
            }
        }

        func stop() async throws {
            process.terminate()
            #expect(try await process.exit(within: .seconds(60)) == 0)
            #expect(!process.output.contains("the demo could not show"), "\(process.output.suffix(2000))")
        }
    }

    private static func isFilled(_ member: String) -> (JSONValue) -> Bool {
        { $0[member]?.array?.isEmpty == false }
    }

    private func accepted(_ running: Running) async throws -> Int64 {
        let all = try await running.client.get("/v1/uploads/destinations").body["destinations"]?.array ?? []
        return all.reduce(0) { $0 + ($1["items"]?["accepted"]?.integer ?? 0) }
    }

    @Test func `no page of the demo stays empty, and a second start makes nothing twice`() async throws {
        let folder = TemporaryFolder()
        var running = try await Running(folder.file("data"))
        try await fraud(running)
        try await uploads(running)
        try await credits(running)
        try await budgets(running)
        let brand: JSONValue = ["campaign": "nyc-solar-brand", "currency": "USD", "cap_minor": 900]
        let set = try await running.client.call(
            "PUT", "/v1/attribution/budgets", Array(brand.canonical.utf8), ["content-type": "application/json"])
        #expect(set.status == 200, "\(set.text)")
        let totals = try await installs(running)
        let before = try await accepted(running)
        try await running.stop()

        running = try await Running(folder.file("data"))
        // The networks listen elsewhere by now and are told again: after a minute, where calls to the old place failed.
        let deadline = ContinuousClock.now + .seconds(180)
        while try await accepted(running) <= before, ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(500))
        }
        #expect(try await accepted(running) > before, "\(running.process.output.suffix(2000))")
        #expect(try await installs(running)["installs"] == totals["installs"])
        let made = [
            ("/v1/uploads/destinations", "destinations", 2), ("/v1/links", "links", 1),
            ("/v1/attribution/conversions/advisor_opened", "versions", 1), ("/v1/attribution/budgets", "budgets", 3),
        ]
        for (path, member, count) in made {
            let answer = try await running.client.get(path)
            #expect(answer.body[member]?.array?.count == count, "\(path): \(answer.text.prefix(1000))")
        }
        let kept = try await running.client.get("/v1/attribution/budgets").body["budgets"]?.array ?? []
        let caps = kept.first { $0["campaign"] == "nyc-solar-brand" }?["cap_minor"]
        #expect(caps == 900, "what somebody set stays: \(kept)")
        try await running.stop()
    }

    @Test func `the demo shows the same with its records on PostgreSQL and its shared state on Redis`() async throws {
        let folder = TemporaryFolder()
        let redis = try await RedisServer()
        let homes = ["AURUM_DATABASE_URL": try PostgresServer.shared().newURL(), "AURUM_REDIS_URL": redis.url]
        let running = try await Running(folder.file("data"), homes: homes)
        let components = try await running.client.get("/health").body["components"]
        #expect(components?["database"]?["details"]?.array?.first == "postgres", "\(components ?? .null)")
        #expect(components?["redis"]?["state"] == "ok", "\(components ?? .null)")
        try await fraud(running)
        try await uploads(running)
        try await credits(running)
        try await budgets(running)
        _ = try await installs(running)
        let size = try await RedisCluster.cli(["-p", "\(redis.port)", "dbsize"])
        #expect(Int(size.filter(\.isNumber)) ?? 0 > 0, "limits are on Redis: \(size)")
        try await running.stop()
        #expect(!FileManager.default.fileExists(atPath: folder.file("data") + "/aurum.db"))
    }

    /// How the demo's installs were attributed, once all are decided.
    private func installs(_ running: Running) async throws -> JSONValue {
        let counted = try await running.shows("/v1/attribution/installs/campaigns?app=solar-home") {
            $0["totals"]?["installs"]?.integer == Int64(Self.installs)
        }
        #expect(counted["totals"]?["organic"]?.integer ?? 0 > 0)
        #expect(counted["lines"]?.array?.contains { $0["campaign"] == "home-app-postcard" } == true, "\(counted)")
        try await running.shows("/v1/attribution/installs?method=install_referrer&campaign=home-app-postcard") {
            $0["installs"]?.array?.count == 3
        }
        return counted["totals"] ?? .null
    }

    private func fraud(_ running: Running) async throws {
        for code in ["ctit_impossible", "click_after_install_start", "click_velocity", "install_velocity"] {
            try await running.shows("/v1/fraud/verdicts?outcome=rejected&code=\(code)", Self.isFilled("verdicts"))
        }
        try await running.shows("/v1/fraud/verdicts?outcome=suspect&code=emulator", Self.isFilled("verdicts"))
        try await running.shows("/v1/fraud/verdicts?outcome=clean", Self.isFilled("verdicts"))
        try await running.shows("/v1/fraud/publishers") { answer in
            answer["publishers"]?.array?.contains { $0["publisher"] == "pub-9041" && $0["grade"] == "deny" } == true
        }
        try await running.shows("/v1/fraud/proposals", Self.isFilled("proposals"))
    }

    private func uploads(_ running: Running) async throws {
        try await running.shows("/v1/uploads/items?state=dry_run", Self.isFilled("items"))
        let found = try await running.shows("/v1/uploads/destinations") { answer in
            let all = answer["destinations"]?.array ?? []
            return all.count == 2
                && all.allSatisfy {
                    $0["dry_run"] == false && $0["items"]?["accepted"]?.integer ?? 0 > 0
                        && $0["told_minor"]?["USD"]?.integer ?? 0 > 0
                }
        }
        #expect(!found.canonical.contains(FakeNetwork.token))
    }

    /// Claims that are more than what happened, sales that two networks may claim, and a campaign above its cap.
    private func budgets(_ running: Running) async throws {
        try await running.shows("/v1/attribution/budgets") { $0["budgets"]?.array?.count == 3 }
        let alerts = try await running.shows("/v1/attribution/stops", within: .seconds(60), Self.isFilled("alerts"))
        #expect(alerts["alerts"]?.array?.count == 1, "\(alerts)")
        let alert = alerts["alerts"]?.array?.first
        #expect(alert?["campaign"] == "homeowners-queens-video" && alert?["rule"] == "over_cap", "\(alerts)")
        try await running.shows("/v1/attribution/advice/decisions?state=open") { answer in
            answer["decisions"]?.array?.contains { $0["action"] == "pause" && $0["actor"] == "auto" } == true
        }
        try await running.shows("/v1/attribution/advice") { answer in
            answer["rows"]?.array?.contains {
                $0["campaign"] == "nyc-solar-nonbrand" && $0["auto"] == true && $0["dry_run"] == true
            } == true
        }
        let claims = try await running.shows("/v1/attribution/claims") { answer in
            let totals = answer["totals"]?.array ?? []
            return ["google", "meta"].allSatisfy { network in
                totals.contains { $0["network"] == .string(network) && $0["claimed"]?.double ?? 0 > 0 }
            }
        }
        let beyond = claims["overlaps"]?.array?.contains { $0["impossible"]?.double ?? 0 > 0 }
        #expect(beyond == true, "both claim more than was sold: \(claims)")
        try await running.shows("/v1/attribution/claims/shared") { answer in
            answer["conversions"]?.array?.contains {
                $0["networks"]?.array?.compactMap { $0["network"]?.string } == ["google", "meta"]
            } == true
        }
    }

    /// Every conversion of the log, under a model that looks at one journey and one that is fitted to all.
    private func credits(_ running: Running) async throws {
        for conversion in ["install", "purchase", "lead", "advisor_opened"] {
            for model in ["linear", "markov1"] {
                let path = "/v1/attribution/log-report?conversion=\(conversion)&model=\(model)&group_by=campaign"
                try await running.shows(path) { answer in
                    let lines = answer["lines"]?.array ?? []
                    return lines.contains { $0["key"] != "(none)" && $0["conversions"]?.double ?? 0 > 0 }
                }
            }
        }
    }
}
