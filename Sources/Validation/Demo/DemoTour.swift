package import AurumCore
internal import Foundation
package import Logging

/// What somebody sets up who tries Aurum out beside a website: an app with installs, a short link, a conversion of
/// their own, advertising networks that are told of sales, and budgets. Everything goes through the public API, at most
/// once for a data folder and seed: what is there already stays as it is.
package struct DemoTour: Sendable {
    private let client: APIClient
    private let visitor: APIClient
    private let networks: String
    private let seed: UInt64
    private let logger: Logger
    /// For what a busy machine does within seconds.
    private static let patience: Duration = .seconds(120)
    /// For the first lead of a demo with few visitors.
    private static let patienceForLeads: Duration = .seconds(3600)
    private static let triesMax = 20
    /// The app of the demo; the key is one of it.
    package static let app = DemoPhones.app
    /// A conversion that nobody built in: who opened the chat.
    package static let conversion = "advisor_opened"
    package static let slug = "solar-home"

    /// - Parameters:
    ///   - key: a server's key of `app` with `events:read`, `events:write`, `campaigns:write`, `analytics:read` and
    ///     `policies:write`, for what happened long ago.
    ///   - networks: where the fake advertising networks listen.
    package init(baseURL: String, key: String, networks: String, seed: UInt64, logger: Logger) {
        client = APIClient(baseURL, key: key)
        visitor = APIClient(baseURL)
        (self.networks, self.seed, self.logger) = (networks, seed, logger)
    }

    /// Does it all; what is refused is logged, and the rest goes on. Ends early when its task is cancelled.
    package func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { await attempt("installs") { try await installs() } }
            group.addTask { await attempt("uploads") { try await uploads() } }
            group.addTask { await attempt("budgets") { try await budgets() } }
        }
    }

    private func attempt(_ what: String, _ work: () async throws -> Void) async {
        do { try await work() } catch {
            guard !Task.isCancelled else { return }
            logger.warning("the demo could not show \(what)", metadata: ["error": "\(error)"])
        }
    }

    // MARK: the app

    private func installs() async throws {
        let app = try await ask("GET", "/v1/apps/\(Self.app)")
        if app["version"] == 0 {
            _ = try await ask("PUT", "/v1/apps/\(Self.app)", ["redirect_hosts": [.string(host)]])
        }
        try await saveConversion()
        let phones = DemoPhones(seed: seed, now: SystemWallClock().now)
        if try await !isKnown(install: phones.lastInstall) {
            for request in phones.requests {
                let sent = try await client.events(request)
                guard sent.status == 202, sent.json["quarantined"] == 0 else {
                    throw DemoError.refused(status: sent.status, code: sent.code)
                }
            }
        }
        try await poll("/v1/attribution/installs/\(phones.lastInstall)", within: Self.patience) {
            $0["state"] == "decided"
        }
        try await poll("/v1/attribution/installs/campaigns?app=\(Self.app)", within: Self.patience) {
            $0["totals"]?["installs"]?.integer ?? 0 >= Int64(DemoPhones.installs)
        }
        // Publishers and their patterns are judged when all installs are looked at.
        _ = try await ask("POST", "/v1/fraud/review", [:])
        try await recompute()
        try await followLink()
    }

    private var host: String {
        String(client.base.drop { $0 != ":" }.dropFirst(3).prefix { $0 != ":" && $0 != "/" })
    }

    private func saveConversion() async throws {
        let path = "/v1/attribution/conversions/\(Self.conversion)"
        guard try await client.get(path).status == 404 else { return }
        _ = try await ask(
            "PUT", path,
            ["where": "type = track and name = chat_open", "repeat": "once_per_person", "preset": "lead_sale"])
    }

    private func recompute() async throws {
        _ = try await ask("POST", "/v1/attribution/recompute", ["reason": "the demo's start"])
    }

    private func isKnown(install id: String) async throws -> Bool {
        try await client.get("/v1/attribution/installs/\(id)").status == 200
    }

    // MARK: a short link

    /// Phones and a desk follow the link; some of the phones install the app from the store, which takes a while.
    private func followLink() async throws {
        let made = try await client.post("/v1/links", link)
        guard made.status == 201 || made.code == "slug_taken" else {
            throw DemoError.refused(status: made.status, code: made.code)
        }
        let ids = (0..<3).map { DemoPhones.id(seed, "link-\($0)") }
        if try await isKnown(install: ids[2]) { return }
        var clicks: [String] = []
        for agent in [DemoPhone.android, DemoPhone.iPhone, DemoPhone.android, DemoVisitor.desk, DemoPhone.android] {
            let visit = try await visitor.get("/l/\(Self.slug)", headers: [("User-Agent", agent)])
            guard visit.status == 302 else { throw DemoError.refused(status: visit.status, code: visit.code) }
            if agent == DemoPhone.android, let click = Self.click(visit.header("location")) { clicks.append(click) }
        }
        var random = SeededRandom(seed: seed)
        for (id, click) in zip(ids, clicks) {
            try await Task.sleep(for: .seconds(Double.random(in: 11...16, using: &random)))
            let referrer = JSONValue.string("aurum_click=\(click)")
            // What the app does when it is opened first: asks what the link promised, and reports itself.
            _ = try await client.post("/v1/links/resolve", ["referrer": referrer])
            let install: JSONValue = [
                "id": .string(id), "device_id": .string(id), "install_referrer": referrer,
                "context": ["platform": "android", "user_agent": .string(DemoPhone.android)],
            ]
            let sent = try await client.post("/v1/installs", install)
            guard sent.status == 202 else { throw DemoError.refused(status: sent.status, code: sent.code) }
        }
    }

    private var link: JSONValue {
        [
            "slug": .string(Self.slug), "web_url": .string(client.base + "/"),
            "ios": ["app": "525463029", "path": "/start"],
            "android": ["package": "com.example.solarhome", "path": "/start"],
            "campaign": ["name": "home-app-postcard", "source": "postcard", "medium": "print", "network": "post"],
            "payload": ["offer": "first month free"],
        ]
    }

    /// The click's id in the address of a store, where it stands inside the install referrer.
    private static func click(_ location: String?) -> String? {
        guard let text = location?.removingPercentEncoding, let name = text.range(of: "aurum_click=") else {
            return nil
        }
        let id = text[name.upperBound...].prefix { $0.isHexDigit }
        return id.count == 32 ? String(id) : nil
    }

    // MARK: conversions out

    /// A dry run first, as anybody would; in earnest once it has shown what would be sent.
    private func uploads() async throws {
        let listed = try await ask("GET", "/v1/uploads/destinations")["destinations"]?.array ?? []
        var dry: [String] = []
        for kind in FakeNetwork.Kind.allCases {
            let (id, isDry) = try await destination(kind, listed)
            // One that works already may rest after calls to where its network listened before.
            guard isDry else { continue }
            let test = try await ask("POST", "/v1/uploads/destinations/\(id)/test", [:])
            guard test["works"] == true else {
                throw DemoError.refused(status: 200, code: test["reason"]?.string ?? "")
            }
            dry.append(id)
        }
        for id in dry {
            try await poll("/v1/uploads/items?limit=1&destination=\(id)", within: Self.patienceForLeads) {
                $0["items"]?.array?.isEmpty == false
            }
            _ = try await ask("PATCH", "/v1/uploads/destinations/\(id)", ["dry_run": false])
        }
        // There are leads now.
        try await recompute()
    }

    /// The networks of this run listen elsewhere than those of the last one.
    /// - Returns: its id, and whether it is a dry run.
    private func destination(
        _ kind: FakeNetwork.Kind, _ listed: [JSONValue]
    ) async throws -> (id: String, isDry: Bool) {
        let name = JSONValue.string("Solar, \(kind.rawValue.capitalized)")
        var body: [String: JSONValue] = [
            "endpoint": .string(networks + (kind == .meta ? "/meta/v21.0" : "/google")),
            "credentials": ["access_token": .string(FakeNetwork.token)],
        ]
        let answer: JSONValue
        if let known = listed.first(where: { $0["name"] == name }), let id = known["id"]?.string {
            answer = try await ask("PATCH", "/v1/uploads/destinations/\(id)", .object(body))
        } else {
            body["name"] = name
            body["network"] = .string(kind.rawValue)
            body["account"] = kind == .meta ? "123456789012345" : "1234567890"
            body["conversions"] = kind == .meta ? ["sale": "Purchase", "lead": "Lead"] : ["sale": "987654321"]
            answer = try await ask("POST", "/v1/uploads/destinations", .object(body))
        }
        guard let id = answer["id"]?.string else { throw DemoError.refused(status: 200, code: "no id") }
        return (id, answer["dry_run"] == true)
    }

    // MARK: budgets

    /// What somebody set for a campaign stays as it is.
    private func budgets() async throws {
        let listed = try await ask("GET", "/v1/attribution/budgets")["budgets"]?.array ?? []
        let known = Set(listed.compactMap { $0["campaign"]?.string })
        for budget in Self.budgets where !known.contains(budget["campaign"]?.string ?? "") {
            _ = try await ask("PUT", "/v1/attribution/budgets", budget)
        }
    }

    /// Every day of the first costs more than 1.1 times its cap, and somebody allowed to pause it; of the second,
    /// advice is decided as a dry run; the third has bounds and nothing else.
    package static let budgets: [JSONValue] = [
        [
            "campaign": "homeowners-queens-video", "currency": "USD", "target_roas": 1.5, "cap_minor": 400,
            "may_pause": true, "dry_run": false,
        ],
        [
            "campaign": "nyc-solar-nonbrand", "currency": "USD", "target_roas": 2, "cap_minor": 4000,
            "floor_minor": 500, "auto": true, "dry_run": true,
        ],
        [
            "campaign": "nyc-solar-brand", "currency": "USD", "target_roas": 3, "cap_minor": 800, "floor_minor": 100,
        ],
    ]

    // MARK: asking

    /// - Throws: `DemoError.refused`, and when the server cannot be reached.
    private func ask(_ method: String, _ path: String, _ body: JSONValue? = nil) async throws -> JSONValue {
        let bytes = body.map { Array($0.canonical.utf8) }
        var answer = try await client.send(method, path, body: bytes)
        // Whoever looks at the pages meanwhile asks too, and the server answers so many at a time.
        for _ in 0..<Self.triesMax where answer.status == 429 {
            let seconds = min(answer.header("retry-after").flatMap { Int($0) } ?? 1, 10)
            try await Task.sleep(for: .seconds(max(1, seconds)))
            answer = try await client.send(method, path, body: bytes)
        }
        guard (200..<300).contains(answer.status) else {
            throw DemoError.refused(status: answer.status, code: answer.code)
        }
        return answer.json
    }

    /// Asks until the answer is the one that is wanted; an answer that is none yet is asked for again.
    /// - Throws: `DemoError.late`.
    private func poll(_ path: String, within time: Duration, _ holds: (JSONValue) -> Bool) async throws {
        let deadline = ContinuousClock.now + time
        while true {
            let answer = try await client.get(path)
            if answer.status == 200, holds(answer.json) { return }
            guard ContinuousClock.now < deadline else { throw DemoError.late(path) }
            try await Task.sleep(for: .milliseconds(500))
        }
    }
}
