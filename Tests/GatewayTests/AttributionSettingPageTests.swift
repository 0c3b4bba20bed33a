internal import Accounts
internal import Attribution
internal import AurumCore
internal import Events
internal import Foundation
internal import Gateway
internal import HTTPTypes
internal import TestSupport
import Testing

/// The pages of windows, custom weights and schemas of conversion values, as people without a script use them.
struct AttributionSettingPageTests {
    // MARK: windows

    @Test func `windows of a campaign and of a definition get versions, and are ended`() async throws {
        let site = try await AttributionPageHarness()
        let admin = try await site.signIn()
        let empty = try await site.get("windows", as: admin)
        #expect(empty.status == 200 && empty.text.contains("No network and no campaign"), "\(empty.text)")
        let campaign = [
            "form": "window", "scope": "campaign", "name": "Spring Sale", "click_hours": "72", "view_hours": "",
            "starts_at": "2026-11-01",
        ]
        #expect(try await site.send("windows", campaign, as: admin).status == 303)
        let shown = try await site.get("windows?done=window", as: admin).text
        #expect(
            shown.contains("<td>spring sale</td><td class=\"num\">1</td><td>2026-11-01 00:00 UTC</td>"), "\(shown)")
        #expect(shown.contains("<td class=\"num\">72 h</td><td class=\"num\">—</td>"), "\(shown)")
        let definition = campaign.merging(["scope": "definition", "name": "purchase", "view_hours": "6"]) { $1 }
        #expect(try await site.send("windows", definition, as: admin).status == 303)
        let saved = try await site.attribution.definitions.current(org: "acme").first { $0.name == "purchase" }
        #expect(saved?.version == 1 && saved?.json?["click_hours"]?.double == 72)
        #expect(saved?.json?["view_hours"]?.double == 6 && saved?.json?["repeat"] == "per_order_id")
        let ending = ["form": "end-window", "scope": "campaign", "name": "spring sale"]
        #expect(try await site.send("windows", ending, as: admin).status == 303)
        let ended = try await site.get("windows", as: admin).text
        #expect(ended.contains("<td class=\"num\">ended</td>") && !ended.contains("End now"), "\(ended)")
        #expect(ended.contains("<td class=\"num\">72 h</td><td class=\"num\">6 h</td>"), "\(ended)")
        let none = try await site.send("windows", ending.merging(["name": "other"]) { $1 }, as: admin)
        #expect(none.status == 404 && none.text.contains("has no windows of its own"), "\(none.text)")
        await site.harness.log.close()
    }

    @Test(arguments: [
        (["click_hours": ""], 422, "id=\"window-click_hours-wrong\">or hours after a view must be there."),
        (["click_hours": "soon"], 422, "id=\"window-click_hours-wrong\">must be a number."),
        (["view_hours": "721"], 422, "id=\"window-view_hours-wrong\">must be from 1 to 720 hours."),
        (["name": ""], 422, "id=\"window-name-wrong\">must be 1 to 256 bytes of text."),
        (["scope": "planet"], 422, "id=\"window-scope-wrong\">must be definition, network, campaign."),
        (["starts_at": "tomorrow"], 422, "id=\"window-starts_at-wrong\">must be a date or RFC 3339."),
        (["scope": "definition"], 404, "id=\"window-name-wrong\">must be the name of a conversion."),
    ])
    func `wrong windows are refused beside their field`(
        change: [String: String], status: Int, words: String
    ) async throws {
        let site = try await AttributionPageHarness()
        let form = ["form": "window", "scope": "network", "name": "nowhere", "click_hours": "72"]
        let answer = try await site.send("windows", form.merging(change) { $1 }, as: try await site.signIn())
        #expect(answer.status == status && answer.text.contains(words), "\(answer.text)")
        #expect(try await site.attribution.windows.versions(org: "acme").isEmpty)
        await site.harness.log.close()
    }

    // MARK: custom weights

    @Test func `custom weights are set, shown in the form again, used by a run, and removed`() async throws {
        let site = try await AttributionPageHarness()
        let admin = try await site.signIn()
        let empty = try await site.get("weights", as: admin)
        #expect(empty.status == 200 && empty.text.contains("No conversion has custom weights."), "\(empty.text)")
        let form = [
            "form": "weights", "conversion": "purchase", "first": "0.25", "last": "0.75", "channel_email": "2",
            "channel_*": "0.5", "starts_at": "2026-11-01",
        ]
        let set = try await site.send("weights", form, as: admin)
        #expect(set.status == 303 && set.header("location") == "/attribution/weights?done=weights", "\(set.text)")
        let shown = try await site.get("weights?conversion=purchase", as: admin).text
        #expect(shown.contains("<td class=\"num\">0.25</td><td class=\"num\">0</td>"), "\(shown)")
        #expect(shown.contains("others × 0.5, Email × 2"), "\(shown)")
        #expect(shown.contains("name=\"last\" type=\"text\" value=\"0.75\""), "\(shown)")
        #expect(shown.contains("name=\"channel_email\" type=\"text\" value=\"2\""), "\(shown)")
        try await site.sell(0..<2)
        try await site.run()
        let report = try await site.attribution.report(
            org: "acme", conversion: "purchase", model: .custom, by: .channel)
        #expect(report["lines"]?.array?.first?["conversions"]?.double == 2, "\(report)")
        let removal = ["form": "remove-weights", "conversion": "purchase"]
        #expect(try await site.send("weights", removal, as: admin).status == 303)
        let saved = try await site.attribution.definitions.current(org: "acme").first { $0.name == "purchase" }
        #expect(saved?.version == 2 && saved?.json?["custom"] == nil && saved?.json?["click_hours"]?.double == 168)
        let unknown = try await site.get("weights?conversion=nothing", as: admin)
        #expect(unknown.status == 422 && unknown.text.contains("There is no conversion of this name."))
        await site.harness.log.close()
    }

    @Test(arguments: [
        (["first": "-1"], "id=\"weights-first-wrong\">is refused. The weight of first is negative."),
        (["first": "much"], "id=\"weights-first-wrong\">must be a number."),
        (["channel_email": "1000001"], "id=\"weights-channel_email-wrong\">is refused. The weight of email is more"),
        (["first": "0"], "<p class=\"alert\" role=\"alert\">This is refused. All weights are 0"),
        (["starts_at": "tomorrow"], "id=\"weights-starts_at-wrong\">must be a date or RFC 3339."),
    ])
    func `wrong weights are refused in place`(change: [String: String], words: String) async throws {
        let site = try await AttributionPageHarness()
        let form = ["form": "weights", "conversion": "purchase", "first": "1", "last": "0"]
        let answer = try await site.send("weights", form.merging(change) { $1 }, as: try await site.signIn())
        #expect(answer.status == 422 && answer.text.contains(words), "\(answer.text)")
        #expect(try await site.attribution.definitions.current(org: "acme").allSatisfy { $0.version == 0 })
        await site.harness.log.close()
    }

    // MARK: schemas

    private static let schema = [
        "form": "schema", "app_id": "525463029", "currency": "USD", "starts_at": "2026-11-01",
        "schema": "{\"fine\":[{\"from\":0,\"to\":5,\"events\":[\"install\"]}],\"coarse\":[]}",
    ]

    @Test func `a schema is saved in versions, listed, and filled into the form again`() async throws {
        let site = try await AttributionPageHarness()
        let admin = try await site.signIn()
        let empty = try await site.get("schemas", as: admin)
        #expect(empty.status == 200 && empty.text.contains("No app has a schema"), "\(empty.text)")
        #expect(try await site.send("schemas", Self.schema, as: admin).status == 303)
        let later = Self.schema.merging(["currency": "EUR", "starts_at": ""]) { $1 }
        #expect(try await site.send("schemas", later, as: admin).status == 303)
        let page = try await site.get("schemas?app=525463029", as: admin).text
        #expect(page.contains("<th scope=\"row\">525463029</th><td class=\"num\">2</td>"), "\(page)")
        #expect(page.contains("Version 1, from 2026-11-01, USD") && page.contains("Version 2, from"), "\(page)")
        #expect(page.contains("value=\"EUR\"") && page.contains("&quot;install&quot;"), "\(page)")
        let saved = try await site.schemas.versions(org: "acme", appID: 525_463_029, limit: 10)
        #expect(saved.map(\.version) == [2, 1] && saved[0].schema.meaning(.fine(3), window: 0)?.events == ["install"])
        for id in ["7", "none"] {
            let none = try await site.get("schemas?app=" + id, as: admin)
            #expect(none.status == 422 && none.text.contains("No app of this id has a schema."), "\(none.text)")
        }
        await site.harness.log.close()
    }

    @Test(arguments: [
        (["schema": "{"], "id=\"schema-schema-wrong\">must be an object of JSON"),
        (["schema": "{\"fine\":[{\"from\":64}]}"], "id=\"schema-schema-wrong\">fine[0].from must be a whole number"),
        (["app_id": "x"], "id=\"schema-app_id-wrong\">must be a whole number from 1."),
        (["app_id": "0"], "id=\"schema-app_id-wrong\">must be a whole number from 1."),
        (["currency": ""], "id=\"schema-currency-wrong\">must be three letters"),
        (["starts_at": "soon"], "id=\"schema-starts_at-wrong\">must be a date"),
    ])
    func `a wrong schema is refused beside its field`(change: [String: String], words: String) async throws {
        let site = try await AttributionPageHarness()
        let answer = try await site.send(
            "schemas", Self.schema.merging(change) { $1 }, as: try await site.signIn())
        #expect(answer.status == 422 && answer.text.contains(words), "\(answer.text)")
        #expect(try await site.schemas.newest(org: "acme").isEmpty)
        await site.harness.log.close()
    }

    // MARK: rights

    @Test(arguments: ["windows", "weights", "schemas"])
    func `who may only read sees no form, and who may only change sees nothing`(page: String) async throws {
        let site = try await AttributionPageHarness()
        let reader = try await site.signIn([.analyticsRead])
        let shown = try await site.get(page, as: reader)
        #expect(shown.status == 200 && !shown.text.contains("action=\"/attribution/\(page)\""), "\(shown.text)")
        #expect(try await site.send(page, ["form": "window"], as: reader).code == "scope_missing")
        #expect(try await site.get(page, as: try await site.signIn([.campaignsWrite])).code == "scope_missing")
        let admin = try await site.signIn()
        #expect(try await site.send(page, ["form": "window"], as: admin, csrf: "").code == "bad_query")
        let unknown = try await site.send(page, ["form": "other"], as: admin)
        #expect(unknown.status == 422 && unknown.text.contains("The page has no such form."), "\(unknown.text)")
        await site.harness.log.close()
    }
}
