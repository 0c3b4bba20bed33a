import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// The page Journeys in a real browser, and the command, over one journey that the test knows.
@Suite(.serialized) struct JourneysPageTests {
    private static let pictures = ProcessInfo.processInfo.environment["TEST_SCREENSHOTS"]

    private static func event(_ id: String, _ type: String, hoursAgo: Double, _ members: [String: JSONValue])
        -> JSONValue
    {
        let at = Date().addingTimeInterval(-hoursAgo * 3600)
        var all: [String: JSONValue] = [
            "id": .string(id), "type": .string(type), "anonymous_id": "ann", "ts": .string(at.ISO8601Format()),
        ]
        all.merge(members) { $1 }
        return .object(all)
    }

    private static let journey: [JSONValue] = [
        event(
            "mail", "click", hoursAgo: 30, ["campaign": ["name": "news", "source": "list", "medium": "email"]]),
        event(
            "search", "click", hoursAgo: 20, ["campaign": ["name": "brand", "source": "google", "medium": "cpc"]]),
        event(
            "old", "impression", hoursAgo: 29, ["campaign": ["name": "banner", "source": "x", "medium": "display"]]),
        event(
            "sale-1", "conversion", hoursAgo: 1, ["name": "purchase", "value": 10.01, "currency": "USD"]),
    ]

    @Test func `the page lists a conversion, shows its journey and every model, and the command says the same`()
        async throws
    {
        let folder = TemporaryFolder()
        let server = SpawnedServer(
            executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"],
            dataDirectory: folder.file("data"))
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let browser = try await WebDriver.start()
        try await browser.open(target.url + "/journeys")
        try await browser.run(
            """
            document.querySelector('input[name=token]').value = arguments[0];
            document.querySelector('input[name=token]').closest('form').requestSubmit();
            """, [.string(target.adminToken)])
        try await wait(browser, for: "No run has credited this conversion yet", in: "no-conversions")

        let writer = try await admin.makeKey(["events:write"])
        let lines = Self.journey.map(\.canonical).joined(separator: "\n")
        let sent = try await writer.call(
            "POST", "/v1/events", Array(lines.utf8), ["content-type": "application/x-ndjson"])
        #expect(sent.status == 202 && sent.body["quarantined"] == 0, "\(sent.text)")
        let asked = try await admin.call(
            "POST", "/v1/attribution/recompute", Array(#"{"conversion":"purchase"}"#.utf8),
            ["content-type": "application/json"])
        #expect(asked.status == 202, "\(asked.text)")
        try await browser.wait(
            for: "the run's conversion",
            """
            if (document.getElementById('conversions').innerText.includes('$10.01')) return true;
            if (document.getElementById('as-of').textContent !== 'Loading') {
                document.getElementById('wish').requestSubmit();
            }
            return false;
            """)
        try await browser.run("document.querySelector('#conversions a').click()")
        try await wait(browser, for: "Paid search", in: "touchpoints")
        try await wait(browser, for: "No: older than the window", in: "touches")
        let models = "return document.querySelectorAll('#credit-head th').length"
        #expect(try await browser.run(models) == 15)
        try await browser.run(
            """
            const field = document.getElementById('model');
            field.value = 'linear';
            field.dispatchEvent(new Event('change', {bubbles: true}));
            """)
        try await wait(browser, for: "Linear: 1/n", in: "formula")
        try await wait(browser, for: "50.0 %, $5.01", in: "touchpoints")
        try await wait(browser, for: "100.0 %", in: "credit-sum")
        #expect(try await browser.run("return location.search.includes('event=sale-1')") == true)
        let problems = try await browser.consoleProblems().filter { !$0.contains("404") }
        #expect(problems == [], "\(problems)")
        for width in [320, 390, 768] {
            try await browser.resize(width: width)
            let over = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            #expect(try await browser.run(over) == 0, "\(width)")
            if let pictures = Self.pictures { try await browser.screenshot(to: "\(pictures)/journeys-\(width).png") }
        }
        await browser.stop()

        let environment = ["AURUM_DATA_DIR": folder.file("data")]
        let why = try await AurumBinary.run(
            ["attribution", "why", "sale-1", "--model", "linear"], environment: environment)
        #expect(why.status == 0 && why.output.contains("linear: 1/n"), "\(why.output)")
        for part in ["outside_window", "paid_search", "0.500000", "5.01", "version 1 of"] {
            #expect(why.output.contains(part), "\(part) in \(why.output)")
        }
        let json = try await AurumBinary.run(["attribution", "why", "sale-1", "--json"], environment: environment)
        #expect(json.status == 0 && json.output.contains("\"touches_left_out\" : 0"), "\(json.output)")
        let unknown = try await AurumBinary.run(["attribution", "why", "nothing"], environment: environment)
        #expect(unknown.status != 0 && unknown.output.contains("No event of the log has this id"), "\(unknown.output)")
        let odd = try await AurumBinary.run(
            ["attribution", "why", "sale-1", "--model", "odd"], environment: environment)
        #expect(odd.status != 0 && odd.output.contains("--model is one of"), "\(odd.output)")
        await server.stop()
    }

    private func wait(_ browser: WebDriver, for text: String, in id: String) async throws {
        try await browser.wait(
            for: text, "return document.getElementById(arguments[0]).innerText.includes(arguments[1])",
            [.string(id), .string(text)])
    }
}
