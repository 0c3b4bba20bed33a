internal import Accounts
internal import AurumCore
internal import Events
internal import Foundation
internal import Gateway
internal import HTTPTypes
internal import Telemetry
internal import TestSupport
import Testing

/// Every capture route as a client sees it.
struct CaptureRouteTests {
    @Test func `every route is in the document and every documented route exists`() async throws {
        let capture = try await CaptureHarness()
        #expect(capture.book.differences.isEmpty, "\(capture.book.differences)")
        let documented = Set(capture.book.entries.map { "\($0.method) \($0.path)" })
        let contract =
            [
                "/v1/events", "/v1/installs", "/v1/track", "/v1/identify", "/v1/page", "/v1/screen", "/v1/group",
                "/v1/alias", "/v1/batch", "/v1/t", "/v1/i", "/v1/p", "/v1/s", "/v1/g", "/v1/a", "/v1/b",
                "/beacon/v1/batch", "/batch/", "/capture/", "/i/v0/e/", "/e/", "/flags/", "/decide/", "/mp/collect",
                "/debug/mp/collect",
            ].map { "POST \($0)" } + ["GET /v1/px.gif", "GET /v1/click"]
            + [
                "GET /l/{slug}", "GET /v1/links", "POST /v1/links", "GET /v1/links/{slug}", "DELETE /v1/links/{slug}",
                "POST /v1/links/resolve", "GET /.well-known/apple-app-site-association",
                "GET /.well-known/assetlinks.json",
            ]
        #expect(documented.symmetricDifference(contract).isEmpty, "\(documented.symmetricDifference(contract))")
        await capture.log.close()
    }

