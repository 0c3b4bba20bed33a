import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// The explorer, the live page and the funnel page in a real browser, over events that the test knows.
@Suite(.serialized) struct QuestionPagesTests {
    private static let pictures = ProcessInfo.processInfo.environment["TEST_SCREENSHOTS"]

    private struct Running {
        let server: SpawnedServer
        let url: String
        let token: String
        let writer: TestClient
        let browser: WebDriver

        init(dark: Bool = false) async throws {
            server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
            let target = try await server.start()
            (url, token) = (target.url, target.adminToken)
            writer = try await TestClient(url: url, key: token).makeKey(["events:write"])
            browser = try await WebDriver.start(dark: dark)
        }

        func send(_ events: [JSONValue]) async throws {
            let named = events.map { event -> JSONValue in
                guard case .object(var members) = event else { return event }
                members["id"] = .string(UUID().uuidString)
                return .object(members)
            }
            let lines = named.map(\.canonical).joined(separator: "\n")
            let answer = try await writer.call(
                "POST", "/v1/events", Array(lines.utf8), ["content-type": "application/x-ndjson"])
            #expect(answer.status == 202 && answer.body["quarantined"] == 0, "\(answer.text)")
        }

        /// Opens a page that asks for the token first, and signs in.
        func signIn(to path: String) async throws {
            try await browser.open(url + path)
            try await browser.run(
                """
                document.querySelector('input[name=token]').value = arguments[0];
                document.querySelector('input[name=token]').closest('form').requestSubmit();
                """, [.string(token)])
        }

        func set(_ id: String, _ value: String) async throws {
            try await browser.run(
                """
                const field = document.getElementById(arguments[0]);
                field.value = arguments[1];
                field.dispatchEvent(new Event('input', {bubbles: true}));
                field.dispatchEvent(new Event('change', {bubbles: true}));
                """, [.string(id), .string(value)])
        }

        func press(_ id: String) async throws {
            try await browser.run("document.getElementById(arguments[0]).click()", [.string(id)])
        }

        func wait(text: String, in id: String) async throws {
            try await browser.wait(
                for: "“\(text)” in \(id)",
                """
                const part = document.getElementById(arguments[0]);
                return part !== null && part.offsetParent !== null && part.innerText.includes(arguments[1]);
                """, [.string(id), .string(text)])
        }

        func picture(_ name: String) async throws {
            guard let folder = QuestionPagesTests.pictures else { return }
            try await browser.screenshot(to: "\(folder)/\(name).png")
        }

        func stop() async {
            await browser.stop()
            await server.stop()
        }
    }

    /// Ten persons see a page, six of them from Google; five fill the cart after 60 s, two of those buy for 12.50 each.
    private static func shopEvents(now: Date = Date()) -> [JSONValue] {
        func event(_ person: Int, _ seconds: Double, _ more: [String: JSONValue]) -> JSONValue {
            let time = now.addingTimeInterval(seconds - 600)
            var members: [String: JSONValue] = [
                "ts": .string(time.ISO8601Format()), "user_id": .string("person-\(person)"),
            ]
            members.merge(more) { $1 }
            return .object(members)
        }
        return (0..<10).flatMap { person in
            var page: [String: JSONValue] = ["type": "page", "url": "https://shop.example/pricing"]
            if person < 6 { page["campaign"] = ["source": "google"] }
            var events = [event(person, 0, page)]
            if person < 5 { events.append(event(person, 60, ["type": "track", "name": "cart_add"])) }
            if person < 2 {
                events.append(
                    event(
                        person, 120,
                        ["type": "conversion", "name": "purchase", "value": "12.50", "currency": "USD"]))
            }
            return events
        }
    }

    /// The cells of the row whose first cell is `name`.
    private static let cells = """
        const row = Array.from(document.querySelectorAll('#body tr'))
            .find((each) => each.firstElementChild.textContent === arguments[0]);
        return row ? Array.from(row.children).map((cell) => cell.textContent).join('|') === arguments[1] : false;
        """

