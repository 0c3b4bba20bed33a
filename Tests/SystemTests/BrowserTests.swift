import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// The pages in a real browser: chat to a sold lead, then read the dollar.
@Suite(.serialized) struct BrowserTests {
    private static let environment = ["AURUM_LOG_LEVEL": "error", "AURUM_CHAT_MESSAGES_PER_TEN_SECONDS": "100"]

    /// Where screenshots go when somebody wants to look at them.
    private static let pictures = ProcessInfo.processInfo.environment["TEST_SCREENSHOTS"]

    private func picture(_ browser: WebDriver, _ name: String) async throws {
        guard let folder = Self.pictures else { return }
        try await browser.screenshot(to: "\(folder)/\(name).png")
    }

    private func registerBuyers(_ admin: TestClient, at base: String, _ codes: [String]) async throws {
        for code in codes {
            let buyer: JSONValue = [
                "code": .string(code), "name": .string(code.capitalized), "state": "active",
                "ping": .string("\(base)/\(code)/ping"), "post": .string("\(base)/\(code)/post"),
                "leadTypes": ["rooftop"], "exclusive": true, "maxLegs": 1, "timeZone": "America/New_York",
                "currency": "USD", "reservePrice": "20.00", "caps": [["unit": "day", "limit": 50]],
                "returnWindowDays": 14,
            ]
            let answer = try await admin.call(
                "PUT", "/v1/buyers/\(code)", Array(buyer.canonical.utf8), ["content-type": "application/json"])
            #expect(answer.status == 200, "\(answer.text)")
        }
    }

    private func say(_ browser: WebDriver, _ text: String) async throws {
        let before = try await browser.run("return document.querySelectorAll('.msg.bot').length").integer ?? 0
        try await browser.run(
            """
            const field = document.getElementById('chat-text');
            field.value = arguments[0];
            field.dispatchEvent(new Event('input', {bubbles: true}));
            document.getElementById('chat-form').requestSubmit();
            """, [.string(text)])
        try await browser.wait(
            for: "an answer to \(text)", "return document.querySelectorAll('.msg.bot').length > arguments[0]",
            [.integer(before)])
    }