    @Test func `Segment and RudderStack share their paths and get their own answers`() async throws {
        let capture = try await CaptureHarness()
        let key = try await capture.key()
        let basic = ["Authorization": "Basic " + Data("\(key):".utf8).base64EncodedString()]
        let segment = try await capture.post("/v1/t", #"{"event":"S","userId":"u","messageId":"1"}"#, basic)
        #expect(segment.status == 200 && segment.json["success"] == true)
        #expect(segment.receipt != nil && segment.json["receipt"]?.string == segment.receipt)
        let byKey = try await capture.post(
            "/v1/batch", "{\"batch\":[{\"type\":\"track\",\"event\":\"K\",\"userId\":\"u\"}],\"writeKey\":\"\(key)\"}",
            ["Content-Type": "text/plain"])
        #expect(byKey.status == 200 && byKey.json["success"] == true)
        let rudder: [(String, String, [String: String])] = [
            ("/v1/track", #"{"event":"R1","userId":"u","channel":"server"}"#, basic),
            ("/v1/batch", #"{"batch":[{"type":"track","event":"R2","userId":"u","channel":"web"}]}"#, basic),
            ("/v1/track", #"{"event":"R3","userId":"u"}"#, basic.merging(["AnonymousId": "YQ=="]) { $1 }),
            ("/v1/track", #"{"event":"R4","userId":"u"}"#, basic.merging(["User-Agent": "RudderAndroid/1"]) { $1 }),
            ("/beacon/v1/batch?writeKey=\(key)", #"{"batch":[{"type":"track","event":"R5","userId":"u"}]}"#, [:]),
        ]
        for (path, body, headers) in rudder {
            let answer = try await capture.post(path, body, headers)
            #expect(answer.status == 200 && answer.text == "OK" && answer.receipt != nil, "\(path) \(answer.text)")
        }
        let events = try await capture.events()
        #expect(events.map(\.name) == ["S", "K", "R1", "R2", "R3", "R4", "R5"])
        #expect(events.map(\.format) == ["segment", "segment"] + Array(repeating: "rudder", count: 5))
        await capture.log.close()
    }

    @Test func `PostHog's routes take every form of body, with and without a slash`() async throws {
        let capture = try await CaptureHarness()
        let key = try await capture.siteKey()
        func event(_ id: String) -> String {
            "{\"event\":\"E\",\"distinct_id\":\"d\",\"uuid\":\"\(id)\",\"properties\":{\"token\":\"\(key)\"}}"
        }
        let base64 = Data(event("4").utf8).base64EncodedString().addingPercentEncoding(
            withAllowedCharacters: .alphanumerics)
        let rows: [(path: String, body: [UInt8], headers: [String: String])] = [
            ("/batch/", Array("{\"batch\":[\(event("1"))],\"api_key\":\"\(key)\"}".utf8), [:]),
            ("/capture", Array(event("2").utf8), [:]),
            (
                "/e/?ip=1&_=1795262400000&ver=1&compression=gzip-js", gzip(Array("[\(event("3"))]".utf8)),
                ["Content-Type": "text/plain"]
            ),
            (
                "/i/v0/e/?compression=base64", Array("data=\(base64 ?? "")".utf8),
                ["Content-Type": "application/x-www-form-urlencoded", "Origin": CaptureHarness.origin]
            ),
            ("/i/v0/e", gzip(Array(event("5").utf8)), ["Content-Encoding": "gzip"]),
            (
                "/batch", zstd(Array("{\"batch\":[\(event("6"))],\"token\":\"\(key)\"}".utf8)),
                ["Content-Encoding": "zstd"]
            ),
        ]
        for row in rows {
            let answer = try await capture.call(.post, row.path, row.body, row.headers)
            #expect(answer.status == 200 && answer.text == #"{"status":"Ok"}"#, "\(row.path): \(answer.text)")
            #expect(answer.receipt?.hasPrefix("rcp_") == true)
        }
        let events = try await capture.events()
        #expect(events.map(\.id) == ["1", "2", "3", "4", "5", "6"])
        #expect(events.allSatisfy { !$0.raw.contains(key) })
        for path in ["/flags/?v=4", "/decide", "/flags"] {
            let flags = try await capture.post(path, #"{"distinct_id":"d","api_key":"any"}"#)
            #expect(flags.status == 200 && flags.text == #"{"errorsWhileComputingFlags":false,"flags":{}}"#)
        }
        await capture.log.close()
    }

    @Test func `a batch of quarantined events is still a success, and its receipt tells`() async throws {
        let capture = try await CaptureHarness()
        let key = try await capture.key(scopes: [.eventsWrite, .eventsRead])
        let answer = try await capture.post("/batch/", "{\"api_key\":\"\(key)\",\"batch\":[7,{}]}")
        #expect(answer.status == 200 && answer.text == #"{"status":"Ok"}"#)
        let receipt = try #require(try await capture.log.store.receipt(answer.receipt ?? "", org: "acme"))
        #expect(receipt.counts.quarantined == 2 && receipt.format == "posthog")
        await capture.log.close()
    }

    @Test func `the Measurement Protocol answers without a body, and its debug route stores nothing`() async throws {
        let capture = try await CaptureHarness(settings: AppCaptureSettings(defaultCurrency: "EUR"))
        let key = try await capture.key()
        let query = "measurement_id=G-1&api_secret=\(key)"
        let body = #"{"client_id":"c","events":[{"name":"purchase","params":{"value":3,"transaction_id":"t"}}]}"#
        let debug = try await capture.post("/debug/mp/collect?\(query)", body)
        #expect(debug.status == 200 && debug.json["validationMessages"] == [])
        let wrong = try await capture.post("/debug/mp/collect?\(query)", #"{"events":[{"name":"x"}]}"#)
        #expect(wrong.json["validationMessages"]?.array?.first?["validationCode"] == "VALUE_REQUIRED")
        #expect(try await capture.events().isEmpty)
        let answer = try await capture.post("/mp/collect?\(query)", body)
        #expect(answer.status == 204 && answer.text.isEmpty && answer.receipt != nil)
        let event = try #require(try await capture.events().first)
        #expect(event.type == .conversion && event.value?.decimal == "3" && event.orderID == "t")
        #expect(event.currency == "EUR", "the app's own currency")
        let unknown = try await capture.post("/mp/collect?measurement_id=G-1", body)
        #expect(unknown.status == 401 && unknown.code == "unknown_key")
        await capture.log.close()
    }

    @Test func `the pixel answers 43 bytes and stores what stands in its query`() async throws {
        let capture = try await CaptureHarness()
        let key = try await capture.siteKey()
        let answer = try await capture.get(
            "/v1/px.gif?k=\(key)&anonymous_id=v1&utm_source=mail&utm_medium=email&creative_id=c1",
            ["Referer": "https://news.example/today", "User-Agent": "Mozilla/5.0 (X11)", "Sec-GPC": "1"])
        #expect(answer.status == 200 && answer.body.count == 43 && answer.text.hasPrefix("GIF89a"))
        #expect(answer.header("Content-Type") == "image/gif" && answer.header("Cache-Control") == "no-store")
        #expect(answer.receipt != nil)
        let event = try #require(try await capture.events().first)
        #expect(event.type == .impression && event.url == "https://news.example/today" && event.channel == .email)
        #expect(event.campaign.creativeID == "c1" && event.consent == ["gpc": true])
        let click = try await capture.get("/v1/px.gif?k=\(key)&t=click&click_id=x")
        #expect(click.status == 200)
        #expect(try await capture.events().map(\.type) == [.impression, .click])
        let wrong = try await capture.get("/v1/px.gif?k=\(key)&t=page")
        #expect(wrong.status == 400 && wrong.code == "bad_query")
        #expect(try await capture.get("/v1/px.gif?anonymous_id=a").status == 401)
        let long = try await capture.get("/v1/px.gif?k=\(key)&a=" + String(repeating: "x", count: 8 << 10))
        #expect(long.status == 413 && long.code == "body_too_large")
        await capture.log.close()
    }

    @Test func `a click is stored and led on with its id`() async throws {
        let capture = try await CaptureHarness(settings: AppCaptureSettings(allowedHosts: ["*.partner.example"]))
        let key = try await capture.siteKey()
        let server = try await capture.key()
        let to = "https%3A%2F%2Fwww.shop.example%2Fp%3Fx%3D1%23top"
        let answer = try await capture.get("/v1/click?k=\(key)&to=\(to)&campaign=spring&network=partner")
        #expect(answer.status == 302 && answer.receipt != nil)
        let event = try #require(try await capture.events().first)
        let clickID = try #require(event.clickID)
        #expect(answer.header("Location") == "https://www.shop.example/p?x=1&aurum_click=\(clickID)#top")
        #expect(event.type == .click && event.campaign.name == "spring" && event.format == "click")
        #expect(event.url == answer.header("Location"))
        // A server's key of the same app may lead to the site's host as well; settings may add hosts.
        let own = try await capture.get("/v1/click?k=\(server)&to=\(to)&click_id=mine&value=0.25&currency=USD")
        #expect(own.header("Location")?.contains("aurum_click=mine") == true)
        #expect(try await capture.events().last?.value?.decimal == "0.25")
        let partner = try await capture.get("/v1/click?k=\(key)&to=http://a.partner.example/")
        #expect(partner.status == 302)
        await capture.log.close()
    }

    @Test(arguments: [
        "https://evil.example/", "//www.shop.example/", "https://www.shop.example@evil.example/", "javascript:alert(1)",
        "https://www.shop.example.evil.example/", "",
    ])
    func `a click to any other host is stored but not led on`(to: String) async throws {
        let capture = try await CaptureHarness()
        let key = try await capture.siteKey()
        let escaped = to.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
        let answer = try await capture.get("/v1/click?k=\(key)&to=\(escaped)")
        #expect(answer.status == 400 && answer.code == "redirect_not_allowed")
        #expect(answer.header("Location") == nil && answer.receipt != nil)
        #expect(try await capture.events().map(\.type) == [.click])
        await capture.log.close()
    }

    @Test func `a click that the log refuses is led on and counted`() async throws {
        let capture = try await CaptureHarness()
        let key = try await capture.siteKey()
        await capture.log.close()
        let answer = try await capture.get("/v1/click?k=\(key)&to=https://www.shop.example/")
        #expect(answer.status == 302 && answer.receipt == nil)
        #expect(answer.header("Location")?.hasPrefix("https://www.shop.example/?aurum_click=") == true)
        #expect(capture.registry.counter(.clicksUnrecorded).value == 1)
        let refused = try await capture.get("/v1/click?k=\(key)&to=https://evil.example/")
        #expect(refused.status == 503 && refused.code == "log_failed")
    }

    @Test func `an install comes from a server, once`() async throws {
        let capture = try await CaptureHarness()
        let server = try await capture.key()
        let body = #"{"id":"i1","device_id":"d","install_referrer":"utm_source=x","context":{"platform":"ios"}}"#
        let answer = try await capture.post("/v1/installs", body, key: server)
        #expect(answer.status == 202 && answer.json["stored"] == 1 && answer.json["receipt"]?.string == answer.receipt)
        let event = try #require(try await capture.events().first)
        #expect(event.type == .install && event.deviceID == "d" && event.format == "install")
        #expect(try await capture.post("/v1/installs", body, key: server).json["duplicate"] == 1)
        let page = try await capture.post("/v1/installs", body, key: try await capture.siteKey())
        #expect(page.status == 403 && page.code == "scope_missing")
        let array = try await capture.post("/v1/installs", "[\(body)]", key: server)
        #expect(array.status == 400 && array.code == "malformed_body")
        let nobody = try await capture.post("/v1/installs", #"{"id":"i2"}"#, key: server)
        #expect(nobody.status == 202 && nobody.json["quarantined"] == 1)
        await capture.log.close()
    }

    @Test func `what a sender says of its time, size and number of events is held to bounds`() async throws {
        let capture = try await CaptureHarness(ratePerSecond: 10)
        let key = try await capture.siteKey()
        let server = try await capture.key()
        let event = "{\"api_key\":\"\(server)\",\"event\":\"E\",\"distinct_id\":\"d\"}"
        for moment in ["9223372036854775807", "-9223372036854775808", "99999999999999999999"] {
            #expect(try await capture.post("/e/?_=\(moment)", event).status == 200, "\(moment)")
        }
        let shared = String(repeating: "x", count: 30_000)
        let events = Array(repeating: "{\"name\":\"a\"}", count: 2500).joined(separator: ",")
        let grown = try await capture.post(
            "/mp/collect?measurement_id=G-1&api_secret=\(server)",
            "{\"client_id\":\"c\",\"x\":\"\(shared)\",\"events\":[\(events)]}")
        #expect(grown.status == 413, "75 MB of lines out of 70 KB")
        let line = "{\"type\":\"track\",\"name\":\"a\",\"anonymous_id\":\"a\"}"
        let many = "[" + Array(repeating: line, count: 50).joined(separator: ",") + "]"
        let headers = ["Content-Type": "application/json", "Origin": CaptureHarness.origin]
        let first = try await capture.call(.post, "/v1/events", Array(many.utf8), headers, key: key)
        #expect(first.status == 202 && first.json["received"] == 50, "\(first.text)")
        let second = try await capture.call(.post, "/v1/events", Array("[\(line)]".utf8), headers, key: key)
        #expect(second.status == 429, "fifty events on one line are fifty events")
        await capture.log.close()
    }

    @Test func `browsers are told which origins may send`() async throws {
        let capture = try await CaptureHarness()
        let key = try await capture.siteKey()
        for path in [
            "/v1/events", "/v1/batch", "/beacon/v1/batch", "/batch/", "/e", "/i/v0/e/", "/flags/", "/mp/collect",
        ] {
            let allowed = try await capture.call(.options, path, [], ["Origin": CaptureHarness.origin])
            #expect(allowed.status == 204, "\(path)")
            #expect(allowed.header("Access-Control-Allow-Origin") == CaptureHarness.origin)
            #expect(allowed.header("Access-Control-Allow-Headers")?.contains("content-type") == true)
            let refused = try await capture.call(.options, path, [], ["Origin": "https://evil.example"])
            #expect(refused.status == 403 && refused.header("Access-Control-Allow-Origin") == nil)
        }
        let body = "{\"api_key\":\"\(key)\",\"event\":\"E\",\"distinct_id\":\"d\"}"
        let good = try await capture.post("/e/", body, ["Origin": CaptureHarness.origin])
        #expect(good.status == 200 && good.header("Access-Control-Allow-Origin") == CaptureHarness.origin)
        #expect(good.header("Access-Control-Expose-Headers")?.contains("Aurum-Receipt") == true)
        await capture.log.close()
    }

    /// A browser hides what lacks the headers: the page would take it for a network that failed, and try for ever.
    @Test func `pages of other origins may read what capture refuses`() async throws {
        let capture = try await CaptureHarness(ratePerSecond: 2)
        let key = try await capture.siteKey()
        let origin = ["Origin": CaptureHarness.origin]
        func expectReadable(_ answer: CaptureHarness.Answer, _ status: Int, _ place: String) {
            #expect(answer.status == status, "\(place): \(answer.text)")
            #expect(answer.header("Access-Control-Allow-Origin") == CaptureHarness.origin, "\(place)")
            #expect(answer.header("Access-Control-Expose-Headers")?.contains("Retry-After") == true, "\(place)")
            #expect(answer.header("Vary") == "Origin", "\(place)")
        }
        for path in ["/v1/events", "/v1/batch", "/batch/", "/mp/collect", "/v1/installs"] {
            expectReadable(try await capture.post(path, "{}", origin, key: "wk_unknown"), 401, path)
        }
        let picture = try await capture.call(.get, "/v1/px.gif?k=wk_unknown", [], origin)
        expectReadable(picture, 401, "/v1/px.gif")
        let large = [UInt8](repeating: 0x20, count: EventLimits().bodyBytesMax + 1)
        expectReadable(try await capture.call(.post, "/v1/events", large, origin, key: key), 413, "too large")
        var last: CaptureHarness.Answer?
        for _ in 0..<50 where last?.status != 429 {
            last = try await capture.post("/v1/events", "{}", origin, key: key)
        }
        let refused = try #require(last)
        expectReadable(refused, 429, "over the rate")
        #expect(refused.header("Retry-After") != nil)
        // Other routes are for pages of this server alone, and so are other methods of the same path.
        let links = try await capture.call(.get, "/v1/links", [], origin)
        #expect(links.status == 401 && links.header("Access-Control-Allow-Origin") == nil)
        let plain = try await capture.post("/v1/events", "{}", key: "wk_unknown")
        #expect(plain.status == 401 && plain.header("Access-Control-Allow-Origin") == nil)
        await capture.log.close()
    }
}
