import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// A postback from a device to what its value means: from the command line, and on the page Campaigns in a browser.
@Suite(.serialized) struct PostbackSystemTests {
    private static let body = """
        {"version":"4.0","ad-network-id":"com.example","source-identifier":"5239","app-id":525463029,\
        "transaction-id":"6aafb7a5-0170-41b5-bbe4-fe71dedf1e30","redownload":false,"source-domain":"example.com",\
        "fidelity-type":1,"did-win":true,"conversion-value":63,"postback-sequence-index":0,"attribution-signature":\
        "MEUCIGRmSMrqedNu6uaHyhVcifs118R5z/AB6cvRaKrRRHWRAiEAv96ne3dKQ5kJpbsfk4eYiePmrZUU6sQmo+7zfP/1Bxo="}
        """
    private static let schema = """
        {"starts_at":"2020-01-01","currency":"USD","fine":[{"from":32,"to":63,"events":["purchase"],\
        "revenue_min_minor":1000,"revenue_max_minor":3000}]}
        """

    @Test func `a schema gives a postback its meaning in commands and on the page`() async throws {
        let folder = TemporaryFolder()
        let server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
        let target = try await server.start()
        let device = TestClient(url: target.url, key: target.adminToken)
        let path = "/.well-known/skadnetwork/report-attribution"
        let taken = try await device.call(
            "POST", path, Array(Self.body.utf8), ["content-type": "application/json"])
        #expect(taken.status == 200 && taken.body["state"] == "counted", "\(taken.text)")

        func aurum(_ arguments: [String]) async throws -> (status: Int32, output: String) {
            try await AurumBinary.run(
                ["attribution", "postback"] + arguments + ["--url", target.url],
                environment: ["AURUM_KEY": target.adminToken])
        }
        let before = try await aurum(["list"])
        #expect(before.status == 0 && before.output.contains("no_schema"), "\(before.output)")
        try Data(Self.schema.utf8).write(to: URL(fileURLWithPath: folder.file("schema.json")))
        let saved = try await aurum(["schema", "525463029", "--set", folder.file("schema.json")])
        #expect(saved.status == 0 && saved.output.contains("version 1 holds from 2020-01-01"), "\(saved.output)")
        let list = try await aurum(["list", "--app-id", "525463029", "--limit", "1"])
        #expect(list.output.contains("purchase 10.00 USD–30.00 USD"), "\(list.output)")
        #expect(list.output.contains("more: --after "), "\(list.output)")
        let summary = try await aurum(["summary", "--group-by", "window"])
        #expect(summary.output.contains("10.00 USD / 20.00 USD / 30.00 USD"), "\(summary.output)")
        let shown = try await aurum(["schema"])
        #expect(shown.output.contains("app 525463029, version 1") && shown.output.contains("32–63"), "\(shown.output)")
        try Data(#"{"currency":"USD","fine":[{"from":70}]}"#.utf8).write(
            to: URL(fileURLWithPath: folder.file("wrong.json")))
        let wrong = try await aurum(["schema", "525463029", "--set", folder.file("wrong.json")])
        #expect(wrong.status != 0 && wrong.output.contains("fine[0].from"), "\(wrong.output)")

        let browser = try await WebDriver.start()
        try await browser.open(target.url + "/campaigns")
        try await browser.run(
            """
            document.querySelector('input[name=token]').value = arguments[0];
            document.querySelector('input[name=token]').closest('form').requestSubmit();
            """, [.string(target.adminToken)])
        let cells = """
            const row = document.querySelector('#postbacks-rows tr');
            return row ? Array.from(row.children).map((cell) => cell.textContent).join('|') === arguments[0] : false;
            """
        try await browser.wait(
            for: "the postback", cells, ["com.example 5239|1|1|1|1|0%|purchase 1|$20.00 ($10.00–$30.00)"])
        try await browser.run(
            """
            const field = document.getElementById('postbacks-by');
            field.value = 'window';
            field.dispatchEvent(new Event('change', {bubbles: true}));
            """)
        try await browser.wait(
            for: "its window", cells, ["Days 0–2|1|1|1|1|0%|purchase 1|$20.00 ($10.00–$30.00)"])
        for width in [320, 768] {
            try await browser.resize(width: width)
            let over = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
            #expect(try await browser.run(over) == 0, "\(width)")
        }
        await browser.stop()
        await server.stop()
    }
}