    @Test func `a visitor chats to a sold lead, and the dashboard explains the dollar`() async throws {
        try await FakesServer.withRunning(buyers: FakesServer.demoBuyers) { fakes, base in
            let server = SpawnedServer(executable: AurumBinary.path, environment: Self.environment)
            let target = try await server.start()
            let admin = TestClient(url: target.url, key: target.adminToken)
            try await registerBuyers(admin, at: base, fakes.buyers.map(\.code))
            let token = try #require(
                await server.output.split(separator: "\n").first { $0.contains("Admin token") }?.split(separator: " ")
                    .last)

            let browser = try await WebDriver.start()
            try await chatToTheEnd(browser, target.url)
            let sold = try await soldLead(admin)
            let accepted = fakes.buyers.flatMap(\.book)
            #expect(accepted.count == 1)
            #expect(accepted.first.map { Int64($0.priceCents) } == sold["price_minor"]?.integer)

            try await dashboard(browser, target.url, String(token), sold)
            #expect(try await browser.consoleProblems() == [])
            await browser.stop()
            await server.stop()
        }
    }

    private func chatToTheEnd(_ browser: WebDriver, _ url: String) async throws {
        try await browser.open(url + "/?utm_source=google&utm_medium=cpc&utm_campaign=brooklyn-solar&gclid=test-click")
        try await browser.wait(for: "the assistant", "return document.querySelectorAll('.msg.bot').length > 0")
        try await picture(browser, "landing")
        for text in ["I own it", "one family house", "11215", "$320"] { try await say(browser, text) }
        let words = try await browser.run("return document.querySelectorAll('.msg.me').length").integer
        #expect(words == 4)
        try await browser.open(url + "/")
        try await browser.wait(
            for: "the resumed conversation", "return document.querySelectorAll('.msg.me').length === 4")
        for text in [
            "pitched shingle", "no shade", "within 3 months", "cash", "just me",
            "Ana Diaz, 917-555-0143, ana.diaz@example.com",
        ] { try await say(browser, text) }
        try await picture(browser, "chat")
        try await say(browser, "yes, I agree")
        try await picture(browser, "chat-end")
    }

    private func soldLead(_ admin: TestClient) async throws -> JSONValue {
        for _ in 0..<200 {
            let leads = try await admin.get("/v1/overview").body["leads"]?["recent"]?.array ?? []
            if let sold = leads.first(where: { $0["state"] == "sold" }) { return sold }
            try await Task.sleep(for: .milliseconds(50))
        }
        let overview = try await admin.get("/v1/overview").text
        throw WebDriver.Failure(description: "no lead was sold: \(overview)")
    }

    private func dashboard(_ browser: WebDriver, _ url: String, _ token: String, _ sold: JSONValue) async throws {
        try await browser.open(url + "/dashboard")
        try await browser.run(
            """
            document.querySelector('input[name=token]').value = arguments[0];
            document.querySelector('input[name=token]').closest('form').requestSubmit();
            """, [.string(token)])
        let cents = try #require(sold["price_minor"]?.integer)
        let amount = Money.usd(cents: cents).decimal
        try await browser.wait(
            for: "the dollar", "return document.body.innerText.includes(arguments[0])", [.string(amount)])
        try await browser.wait(
            for: "the campaign", "return document.body.innerText.includes('brooklyn-solar')")
        let parts = ["sold", "unsold", "disqualified", "open", "other"]
        let sum =
            "return arguments[0].map((part) => Number(document.querySelector(part).textContent))"
            + ".reduce((a, b) => a + b)"
        let figures = parts.map { JSONValue.string("[data-figure=leads-\($0)]") }
        #expect(try await browser.run(sum, [.array(figures)]) == browser.run(sum, [["[data-figure=leads-total]"]]))
        try await picture(browser, "dashboard")
        let leg = try #require(sold["leg"]?.string)
        try await browser.wait(
            for: "the link", "return document.querySelector(`a[href*='${arguments[0]}']`) !== null", [.string(leg)])
        try await browser.run("document.querySelector(`a[href*='${arguments[0]}']`).click()", [.string(leg)])
        try await browser.wait(
            for: "the path",
            """
            const text = document.body.innerText;
            return text.includes('brooklyn-solar') && /ledger|Booked/i.test(text) && /consent/i.test(text);
            """)
        try await picture(browser, "explain")
    }

    @Test func `the tracker works from a second origin and obeys the privacy signal`() async throws {
        let server = SpawnedServer(executable: AurumBinary.path, environment: Self.environment)
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let site = try StaticSite()
        try await site.start()
        let key = try await admin.makeKey(["events:write"], app: "shop", publishable: true, origins: [site.origin])
        site.page = """
            <!doctype html><html><head><title>Shop</title>
            <script src="\(target.url)/aurum.js" data-key="\(key.key)" defer></script></head>
            <body><button data-aurum-event="cta_clicked">Go</button></body></html>
            """
        let browser = try await WebDriver.start()
        try await browser.open(site.origin + "/?utm_source=newsletter&utm_medium=email&utm_campaign=spring&fbclid=abc")
        try await browser.wait(for: "the tracker", "return !!(window.aurum && window.aurum.traceID)")
        try await browser.run("document.querySelector('button').click(); window.aurum.track('added', {sku: 'x1'});")
        let events = try await arrived(3, admin, app: "shop")
        let page = try #require(events.first { $0["type"] == "page" })
        #expect(
            page["campaign"]?["name"] == "spring" && page["campaign"]?["source"] == "newsletter", "\(page.canonical)")
        #expect(page["click_id"] == "abc")
        let traces = Set(events.compactMap { $0["trace_id"]?.string })
        let names = Set(events.compactMap { $0["name"]?.string })
        #expect(traces.count == 1)
        #expect(names.contains("cta_clicked") && names.contains("added"), "\(names)")

        let stranger = try StaticSite()
        try await stranger.start()
        stranger.page = site.page
        try await browser.open(stranger.origin + "/")
        try await browser.wait(for: "the tracker", "return !!(window.aurum && window.aurum.traceID)")
        try await browser.run("window.aurum.track('stolen', {});")
        try await Task.sleep(for: .milliseconds(500))
        let all = try await admin.get("/v1/events?app=shop&limit=1000").body["events"]?.array ?? []
        #expect(!all.contains { $0["name"] == "stolen" }, "a page of another origin wrote with this key")
        await browser.stop()
        await server.stop()
        site.stop()
        stranger.stop()
    }

    /// Browsers let at most 64 KB be under way for pages that are left: that must not hold up a page that stays.
    @Test func `the tracker sends every event of a page that has more of them than a browser keeps alive`()
        async throws
    {
        let server = SpawnedServer(executable: AurumBinary.path, environment: Self.environment)
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let site = try StaticSite()
        try await site.start()
        let key = try await admin.makeKey(["events:write"], app: "shop", publishable: true, origins: [site.origin])
        site.page = """
            <!doctype html><html><head><title>Shop</title>
            <script src="\(target.url)/aurum.js" data-key="\(key.key)" defer></script></head><body></body></html>
            """
        let browser = try await WebDriver.start()
        try await browser.open(site.origin + "/")
        try await browser.wait(for: "the tracker", "return !!(window.aurum && window.aurum.traceID)")
        // 30 events of 6 kB, one that alone is more than is kept alive (and than capture stores), and one behind it.
        // What is no JSON is the page's own mistake and keeps nothing back.
        try await browser.run(
            """
            for (let i = 0; i < 30; i++) window.aurum.track('large', {text: 'é'.repeat(3000)});
            const parts = {};
            for (let i = 0; i < 10; i++) parts['part' + i] = 'y'.repeat(7000);
            window.aurum.track('alone', parts);
            try { window.aurum.track('no JSON', {number: 1n}); } catch {}
            window.aurum.track('last', {});
            """)
        let events = try await arrived(32, admin, app: "shop")
        let names = Dictionary(grouping: events.compactMap { $0["name"]?.string }) { $0 }.mapValues(\.count)
        #expect(names["large"] == 30 && names["last"] == 1 && events.count == 32, "\(names)")
        let refused = try await admin.get("/v1/quarantine?app=shop").body["events"]?.array ?? []
        #expect(refused.map { $0["reason"]?.string } == ["event_too_large"])

        // The page is left at once: what the browser takes is sent, the next page sends the rest.
        try await browser.run(
            """
            for (let i = 0; i < 20; i++) window.aurum.track('parting', {text: 'é'.repeat(3000)});
            location.href = '/next';
            """)
        let all = try await arrived(53, admin, app: "shop")
        let parting = all.filter { $0["name"] == "parting" }
        #expect(parting.count == 20 && Set(all.compactMap { $0["id"]?.string }).count == all.count)
        try await browser.wait(
            for: "an empty queue", "return !Object.keys(localStorage).some(k => k.startsWith('aurum.q'))")
        await browser.stop()
        await server.stop()
        site.stop()
    }

    private func arrived(_ count: Int, _ admin: TestClient, app: String) async throws -> [JSONValue] {
        for _ in 0..<200 {
            let events = try await admin.get("/v1/events?app=\(app)&limit=100").body["events"]?.array ?? []
            if events.count >= count { return events }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw WebDriver.Failure(description: "fewer than \(count) events arrived")
    }

    @Test func `the tracker is smaller than five kilobytes`() async throws {
        let server = SpawnedServer(executable: AurumBinary.path, environment: Self.environment)
        let target = try await server.start()
        let answer = try await TestClient(url: target.url, key: "").get("/aurum.js")
        #expect(answer.status == 200 && answer.text.utf8.count < 5120, "\(answer.text.utf8.count) bytes")
        await server.stop()
    }
}
