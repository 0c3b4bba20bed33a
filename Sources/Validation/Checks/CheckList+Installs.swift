internal import AurumCore
internal import Foundation

/// Installs over the network, each with a touch that the check decided on before it sent anything, and a short link.
extension CheckList {
    private static let count = 240

    /// What an install must be matched with.
    private struct KnownInstall {
        var id: String
        var method: String
        var touch: String?
    }

    @Sendable static func installs(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("a05")
        var random = SeededRandom(seed: context.seed)
        var (events, known): ([JSONValue], [KnownInstall]) = ([], [])
        let now = SystemWallClock().now
        for number in 0..<count { known.append(made(number, context.runID, now, &events, &random)) }
        for start in stride(from: 0, to: events.count, by: 200) {
            let part = Array(events[start..<min(events.count, start + 200)])
            let sent = try await context.call { try await org.write.events(part) }
            findings.expect(sent.status == 202, "events are answered \(sent.status) \(sent.code)")
        }
        let report = try await context.poll(within: .seconds(20), every: .milliseconds(200)) {
            try await org.read.get("/v1/attribution/installs/campaigns")
        } until: {
            $0.json["totals"]?["installs"]?.integer == Int64(count)
        }
        findings.expect(
            report.json["totals"]?["installs"]?.integer == Int64(count),
            "not every install is decided: \(report.text.prefix(300))")
        let list = try await context.call { try await org.read.get("/v1/attribution/installs?limit=1000") }
        var found: [String: JSONValue] = [:]
        for install in list.json["installs"]?.array ?? [] { found[install["id"]?.string ?? ""] = install }
        for install in known {
            let decision = found[install.id] ?? .null
            findings.expect(
                decision["method"]?.string == install.method && decision["touch"]?["id"]?.string == install.touch,
                "\(install.id) should be \(install.method) by \(install.touch ?? "nothing"): "
                    + "\(decision.canonical.prefix(300))")
        }
        try await link(context, findings, org)
    }

    /// One install with its touch, an older one that must lose, and often a later one of a weaker method.
    private static func made(
        _ number: Int, _ run: String, _ now: Timestamp, _ events: inout [JSONValue], _ random: inout SeededRandom
    ) -> KnownInstall {
        let at = now - .seconds(Int64.random(in: 60...86_400, using: &random))
        let name = "\(run.prefix(8))-\(number)"
        func event(_ type: String, _ id: String, _ age: Int64, _ members: [String: JSONValue]) -> JSONValue {
            var all: [String: JSONValue] = [
                "type": .string(type), "id": .string("\(name)-\(id)"), "ts": .string((at - .seconds(age)).rfc3339),
                "anonymous_id": .string("a-\(name)-\(id)"),
            ]
            if type == "install" { all["device_id"] = .string("own-\(name)") }
            all.merge(members) { $1 }
            return .object(all)
        }
        let click = "click-\(name)"
        let pairs: [(method: String, touch: [String: JSONValue], install: [String: JSONValue])] = [
            ("device_id", ["device_id": .string("D-\(name)")], ["device_id": .string("d-\(name)")]),
            ("click_id", ["click_id": .string(click)], ["click_id": .string(click)]),
            ("install_referrer", ["click_id": .string(click)], ["install_referrer": .string("aurum_click=\(click)")]),
            ("deep_link", ["click_id": .string(click)], ["url": .string("shop://open?aurum_click=\(click)")]),
            ("user_id", ["user_id": .string("u-\(name)")], ["user_id": .string("u-\(name)")]),
            (
                "organic", ["device_id": "00000000-0000-0000-0000-000000000000"],
                ["device_id": "00000000-0000-0000-0000-000000000000"]
            ),
        ]
        let pair = pairs[number % pairs.count]
        var install = pair.install
        events.append(event("click", "older", 7200, pair.touch))
        events.append(event("click", "touch", 3600, pair.touch))
        if pair.method == "device_id" || pair.method == "click_id" {
            install["user_id"] = .string("u-\(name)")
            events.append(event("click", "weaker", 60, ["user_id": .string("u-\(name)")]))
        }
        events.append(event("install", "install", 0, install))
        let isOrganic = pair.method == "organic"
        return KnownInstall(
            id: "\(name)-install", method: pair.method, touch: isOrganic ? nil : "\(name)-touch")
    }

    /// From the click on a link to the payload and the decision about the install.
    private static func link(_ context: CheckContext, _ findings: Findings, _ org: Organisation) async throws {
        let editor = context.client(try await context.key(org.name, ["campaigns:write", "policies:write"]))
        let slug = "v-\(context.runID.prefix(8).lowercased())"
        let app = "linked"
        _ = try await context.call { try await editor.put("/v1/apps/\(app)", ["redirect_hosts": ["shop.example"]]) }
        // The install follows its click at once here, which the rules take for fraud.
        let rules: JSONValue = ["off": ["ctit_fast", "ctit_impossible"], "starts_at": "2020-01-01"]
        let saved = try await context.call { try await editor.put("/v1/fraud/rules", rules) }
        findings.expect(saved.status == 200, "the rules are answered \(saved.status) \(saved.text.prefix(200))")
        let body: JSONValue = [
            "slug": .string(slug), "app": .string(app), "web_url": "https://shop.example/offer",
            "android": ["package": "com.example.shop", "path": "/offer"], "campaign": ["name": "validate-link"],
            "payload": ["coupon": "V"],
        ]
        let made = try await context.call { try await editor.post("/v1/links", body) }
        findings.expect(made.status == 201, "the link is answered \(made.status) \(made.text.prefix(200))")
        let agent =
            "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Mobile "
            + "Safari/537.36"
        let visit = try await context.call {
            try await context.client(nil).get("/l/\(slug)", headers: [("user-agent", agent)])
        }
        let location = visit.header("location")?.removingPercentEncoding ?? ""
        let click = location.components(separatedBy: "aurum_click=").dropFirst().first?.prefix { $0.isHexDigit } ?? ""
        findings.expect(
            visit.status == 302 && location.hasPrefix("https://play.google.com/") && click.count == 32,
            "the visit is answered \(visit.status) \(location.prefix(200))")
        let referrer: JSONValue = ["referrer": .string("aurum_click=\(click)")]
        let first = try await context.call { try await org.write.post("/v1/links/resolve", referrer) }
        findings.expect(
            first.status == 200 && first.json["payload"]?["coupon"] == "V",
            "the payload is answered \(first.status) \(first.text.prefix(200))")
        let second = try await context.call { try await org.write.post("/v1/links/resolve", referrer) }
        findings.expect(second.code == "already_resolved", "the second time is \(second.status) \(second.code)")
        let id = "\(context.runID.prefix(8))-linked"
        let sent = try await context.call {
            try await org.write.post(
                "/v1/installs",
                [
                    "id": .string(id), "device_id": .string("dev-\(id)"),
                    "install_referrer": .string("aurum_click=\(click)"),
                ])
        }
        findings.expect(sent.status == 202, "the install is answered \(sent.status) \(sent.text.prefix(200))")
        let decided = try await context.poll(within: .seconds(20), every: .milliseconds(200)) {
            try await org.read.get("/v1/attribution/installs/\(id)")
        } until: {
            $0.json["state"] == "decided"
        }
        findings.expect(
            decided.json["method"] == "install_referrer" && decided.json["campaign"] == "validate-link",
            "the install is \(decided.text.prefix(300))")
    }
}
