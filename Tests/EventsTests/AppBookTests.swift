internal import AurumCore
internal import Events
internal import TestSupport
import Testing

/// Settings that cannot be, and the member that is wrong.
private let badSettings: [(JSONValue, String)] = [
    (["default_currency": "usd"], "default_currency"), (["own_hosts": ["https://a.example/"]], "own_hosts[0]"),
    (["lateness_hours": 0], "lateness_hours"), (["session_gap_minutes": 241], "session_gap_minutes"),
    (["sessions": "both"], "sessions"), (["default_consent": ["ads": "yes"]], "default_consent.ads"),
    (["default_consent": ["gpc": "denied"]], "default_consent.gpc"), (["plan_mode": "on"], "plan_mode"),
    (["retention_days": 1.5], "retention_days"),
    (["retention_days_by_type": ["x": 1]], "retention_days_by_type.x"),
    (["personal_keys": "email"], "personal_keys"), (["colour": 1], "colour"), ([1], ""),
]

/// Settings and tracking plans of apps.
struct AppBookTests {
    @Test func `settings come back as they were put, with defaults for the rest, also after a restart`() async throws {
        let database = try OpenDatabase()
        let book = try await AppBook.open(database.database)
        #expect(book.state(org: "acme", app: "shop").settings == AppSettings())
        #expect(book.list(org: "acme").isEmpty)
        let document: JSONValue = [
            "default_currency": "EUR", "own_hosts": ["WWW.Shop.example", "pay.example"],
            "redirect_hosts": ["a.example"],
            "lateness_hours": 48, "session_gap_minutes": 240, "sessions": "client",
            "default_consent": ["ads": "denied"], "plan_mode": "enforce", "retention_days": 30,
            "retention_days_by_type": ["click": 7], "personal_keys": ["nick"],
        ]
        let put = try await book.put(org: "acme", app: "shop", document)
        #expect(put.version == 1 && put.settings.ownHosts == ["shop.example", "pay.example"])
        _ = try await book.put(org: "acme", app: "shop", document)
        for read in [book, try await AppBook.open(database.database)] {
            let state = read.state(org: "acme", app: "shop")
            #expect(state.version == 2 && state.settings == put.settings && state.settings.planMode == .enforce)
            #expect(state.settings.retentionDays(of: .click) == 7 && state.settings.retentionDays(of: .page) == 30)
            #expect(state.settings.isOwn(host: "m.shop.example") && !state.settings.isOwn(host: "workshop.example"))
            #expect(read.list(org: "acme").map(\.app) == ["shop"] && read.list(org: "rival").isEmpty)
        }
    }

    @Test(arguments: badSettings)
    func `a setting that cannot be is named`(document: JSONValue, field: String) {
        do {
            _ = try AppSettings(document)
            Issue.record("\(document.canonical) was taken")
        } catch { if case .invalid(let problems) = error { #expect(problems.map(\.field) == [field]) } }
    }

    @Test func `capture follows the settings from the next request on`() async throws {
        let desk = try await PolicyDesk.open()
        let old = trackLine(["ts": "\"2026-11-20T01:00:00Z\""])
        #expect(try await desk.log.send(old).late == 1)
        _ = try await desk.policies.apps.put(
            org: "acme", app: "shop", ["lateness_hours": 48, "default_currency": "EUR"])
        let track = """
            {"type":"track","event":"Paid","messageId":"m1","userId":"u","timestamp":"2026-11-20T01:00:00Z",\
            "properties":{"revenue":5}}
            """
        #expect(try await desk.log.send(track, format: .segmentTrack).stored == 1)
        #expect(try await desk.events().last?.currency == "EUR")
        await desk.log.close()
    }

    @Test func `plans have versions, and one that cannot be understood has none`() async throws {
        let database = try OpenDatabase()
        let book = try await AppBook.open(database.database)
        let first = try await book.putPlan(org: "acme", app: "shop", ["names": ["a": true]])
        let second = try await book.putPlan(org: "acme", app: "shop", ["names": [["name": "b"]]])
        #expect(first.version == 1 && second.version == 2)
        await #expect(throws: PolicyError.self) {
            try await book.putPlan(org: "acme", app: "shop", ["names": ["a": ["type": "text", "minimun": 1]]])
        }
        let again = try await AppBook.open(database.database)
        #expect(again.state(org: "acme", app: "shop").plan?.version == 2)
        #expect(try await again.plan(org: "acme", app: "shop")?.document == ["names": [["name": "b"]]])
        #expect(try await again.plan(org: "acme", app: "shop", version: 1)?.document == ["names": ["a": true]])
        #expect(try await again.plan(org: "acme", app: "shop", version: 3) == nil)
    }
}