    @Test func `the explorer shows a known number, keeps the question in the link and explains a wrong text`()
        async throws
    {
        let running = try await Running()
        let browser = running.browser
        try await running.signIn(to: "/explore?type=page&range=24h")
        try await running.wait(text: "No events yet", in: "nothing")
        try await running.send(Self.shopEvents())

        try await browser.open(running.url + "/explore?type=page&by=campaign.source&bucket=none")
        try await browser.wait(for: "Google's six", Self.cells, ["google", "google|6"])
        try await browser.wait(for: "the other four", Self.cells, ["(none)", "(none)|4"])
        try await running.wait(text: "rows scanned", in: "facts")
        try await running.set("measure", "persons")
        try await browser.wait(for: "Google's six persons", Self.cells, ["google", "google|6"])
        let address = try await browser.run("return location.search").string ?? ""
        #expect(address.contains("measure=persons") && address.contains("by=campaign.source"), "\(address)")

        try await browser.run(
            """
            const make = URL.createObjectURL;
            URL.createObjectURL = (file) => { file.text().then((text) => { window.saved = text; }); return make.call(URL, file); };
            document.getElementById('csv').click();
            """)
        try await browser.wait(for: "the CSV", "return (window.saved || '').includes('google,6')")
        #expect(try await browser.consoleProblems() == [])

        try await running.set("q", "sum(value) where name = purchase last 24h")
        try await running.press("run")
        try await running.wait(text: "$25.00", in: "figure")
        try await running.set("q", "count by channel pr day")
        try await running.press("run")
        try await running.wait(text: "expected", in: "refusal")
        #expect(try await browser.run("return document.querySelector('#refusal mark').textContent") == "pr day")
        try await browser.run("history.back()")
        try await running.wait(text: "$25.00", in: "figure")
        try await browser.run("history.back()")
        try await browser.wait(for: "Google's six persons again", Self.cells, ["google", "google|6"])
        await running.stop()
    }

    @Test func `a new event appears on the live page within two seconds, and a pause holds it back`() async throws {
        let running = try await Running()
        let browser = running.browser
        try await running.signIn(to: "/live")
        try await running.wait(text: "Live", in: "live-state")
        try await running.send([["type": "track", "name": "appeared", "user_id": "ana", "props": ["plan": "pro"]]])
        let sent = ContinuousClock.now
        try await running.wait(text: "appeared", in: "events")
        let delay = ContinuousClock.now - sent
        #expect(delay < .seconds(2), "\(delay)")
        try await browser.run("document.querySelector('#events summary').click()")
        try await running.wait(text: "\"plan\": \"pro\"", in: "events")
        #expect(try await browser.consoleProblems() == [])

        try await running.press("pause")
        try await running.send([["type": "track", "name": "held_back", "user_id": "ana"]])
        try await running.wait(text: "1 event waiting", in: "held")
        #expect(try await browser.run("return document.querySelectorAll('#events > li').length") == 1)
        try await running.press("pause")
        try await running.wait(text: "held_back", in: "events")

        try await running.press("clear")
        try await running.set("where", "name = = x")
        try await browser.run("document.getElementById('wish').requestSubmit()")
        try await running.wait(text: "expected", in: "refusal")
        try await running.wait(text: "Not listening", in: "live-state")
        let words = try await browser.run("return document.body.innerText").string ?? ""
        #expect(!words.contains("Waiting for events") && !words.contains("No events yet"), "\(words)")
        try await running.set("where", "name = chosen")
        try await browser.run("document.getElementById('wish').requestSubmit()")
        try await running.wait(text: "Live", in: "live-state")
        try await running.send(["other", "chosen"].map { ["type": "track", "name": .string($0), "user_id": "ana"] })
        try await running.wait(text: "chosen", in: "events")
        #expect(try await browser.run("return document.querySelectorAll('#events > li').length") == 1)
        await running.stop()
    }

    @Test func `the live page keeps at most five hundred rows and fetches what was left out`() async throws {
        let running = try await Running()
        let browser = running.browser
        try await running.signIn(to: "/live")
        try await running.wait(text: "Live", in: "live-state")
        for part in 0..<10 {
            try await running.send(
                (0..<2000).map { ["type": "track", "name": .string("many_\(part)"), "user_id": .string("u\($0)")] })
        }
        try await browser.wait(
            for: "the notice", within: .seconds(30),
            """
            const button = document.querySelector('#events .gap button');
            if (button) button.click();
            return button !== null;
            """)
        try await browser.wait(
            for: "events after the notice", within: .seconds(20),
            "const gap = document.querySelector('#events .gap'); return !gap || !gap.querySelector('button').disabled")
        #expect(try await browser.run("return document.querySelectorAll('#events > li').length <= 500") == true)
        #expect(try await browser.run("return document.activeElement.tagName") == "SUMMARY")
        await running.stop()
    }

