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

/// Short links over the real routes: click, redirect, install, payload, purchase, report.
struct LinkRouteTests {
    private static let phone =
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        + "Version/18.0 Mobile/15E148 Safari/604.1"
    private static let android =
        "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) "
        + "Chrome/131.0 Mobile Safari/537.36"
    private static let desktop =
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36"

    private struct Shop {
        let harness: CaptureHarness
        let installs: InstallAttribution
        let writer: String
        let editor: String
        let reader: String
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

        init() async throws {
            var apps = AppSettings()
            apps.iosApps = ["ABCDE12345.com.example.shop"]
            apps.androidApps = [.init(name: "com.example.shop", fingerprints: ["AA:BB"])]
            let settings = [apps]
            let quiet = quiet
            let harness = try await CaptureHarness(
                settings: AppCaptureSettings(allowedHosts: ["www.shop.example", "go.shop.example"]),
                linkApps: settings)
            self.harness = harness
            installs = InstallAttribution(
                database: harness.open.database, source: harness.log.store, log: harness.log.store.logIdentity,
                clock: harness.clock, registry: harness.registry, logger: quiet)
            writer = try await harness.key(scopes: [.eventsWrite])
            editor = try await harness.key(scopes: [.campaignsWrite])
            reader = try await harness.key(scopes: [.analyticsRead])
        }

        func make(
            _ members: [String: JSONValue] = [:], once: String? = nil
        ) async throws -> CaptureHarness.Answer {
            var body: [String: JSONValue] = [
                "slug": "spring", "web_url": "https://www.shop.example/spring?a=1#top",
                "ios": ["app": "525463029", "path": "/offer/7"],
                "android": ["package": "com.example.shop", "path": "/offer/8"],
                "campaign": ["name": "spring", "network": "letter", "source": "news", "medium": "email"],
                "payload": ["coupon": "SPRING"],
            ]
            body.merge(members) { $1 }
            return try await send("/v1/links", .object(body.filter { $0.value != .null }), key: editor, once: once)
        }

        func send(
            _ path: String, _ body: JSONValue, key: String, once: String? = nil
        ) async throws -> CaptureHarness.Answer {
            var headers = ["content-type": "application/json"]
            headers["Idempotency-Key"] = once
            return try await harness.post(path, body.canonical, headers, key: key)
        }

        func resolve(_ members: JSONValue) async throws -> CaptureHarness.Answer {
            try await send("/v1/links/resolve", members, key: writer)
        }

        /// Follows a link; the address that it leads to and the click id in it.
        func visit(_ path: String, agent: String) async throws -> (location: String, click: String) {
            let answer = try await harness.get(path, ["user-agent": agent])
            #expect(answer.status == 302 && answer.receipt != nil, "\(answer.status) \(answer.text)")
            let location = answer.header("Location") ?? ""
            let plain = location.removingPercentEncoding ?? ""
            let rest = plain.components(separatedBy: "aurum_click=").dropFirst().first ?? ""
            return (location, String(rest.prefix { $0.isHexDigit }))
        }

        func report(_ installs: InstallAttribution) async throws -> JSONValue {
            let store = harness.log.store
            var attribution = LogAttribution(
                database: harness.open.database, source: store, persons: { store.persons(org: $0) },
                folder: harness.folder.file("runs"), clock: harness.clock, registry: harness.registry, logger: quiet)
            attribution.joined = { try await installs.joined(org: $0, from: $1, to: $2) }
            _ = try await attribution.run(
                LogAttribution.Wish(conversion: "purchase"), org: "acme", id: UID(now: harness.clock.now))
            return try await attribution.report(
                org: "acme", conversion: "purchase", model: .rule(.last), by: .campaign)
        }
    }

