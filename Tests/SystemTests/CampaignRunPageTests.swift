import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// The page Campaigns and the commands over purchases of the event log, beside spend that the test knows.
@Suite(.serialized) struct CampaignRunPageTests {
    private static func event(_ id: String, _ type: String, secondsAgo: Double, _ members: [String: JSONValue])
        -> JSONValue
    {
        let at = Date().addingTimeInterval(-secondsAgo)
        var all: [String: JSONValue] = [
            "id": .string(id), "type": .string(type), "anonymous_id": "ann", "ts": .string(at.ISO8601Format()),
        ]
        all.merge(members) { $1 }
        return .object(all)
    }

    private static func set(_ browser: WebDriver, _ id: String, _ value: String) async throws {
        try await browser.run(
            """
            const field = document.getElementById(arguments[0]);
            field.value = arguments[1];
            field.dispatchEvent(new Event('change', {bubbles: true}));
            """, [.string(id), .string(value)])
    }

    private static func fill(_ admin: TestClient) async throws {
        let writer = try await admin.makeKey(["events:write"])
        let events = [
            event(
                "click", "click", secondsAgo: 120,
                ["campaign": ["name": "spring", "source": "google", "medium": "cpc"]]),
            event("sale", "conversion", secondsAgo: 60, ["name": "purchase", "value": 12.5, "currency": "USD"]),
        ]
        let sent = try await writer.call(
            "POST", "/v1/events", Array(events.map(\.canonical).joined(separator: "\n").utf8),
            ["content-type": "application/x-ndjson"])
        #expect(sent.status == 202 && sent.body["quarantined"] == 0, "\(sent.text)")
        let today = String(Timestamp(milliseconds: Int64(Date().timeIntervalSince1970 * 1000)).rfc3339.prefix(10))
        let spend = try await admin.call(
            "POST", "/v1/spend", Array("date,network,campaign,currency,spend\n\(today),google,Spring,USD,5\n".utf8),
            ["content-type": "text/csv"])
        #expect(spend.status == 200, "\(spend.text)")
    }

    @Test func `purchases of the log stand beside spend on the page, under Markov too, and in the commands`()
        async throws
    {
        let folder = TemporaryFolder()
        let server = SpawnedServer(
            executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"],
            dataDirectory: folder.file("data"))
        let target = try await server.start()
        try await Self.fill(TestClient(url: target.url, key: target.adminToken))
        let environment = ["AURUM_DATA_DIR": folder.file("data")]
        let early = try await AurumBinary.run(
            ["spend", "report", "--definition", "purchase"], environment: environment)
        #expect(early.status != 0 && early.output.contains("aurum attribution run computes it"), "\(early.output)")
        let both = try await AurumBinary.run(
            ["spend", "report", "--days", "3", "--from", "2026-11-01"], environment: environment)
        #expect(both.status != 0 && both.output.contains("--days excludes --from and --to"), "\(both.output)")

        let browser = try await WebDriver.start()
        try await browser.open(target.url + "/campaigns?definition=purchase&model=markov1")
        try await browser.run(
            """
            document.querySelector('input[name=token]').value = arguments[0];
            document.querySelector('input[name=token]').closest('form').requestSubmit();
            """, [.string(target.adminToken)])
        try await browser.wait(
            for: "the campaigns", "return document.querySelectorAll('#log-conversion option').length > 0")
        try await Self.set(browser, "definition", "purchase")
        try await Self.set(browser, "model", "markov1")
        try await browser.wait(
            for: "what is missing",
            "return document.getElementById('refusal').innerText.includes('Nothing was computed')")
        try await Self.set(browser, "log-conversion", "purchase")
        try await browser.run("document.getElementById('log-wish').requestSubmit()")
        try await browser.wait(
            for: "the purchase beside its spend",
            """
            const row = document.querySelector('#rows tr');
            return row !== null && Array.from(row.children).map((cell) => cell.textContent).join('|')
                .startsWith('spring|$5.00|$12.50|2.50×|$5.00|1|—');
            """)
        try await browser.wait(
            for: "the run", "return document.getElementById('gaps').innerText.includes('version 1, computed')")
        #expect(try await browser.run("return document.getElementById('basis').disabled") == true)
        try await Self.set(browser, "view", "compare")
        try await browser.wait(
            for: "Markov and Shapley beside spend",
            """
            const text = document.getElementById('compare').innerText;
            return text.includes('Markov, order 3') && text.includes('Shapley') && text.includes('2.50×');
            """)
        #expect(try await browser.run("return document.querySelectorAll('#model-head th').length") == 15)
        try await Self.set(browser, "definition", "")
        try await browser.wait(
            for: "leads and sold legs again",
            "return document.querySelectorAll('#model-head th').length === 10 && document.getElementById('gaps').hidden"
        )
        #expect(try await browser.run("return document.getElementById('model').value") == "last")
        await browser.stop()

        let report = try await AurumBinary.run(
            ["spend", "report", "--definition", "purchase", "--model", "shapley", "--from", "2020-01-01"],
            environment: environment)
        #expect(report.status == 0 && report.output.contains("spring,USD,5.00,"), "\(report.output)")
        let compared = try await AurumBinary.run(
            ["attribution", "compare", "--definition", "purchase", "--figure", "roas", "--days", "30"],
            environment: environment)
        #expect(compared.status == 0, "\(compared.output)")
        for part in ["markov3", "shapley", "2.5", "purchase, version 1 of", "unattributed: 0 conversions"] {
            #expect(compared.output.contains(part), "\(part) in \(compared.output)")
        }
        let past = try await AurumBinary.run(
            ["attribution", "report", "--to", "2020-01-01"], environment: environment)
        #expect(past.status == 0 && !past.output.contains("12.50"), "\(past.output)")
        await server.stop()
    }
}
