internal import Accounts
internal import Attribution
internal import AurumCore
internal import Events
internal import Foundation
internal import Gateway
internal import HTTPTypes
internal import TestSupport
import Testing

/// The page of runs over the log, as people without a script use it.
struct RunPageTests {
    @Test func `a conversion is run, scheduled and left alone again by forms`() async throws {
        let site = try await AttributionPageHarness()
        let admin = try await site.signIn()
        try await site.sell(0..<3)
        let before = try await site.get("runs", as: admin)
        #expect(before.status == 200 && before.text.contains("data-conversion=\"purchase\""), "\(before.text)")
        #expect(before.text.contains("never run") && before.text.contains("When asked"), "\(before.text)")
        #expect(before.text.contains("No run has ended yet."), "\(before.text)")
        let run = try await site.send("runs", ["form": "run", "conversion": "purchase"], as: admin)
        #expect(run.status == 303 && run.header("location") == "/attribution/runs?done=run", "\(run.text)")
        let after = try await site.get("runs?done=run", as: admin)
        #expect(after.text.contains("Version 1") && after.text.contains("data-state=\"done\""), "\(after.text)")
        #expect(after.text.contains("The run is asked for."), "\(after.text)")
        let plans = [
            (["every_hours": "6"], "Every 6 hours"),
            (["daily_at": "03:30", "timezone": "America/New_York"], "Daily at 03:30 America/New_York"),
        ]
        for (fields, words) in plans {
            let form = fields.merging(["form": "schedule", "conversion": "purchase"]) { $1 }
            let set = try await site.send("runs", form, as: admin)
            #expect(set.status == 303 && set.header("location") == "/attribution/runs?done=schedule", "\(set.text)")
            let shown = try await site.get("runs", as: admin)
            #expect(shown.text.contains(words) && shown.text.contains("Remove the schedule of purchase"), "\(words)")
        }
        let removal = ["form": "unschedule", "conversion": "purchase"]
        #expect(try await site.send("runs", removal, as: admin).status == 303)
        #expect(try await site.get("runs", as: admin).text.contains("Remove the schedule") == false)
        let again = try await site.send("runs", removal, as: admin)
        #expect(again.status == 404 && again.text.contains("This conversion has no schedule."), "\(again.text)")
        await site.harness.log.close()
    }

    @Test func `a wrong schedule is refused beside its field, which keeps what was filled in`() async throws {
        let site = try await AttributionPageHarness()
        let admin = try await site.signIn()
        func refused(_ fields: [String: String]) async throws -> String {
            let form = ["form": "schedule", "conversion": "lead"].merging(fields) { $1 }
            let answer = try await site.send("runs", form, as: admin)
            #expect(answer.status == 422, "\(fields) \(answer.text)")
            return answer.text
        }
        let long = try await refused(["every_hours": "169"])
        #expect(long.contains("id=\"schedule-every_hours-wrong\">must be a whole number from 1 to 168"), "\(long)")
        #expect(long.contains("value=\"169\"") && long.contains("aria-invalid=\"true\""), "\(long)")
        #expect(long.contains("<option value=\"lead\" selected>"), "\(long)")
        let text = try await refused(["every_hours": "\"><script>x"])
        #expect(text.contains("must be a number.") && !text.contains("<script>x"), "\(text)")
        let both = try await refused(["every_hours": "6", "daily_at": "03:30"])
        #expect(both.contains("and daily_at exclude each other."), "\(both)")
        let zone = try await refused(["daily_at": "03:30", "timezone": "Moon"])
        #expect(zone.contains("id=\"schedule-timezone-wrong\">must be a time zone"), "\(zone)")
        let unknown = try await site.send("runs", ["form": "run", "conversion": "nothing"], as: admin)
        #expect(unknown.status == 404 && unknown.text.contains("There is no conversion of this name."))
        #expect(try await site.attribution.schedules.all(org: "acme").isEmpty)
        await site.harness.log.close()
    }

    @Test func `two runs stand side by side, and runs of other conversions do not`() async throws {
        let site = try await AttributionPageHarness()
        let admin = try await site.signIn()
        try await site.sell(0..<2)
        try await site.run()
        try await site.sell(2..<5, campaign: "autumn")
        try await site.run()
        _ = try await site.attribution.run(
            LogAttribution.Wish(conversion: "lead"), org: "acme", id: UID(now: site.clock.now))
        let offered = try await site.get("runs", as: admin)
        #expect(offered.text.contains("<option value=\"purchase:1\" selected>"), "\(offered.text)")
        #expect(offered.text.contains("<option value=\"purchase:2\" selected>"), "\(offered.text)")
        let page = try await site.get("runs?one=purchase:1&other=purchase:2&model=last&by=campaign", as: admin)
        #expect(page.status == 200, "\(page.text)")
        #expect(page.text.contains("<th scope=\"row\">autumn</th><td class=\"num\">0</td><td class=\"num\">3</td>"))
        #expect(page.text.contains("<td class=\"num\">+3</td><td class=\"num\">0.00 USD</td>"), "\(page.text)")
        #expect(page.text.contains("<td class=\"num\">15.00 USD</td>"), "\(page.text)")
        #expect(page.text.contains("<th scope=\"row\">spring</th><td class=\"num\">2</td><td class=\"num\">2</td>"))
        for (query, words) in [
            ("one=purchase:1&other=lead:1", "must be a run of the same conversion."),
            ("one=purchase:9&other=purchase:2", "must be a run that is kept."),
            ("one=purchase:1&other=purchase:2&model=magic", "must be one of first"),
            ("one=purchase:1&other=purchase:2&model=custom", "has no custom weights"),
        ] {
            let refused = try await site.get("runs?" + query, as: admin)
            #expect(refused.status == 422 && refused.text.contains(words), "\(query) \(refused.text)")
        }
        await site.harness.log.close()
    }

    @Test func `runs that wait or work are said to`() async throws {
        let works = try await AttributionPageHarness(atWork: [
            RunAtWork(conversion: "purchase", isRunning: true), RunAtWork(conversion: "lead", isRunning: false),
        ])
        let text = try await works.get("runs", as: try await works.signIn()).text
        #expect(text.components(separatedBy: "data-state=\"running\"").count == 2, "\(text)")
        #expect(text.components(separatedBy: "data-state=\"waiting\"").count == 2, "\(text)")
        await works.harness.log.close()
    }

    @Test func `who may not read or change is turned away, and so is a form from elsewhere`() async throws {
        let site = try await AttributionPageHarness()
        let form = ["form": "run", "conversion": "purchase"]
        let stranger = try await site.get("runs?by=day", as: "")
        #expect(stranger.status == 303 && stranger.header("location") == "/login?next=/attribution/runs%3Fby%3Dday")
        #expect(try await site.send("runs", form, as: "").header("location") == "/login?next=/attribution/runs")
        let writer = try await site.signIn([.campaignsWrite])
        #expect(try await site.get("runs", as: writer).code == "scope_missing")
        #expect(try await site.send("runs", form, as: writer).status == 403)
        let reader = try await site.signIn([.analyticsRead])
        let page = try await site.get("runs", as: reader)
        #expect(page.status == 200 && !page.text.contains("Run now") && !page.text.contains("id=\"schedule\""))
        #expect(try await site.send("runs", form, as: reader).code == "scope_missing")
        let admin = try await site.signIn()
        let forged = try await site.send("runs", form, as: admin, csrf: "other")
        #expect(forged.status == 400 && forged.text.contains("the form had expired"), "\(forged.text)")
        #expect(try await site.attribution.runs(org: "acme").isEmpty)
        await site.harness.log.close()
    }
}
