internal import Accounts
internal import Attribution
internal import AurumCore
internal import Events
internal import Foundation
internal import Gateway
internal import HTTPTypes
internal import TestSupport
import Testing

/// The page of experiments, as people without a script use it.
struct ExperimentPageTests {
    /// A lift of a half, without doubt.
    private static let regions =
        (0..<8).reduce("region,side,conversions\r\n") { text, number in
            text + "r\(number),\(number < 4 ? "treated,3" : "control,2")\r\n"
        }

    private static func form(_ change: [String: String] = [:]) -> [String: String] {
        [
            "form": "import", "name": "autumn", "method": "geo_holdout", "channel": "paid_search",
            "conversion": "purchase", "from": "2026-11-20", "to": "2026-11-22", "currency": "USD", "csv": regions,
        ].merging(change) { $1 }
    }

    @Test func `a pasted experiment is listed with lift and factor, and removed again`() async throws {
        let site = try await AttributionPageHarness()
        let admin = try await site.signIn()
        let empty = try await site.get("experiments", as: admin)
        #expect(empty.status == 200 && empty.text.contains("No experiment is imported"), "\(empty.text)")
        let made = try await site.send("experiments", Self.form(), as: admin)
        #expect(made.status == 303 && made.header("location") == "/attribution/experiments?done=import", "\(made.text)")
        let early = try await site.get("experiments?done=import", as: admin).text
        #expect(
            early.contains("data-experiment=\"autumn\"") && early.contains("<td class=\"num\">50%<small>"), "\(early)")
        #expect(early.contains("No run has ended yet.") && early.contains("The experiment is imported;"), "\(early)")
        try await site.sell(0..<8)
        try await site.run()
        let used = try await site.get("experiments", as: admin).text
        #expect(used.contains("data-state=\"in use\"") && used.contains("<td class=\"num\">0.5<small>"), "\(used)")
        #expect(used.contains("50% to 50%"), "\(used)")
        let older = Self.form(["name": "summer", "from": "2026-11-18", "to": "2026-11-20"])
        #expect(try await site.send("experiments", older, as: admin).status == 303)
        let both = try await site.get("experiments", as: admin).text
        #expect(both.contains("A newer one of the channel counts."), "\(both)")
        let removal = ["form": "remove-experiment", "name": "autumn"]
        #expect(try await site.send("experiments", removal, as: admin).status == 303)
        #expect(try await site.attribution.experiments.all(org: "acme").map(\.name) == ["summer"])
        let gone = try await site.send("experiments", removal, as: admin)
        #expect(gone.status == 404 && gone.text.contains("There is no experiment of this name."), "\(gone.text)")
        await site.harness.log.close()
    }

    @Test(arguments: [
        (["csv": "region,side\nr1,treated"], "id=\"import-csv-wrong\">There is no column conversions"),
        (["csv": "region,side,conversions\nr1,left,3"], "id=\"import-csv-wrong\">regions[0].side must be treated or"),
        (["csv": ""], "id=\"import-csv-wrong\">The input is empty"),
        (["name": "No Name"], "id=\"import-name-wrong\">must be lower-case letters"),
        (["channel": "television"], "id=\"import-channel-wrong\">must be one of"),
        (["from": ""], "id=\"import-from-wrong\">is missing."),
        (["to": "2027-01-01"], "id=\"import-to-wrong\">must not lie ahead"),
        (["currency": "dollars"], "id=\"import-currency-wrong\">must be three letters"),
    ])
    func `a wrong experiment is refused beside its field`(change: [String: String], words: String) async throws {
        let site = try await AttributionPageHarness()
        let answer = try await site.send("experiments", Self.form(change), as: try await site.signIn())
        #expect(answer.status == 422 && answer.text.contains(words), "\(answer.text)")
        #expect(answer.text.contains("value=\"\(change["name"] ?? "autumn")\""), "\(answer.text)")
        #expect(try await site.attribution.experiments.all(org: "acme").isEmpty)
        await site.harness.log.close()
    }

    @Test func `too few regions are refused above the fields, and readers see no form`() async throws {
        let site = try await AttributionPageHarness()
        let few = Self.form(["csv": "region,side,conversions\nr1,treated,3\nr2,control,2"])
        let answer = try await site.send("experiments", few, as: try await site.signIn())
        #expect(answer.status == 409 && answer.text.contains("An experiment needs 4 regions on each side"))
        let reader = try await site.signIn([.analyticsRead])
        let page = try await site.get("experiments", as: reader)
        #expect(page.status == 200 && !page.text.contains("id=\"import\""), "\(page.text)")
        #expect(try await site.send("experiments", Self.form(), as: reader).code == "scope_missing")
        #expect(try await site.attribution.experiments.all(org: "acme").isEmpty)
        await site.harness.log.close()
    }
}