    @Test func `click, redirect, install, payload, purchase and report on iOS, Android and the web`() async throws {
        let shop = try await Shop()
        #expect(try await shop.make().status == 201)
        let ios = try await shop.visit("/l/spring?device_id=IPHONE-1", agent: Self.phone)
        #expect(ios.location.hasPrefix("https://apps.apple.com/app/id525463029?aurum_click="), "\(ios.location)")
        let play = try await shop.visit("/l/spring", agent: Self.android)
        #expect(
            play.location.hasPrefix(
                "https://play.google.com/store/apps/details?id=com.example.shop&referrer=aurum_click"),
            "\(play.location)")
        #expect(play.location.removingPercentEncoding?.contains("utm_campaign=spring") == true)
        let web = try await shop.visit("/l/spring", agent: Self.desktop)
        let told = "utm_source=news&utm_medium=email&utm_campaign=spring"
        #expect(web.location == "https://www.shop.example/spring?a=1&\(told)&aurum_click=\(web.click)#top")

        shop.harness.clock.advance(by: .seconds(60))
        let at = shop.harness.clock.now.milliseconds
        let referrer = "aurum_click=\(play.click)&utm_source=news"
        let events: [JSONValue] = [
            ["type": "install", "id": "i-ios", "device_id": "iphone-1", "ts": .integer(at)],
            [
                "type": "install", "id": "i-play", "device_id": "pixel-1", "install_referrer": .string(referrer),
                "ts": .integer(at),
            ],
            [
                "type": "page", "id": "page", "anonymous_id": "web-1", "url": .string(web.location),
                "ts": .integer(at),
            ],
            [
                "type": "conversion", "name": "purchase", "id": "p1", "device_id": "iphone-1", "value": 10,
                "currency": "USD", "ts": .integer(at + 1),
            ],
            [
                "type": "conversion", "name": "purchase", "id": "p2", "device_id": "pixel-1", "value": 10,
                "currency": "USD", "ts": .integer(at + 1),
            ],
            [
                "type": "conversion", "name": "purchase", "id": "p3", "anonymous_id": "web-1", "value": 10,
                "currency": "USD", "ts": .integer(at + 1),
            ],
        ]
        shop.harness.clock.advance(by: .seconds(1))
        let body = events.map(\.canonical).joined(separator: "\n")
        let sent = try await shop.harness.post(
            "/v1/events", body, ["content-type": "application/x-ndjson"], key: shop.writer)
        #expect(sent.status == 202 && sent.json["quarantined"] == 0, "\(sent.text)")
        for (question, path) in [
            (["device_id": "IPHONE-1"], "/offer/7"), (["referrer": .string(referrer)], "/offer/8"),
        ] as [(JSONValue, String)] {
            let first = try await shop.resolve(question)
            #expect(first.status == 200 && first.json["payload"]?["coupon"] == "SPRING", "\(first.text)")
            #expect(first.json["path"]?.string == path && first.json["campaign"]?["name"] == "spring")
            let second = try await shop.resolve(question)
            #expect(second.status == 409 && second.code == "already_resolved")
        }
        try await InstallFollower(shop.installs).catchUp()
        for (id, method) in [("i-ios", "device_id"), ("i-play", "install_referrer")] {
            let found = try await shop.installs.install(org: "acme", id: id)
            #expect(found?["method"]?.string == method && found?["campaign"] == "spring", "\(found?.canonical ?? "")")
            #expect(found?["network"] == "letter")
        }
        let report = try await shop.report(shop.installs)
        let lines = report["lines"]?.array ?? []
        #expect(lines.first { $0["key"] == "spring" }?["conversions"]?.double == 3, "\(report.canonical)")
        await shop.harness.log.close()
    }

    @Test func `a click's payload is given for a day, and expired links lead to the web alone`() async throws {
        let shop = try await Shop()
        let soon = shop.harness.clock.now + .seconds(3600)
        _ = try await shop.make(["expires": .string(soon.rfc3339)])
        let click = try await shop.visit("/l/spring", agent: Self.android).click
        let late = try await shop.visit("/l/spring", agent: Self.android).click
        shop.harness.clock.advance(by: .seconds(3600))
        let expired = try await shop.harness.get("/l/spring", ["user-agent": Self.android])
        #expect(expired.status == 302 && expired.receipt == nil)
        #expect(expired.header("Location") == "https://www.shop.example/spring?a=1#top")
        shop.harness.clock.advance(by: .seconds(23 * 3600))
        #expect(try await shop.resolve(["click_id": .string(click)]).status == 200)
        shop.harness.clock.advance(by: .milliseconds(1))
        let answer = try await shop.resolve(["click_id": .string(late)])
        #expect(answer.status == 410 && answer.code == "link_click_expired")
        let unknown = try await shop.resolve(["click_id": "nobody"])
        #expect(unknown.status == 404 && unknown.code == "link_click_unknown")
        for body in [[:], ["device_id": "00000000-0000-0000-0000-000000000000"], ["referrer": "utm_source=x"]]
            as [JSONValue]
        {
            #expect(try await shop.resolve(body).status == 422)
        }
        await shop.harness.log.close()
    }

    @Test func `a link that leads to a link is refused, when it is made and when it is followed`() async throws {
        let shop = try await Shop()
        _ = try await shop.make()
        for (slug, target) in [
            ("again", "https://www.shop.example/l/spring"), ("own", "https://www.shop.example/l/own"),
            ("dots", "https://go.shop.example//l/./spring/"), ("escape", "https://go.shop.example/%6C/spring?x=1"),
        ] {
            let answer = try await shop.make(["slug": .string(slug), "web_url": .string(target)])
            #expect(answer.status == 409 && answer.code == "redirect_loop", "\(target) \(answer.text)")
        }
        // Two links that were made for each other before either was there: the second visit ends it.
        let here = try await shop.make(["slug": "one", "web_url": "https://go.shop.example/l/two", "ios": .null])
        #expect(here.status == 201)
        let first = try await shop.visit("/l/one", agent: Self.desktop)
        _ = try await shop.make(["slug": "two"])
        let path = first.location.replacing("https://go.shop.example", with: "")
        let second = try await shop.harness.get(path, ["user-agent": Self.desktop])
        #expect(second.status == 409 && second.code == "redirect_loop" && second.receipt == nil)
        await shop.harness.log.close()
    }

    @Test func `what is wrong with a link is named, and nothing is stored`() async throws {
        let shop = try await Shop()
        let large = String(repeating: "x", count: 2048)
        for (members, field) in [
            (["web_url": "javascript:alert(1)"], "web_url"), (["web_url": "https://evil.example/"], "web_url"),
            (["web_url": "https://www.shop.example@evil.example/"], "web_url"), (["slug": "A"], "slug"),
            (["slug": "resolve"], "slug"), (["ios": ["app": "shop"]], "ios"),
            (["android": ["package": "shop"]], "android"),
            (["android": ["package": "a.b", "path": "x"]], "android.path"),
            (["payload": ["x": .string(large)]], "payload"), (["payload": "x"], "payload"),
            (["campaign": ["colour": "red"]], "campaign.colour"), (["expires": "2020-01-01"], "expires"),
            (["colour": "red"], "colour"),
        ] as [([String: JSONValue], String)] {
            let answer = try await shop.make(members)
            #expect(answer.status == 422, "\(field) \(answer.text)")
            #expect(answer.json["problems"]?.array?.first?["field"]?.string == field, "\(answer.text)")
        }
        #expect(try await shop.harness.call(.get, "/v1/links", key: shop.reader).json["links"] == [])
        #expect(try await shop.harness.get("/l/spring").status == 404)
        let refused = try await shop.send("/v1/links", [:], key: shop.reader)
        #expect(refused.status == 403 && refused.code == "scope_missing")
        await shop.harness.log.close()
    }

    @Test func `links are listed, shown to their organisation alone, taken once and removed`() async throws {
        let shop = try await Shop()
        _ = try await shop.make()
        let taken = try await shop.make()
        #expect(taken.status == 409 && taken.code == "slug_taken")
        let made = try await shop.make(["slug": .null])
        let slug = made.json["slug"]?.string ?? ""
        #expect(made.status == 201 && slug.utf8.count == 10)
        let list = try await shop.harness.call(.get, "/v1/links?limit=1", key: shop.reader)
        #expect(list.json["links"]?.array?.count == 1 && list.json["next"]?.string != nil)
        let next = list.json["next"]?.string ?? ""
        let rest = try await shop.harness.call(.get, "/v1/links?limit=10&after=\(next)", key: shop.reader)
        #expect(rest.json["links"]?.array?.count == 1 && rest.json["next"] == .null)
        let one = try await shop.harness.call(.get, "/v1/links/spring", key: shop.reader)
        #expect(one.json["payload"]?["coupon"] == "SPRING" && one.json["path"] == "/l/spring")
        let rival = try await shop.harness.keys.create(
            KeyRequest(org: "rival", app: "shop", kind: .server, scopes: [.analyticsRead, .campaignsWrite]))
        for method in [HTTPRequest.Method.get, .delete] {
            let answer = try await shop.harness.call(method, "/v1/links/spring", key: rival.text.exposed)
            #expect(answer.status == 404 && answer.code == "link_unknown")
        }
        #expect(try await shop.harness.call(.delete, "/v1/links/spring", key: shop.editor).status == 204)
        #expect(try await shop.harness.get("/l/spring").status == 404)
        await shop.harness.log.close()
    }

    @Test func `a link that is asked for again with its key is made once, and the key serves no other`() async throws {
        let shop = try await Shop()
        let first = try await shop.make(["slug": .null], once: "order-7")
        let again = try await shop.make(["slug": .null], once: "order-7")
        #expect(first.status == 201 && again.status == 201 && again.json == first.json, "\(again.text)")
        let other = try await shop.make(["slug": "autumn"], once: "order-7")
        #expect(other.status == 409 && other.code == "idempotency_key_reused", "\(other.text)")
        let long = try await shop.make(["slug": .null], once: String(repeating: "k", count: 201))
        #expect(long.status != 201 && long.text.contains("Idempotency-Key"), "\(long.text)")
        let next = try await shop.make(["slug": .null])
        #expect(next.status == 201 && next.json["slug"] != first.json["slug"])
        let list = try await shop.harness.call(.get, "/v1/links", key: shop.reader)
        #expect(list.json["links"]?.array?.count == 2)
        await shop.harness.log.close()
    }

    @Test func `who only looks clicks on nothing, and the stores find the apps`() async throws {
        let shop = try await Shop()
        _ = try await shop.make()
        let head = try await shop.harness.call(.head, "/l/spring", [], ["user-agent": Self.phone])
        #expect(head.status == 302 && head.receipt == nil)
        #expect(try await shop.harness.events().isEmpty)
        let apple = try await shop.harness.get("/.well-known/apple-app-site-association").json
        let detail = apple["applinks"]?["details"]?.array?.first
        #expect(detail?["appIDs"] == ["ABCDE12345.com.example.shop"] && detail?["paths"] == ["/l/*"])
        let google = try await shop.harness.get("/.well-known/assetlinks.json").json
        #expect(google.array?.first?["target"]?["package_name"] == "com.example.shop")
        // A stranger cannot say when the click was, or whose it is to be.
        _ = try await shop.visit("/l/spring?id=forged&ts=1&campaign=other&link=other", agent: Self.desktop)
        let event = try await shop.harness.events().first
        #expect(event?.id != "forged" && event?.campaign.name == "spring" && event?.props?["link"] == "spring")
        #expect(event?.at.milliseconds == shop.harness.clock.now.milliseconds)
        await shop.harness.log.close()
    }
}