    @Test func `an answer that was cut says so and draws no zero for what it does not know`() async throws {
        let running = try await Running()
        let browser = running.browser
        let now = Date()
        // Four names in each of three minutes: twelve rows, of which the question takes seven.
        try await running.send(
            (0..<12).map { number in
                [
                    "type": "track", "name": .string("name_\(number % 4)"), "user_id": "ana",
                    "ts": .string(now.addingTimeInterval(Double(number / 4 - 10) * 60).ISO8601Format()),
                ]
            })
        try await running.signIn(to: "/explore?q=count%20by%20name%20per%20minute%20last%2060m%20limit%207")
        try await running.wait(text: "cut: 7 of 12 rows", in: "facts")
        try await running.wait(text: "The answer was cut after 7 of 12 rows", in: "chart-note")
        let drawn =
            "return window.Chart.getChart('chart').data.datasets.map((set) => JSON.stringify(set.data)).sort().join()"
        // The first minute is whole; of the second one name is missing, and the third never came.
        #expect(try await browser.run(drawn) == "[1,1],[1,1],[1,1],[1,null]")
        try await running.set("q", "count by name per minute last 60m order by count desc, name limit 7")
        try await running.press("run")
        try await browser.wait(for: "gaps", drawn + ".includes('null')")
        #expect(try await browser.run(drawn).string?.contains("0") == false)
        try await running.set("q", "count by name per minute last 60m")
        try await running.press("run")
        try await running.wait(text: "12 rows", in: "row-note")
        #expect(try await browser.run(drawn).string?.contains("null") == false)
        #expect(
            try await browser.run("return document.getElementById('facts').innerText").string?.contains("cut") == false)
        await running.stop()
    }

    @Test(arguments: [320, 390, 768, 1100])
    func `on a narrow screen every page keeps its menu and nothing runs off its side`(width: Int) async throws {
        let running = try await Running()
        try await running.send(Self.shopEvents())
        try await running.browser.resize(width: width)
        try await running.signIn(to: "/dashboard")
        for page in [
            "/dashboard", "/campaigns", "/journeys", "/cohorts", "/uploads", "/fraud", "/explore", "/live", Self.funnel,
            "/jobs", "/database", "/attribution/runs", "/attribution/experiments",
            "/attribution/windows", "/attribution/weights", "/attribution/schemas",
        ] {
            try await running.browser.open(running.url + page)
            try await running.browser.wait(
                for: "the menu of \(page)",
                """
                const all = Array.from(document.querySelectorAll('.bar-nav a, .bar-nav button'))
                    .filter((each) => each.offsetParent !== null);
                return all.length >= 5 && all.every((each) => {
                    const { left, right, top, bottom, width } = each.getBoundingClientRect();
                    const found = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
                    return width > 20 && left >= 0 && right <= innerWidth && (found === each || each.contains(found));
                }) && all.some((each) => each.textContent === 'Sign out');
                """)
            let over = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            #expect(try await running.browser.run(over) == 0, "\(page)")
            let name = page.prefix { $0 != "?" }.dropFirst().replacingOccurrences(of: "/", with: "-")
            try await running.picture("\(name)-\(width)")
        }
        await running.stop()
    }

    @Test func `at 1280 px the header takes one line, and its menus open and close`() async throws {
        let running = try await Running()
        let browser = running.browser
        try await browser.resize(width: 1280)
        try await running.signIn(to: "/attribution/runs")
        let lines =
            "return new Set(Array.from(document.querySelectorAll('.bar-nav > *:not(script)'), "
            + "(each) => Math.round((each.getBoundingClientRect().top + each.getBoundingClientRect().bottom) / 2))).size"
        #expect(try await browser.run(lines) == 1)
        let shown = "return document.querySelector('.menu a[aria-current]').offsetParent !== null"
        #expect(try await browser.run(shown) == false)
        try await browser.run("document.querySelector('.menu:has([aria-current]) > summary').click()")
        #expect(try await browser.run(shown) == true)
        try await running.picture("menu-1280")
        try await browser.run("document.querySelector('main').click()")
        #expect(try await browser.run(shown) == false)
        try await browser.open(running.url + "/campaigns")
        let choices = """
            const all = Array.from(document.querySelectorAll('#wish > *'), (each) => each.getBoundingClientRect());
            return new Set(all.map((each) => Math.round(each.bottom))).size + ' line, ' + all.length + ' choices';
            """
        try await browser.wait(
            for: "the choices of Campaigns", "return (() => { \(choices) })() === '1 line, 7 choices'")
        #expect(try await browser.consoleProblems() == [])
        await running.stop()
    }

    private static let funnel =
        "/funnel?step=%5B%22page%22,%22%22,%22url%20contains%20%5C%22pricing%5C%22%22%5D"
        + "&step=%5B%22%22,%22cart_add%22,%22%22%5D&step=%5B%22conversion%22,%22purchase%22,%22%22%5D&range=24h"

    @Test func `the funnel page shows a known conversion and keeps its steps in the link`() async throws {
        let running = try await Running()
        let browser = running.browser
        try await running.send(Self.shopEvents())
        try await running.signIn(to: Self.funnel)
        try await running.wait(text: "20%", in: "conversion")
        let stairs = try await browser.run("return document.getElementById('stairs').innerText").string ?? ""
        for part in ["10 persons", "5 persons", "2 persons", "50%", "40% of step 2", "60 s median since step 1"] {
            #expect(stairs.contains(part), "\(part) in \(stairs)")
        }
        try await running.set("by", "campaign.source")
        try await browser.wait(for: "Google's share", Self.cells, ["google", "google|6|5|2|33.3%"])
        #expect(try await browser.consoleProblems() == [])
        try await running.press("add-step")
        try await browser.run(
            """
            const last = document.querySelector('#steps li:last-child input:last-of-type');
            const more = document.querySelectorAll('#steps li:last-child input')[1];
            more.value = 'url contains';
            more.dispatchEvent(new Event('change', {bubbles: true}));
            """)
        try await running.wait(text: "Step 4", in: "refusal")
        // The text of the fourth step is marked where it stops, not where the page's own words stop.
        #expect(
            try await browser.run("return document.querySelector('#refusal .place').textContent")
                == "url contains the end ")
        try await browser.run(
            """
            const more = document.querySelectorAll('#steps li:last-child input')[1];
            more.value = 'url contans "/x"';
            document.querySelectorAll('#steps li:last-child input')[0].value = 'cart_add';
            more.dispatchEvent(new Event('change', {bubbles: true}));
            """)
        try await browser.wait(
            for: "the marked word",
            "return (document.querySelector('#refusal mark') || {}).textContent === 'contans \"/x\"'")
        try await browser.run(
            """
            const [name, more] = document.querySelectorAll('#steps li:last-child input');
            [name.value, more.value] = ['never', ''];
            name.dispatchEvent(new Event('change', {bubbles: true}));
            """)
        try await running.wait(text: "0%", in: "conversion")
        let bars =
            "return Array.from(document.querySelectorAll('.stair-bar')).map((bar) => bar.childElementCount).join()"
        #expect(try await browser.run(bars) == "1,1,1,0", "a bar of nobody has nothing in it")
        await running.stop()
    }

    @Test(arguments: [false, true])
    func `the pages follow the scheme that the browser prefers`(dark: Bool) async throws {
        let running = try await Running(dark: dark)
        let suffix = dark ? "-dark" : ""
        try await running.send(Self.shopEvents())
        try await running.signIn(to: "/explore?by=name&range=1h&draw=bar")
        try await running.wait(text: "scanned", in: "facts")
        let page = try await running.browser.run("return getComputedStyle(document.body).backgroundColor").string
        #expect(page == (dark ? "rgb(19, 18, 14)" : "rgb(250, 248, 243)"))
        try await running.picture("explore" + suffix)
        try await running.browser.open(running.url + Self.funnel + "&by=campaign.source")
        try await running.wait(text: "Google".lowercased(), in: "body")
        try await running.picture("funnel" + suffix)
        try await running.browser.open(running.url + "/live")
        try await running.wait(text: "Live", in: "live-state")
        try await running.send(Self.shopEvents())
        try await running.wait(text: "purchase", in: "events")
        try await running.picture("live" + suffix)
        await running.stop()
    }
}
