import AurumCore
import Runtime
import Testing

/// Ticks against tables written by hand.
struct JobScheduleTests {
    private static let kind = JobKind("test.tick")

    private func time(_ text: String) throws -> Timestamp { try #require(Timestamp(rfc3339: text)) }

    private func ticks(_ cron: String, _ zone: String, from: String, count: Int) throws -> [String] {
        let cron = try CronExpression(cron, zone: zone)
        var moment = try time(from)
        var found: [String] = []
        for _ in 0..<count {
            moment = try #require(cron.next(after: moment))
            found.append(String(moment.rfc3339.prefix(16)))
        }
        return found
    }

    @Test func `a time that does not exist stands for the next that does`() throws {
        // New York, 8 March 2026: 02:00 EST becomes 03:00 EDT at 07:00 UTC.
        #expect(
            try ticks("30 2 * * *", "America/New_York", from: "2026-03-06T12:00:00Z", count: 4)
                == ["2026-03-07T07:30", "2026-03-08T07:00", "2026-03-09T06:30", "2026-03-10T06:30"])
        #expect(
            try ticks("*/20 * * * *", "America/New_York", from: "2026-03-08T06:30:00Z", count: 4)
                == ["2026-03-08T06:40", "2026-03-08T07:00", "2026-03-08T07:20", "2026-03-08T07:40"])
        // London, 29 March 2026: 01:00 GMT becomes 02:00 BST at 01:00 UTC.
        #expect(
            try ticks("15 1 * * *", "Europe/London", from: "2026-03-28T12:00:00Z", count: 2)
                == ["2026-03-29T01:00", "2026-03-30T00:15"])
    }

    @Test func `a time that comes twice is meant once`() throws {
        // New York, 1 November 2026: 02:00 EDT becomes 01:00 EST at 06:00 UTC.
        #expect(
            try ticks("30 1 * * *", "America/New_York", from: "2026-10-31T12:00:00Z", count: 3)
                == ["2026-11-01T05:30", "2026-11-02T06:30", "2026-11-03T06:30"])
        #expect(
            try ticks("0 * * * *", "America/New_York", from: "2026-11-01T04:30:00Z", count: 3)
                == ["2026-11-01T05:00", "2026-11-01T07:00", "2026-11-01T08:00"])
    }

    @Test func `fields are read as in cron`() throws {
        #expect(
            try ticks("0 9-17/4 * * MON-FRI", "Etc/UTC", from: "2026-11-20T16:00:00Z", count: 4)
                == ["2026-11-20T17:00", "2026-11-23T09:00", "2026-11-23T13:00", "2026-11-23T17:00"])
        // Day of month or day of week, when both are given; 7 is Sunday.
        #expect(
            try ticks("0 0 15 * 7", "Etc/UTC", from: "2026-11-09T00:00:00Z", count: 3)
                == ["2026-11-15T00:00", "2026-11-22T00:00", "2026-11-29T00:00"])
        #expect(
            try ticks("0 0 29 feb *", "Etc/UTC", from: "2026-01-01T00:00:00Z", count: 2)
                == ["2028-02-29T00:00", "2032-02-29T00:00"])
        #expect(
            try ticks("5,10 0 1 1,7 *", "Asia/Kathmandu", from: "2026-06-01T00:00:00Z", count: 3)
                == ["2026-06-30T18:20", "2026-06-30T18:25", "2026-12-31T18:20"])
    }

    @Test(arguments: [
        "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "a * * * *", "5-1 * * * *",
        "*/0 * * * *", "1,,2 * * * *", "0 0 30 2 *", "* * * * * *", "- * * * *", "1-2-3 * * * *", "*/a * * * *",
    ])
    func `what is no expression is refused with a sentence`(_ text: String) {
        #expect(throws: JobError.self) { try CronExpression(text, zone: "Etc/UTC") }
    }

    @Test func `a zone that does not exist is refused`() {
        #expect(throws: JobError.self) { try CronExpression("* * * * *", zone: "Mars/Olympus") }
    }

    @Test func `over a stop of six hours across both changes each policy does what its table says`() throws {
        // Hourly at :30 in New York; nobody is there from 04:00 to 10:00 UTC. On 8 March 02:30 does not exist: its tick
        // is the change, 07:00 UTC. On 1 November 01:30 comes twice, at 05:30 and 06:30 UTC.
        let tables: [(String, String, JobSchedule.Missed, [String], Int)] = [
            ("2026-03-08", "10:00:00", .skip, [], 7),
            ("2026-03-08", "10:00:00", .runOnce, ["09:30"], 6),
            ("2026-03-08", "10:00:00", .runAll(3), ["07:30", "08:30", "09:30"], 4),
            (
                "2026-03-08", "10:00:00", .runAll(24),
                ["04:30", "05:30", "06:30", "07:00", "07:30", "08:30", "09:30"], 0
            ),
            ("2026-11-01", "10:00:00", .skip, [], 5),
            ("2026-11-01", "10:00:00", .runOnce, ["09:30"], 4),
            ("2026-11-01", "10:00:00", .runAll(24), ["04:30", "05:30", "07:30", "08:30", "09:30"], 0),
            // A look within the grace finds its tick on time.
            ("2026-11-01", "09:30:59", .skip, ["09:30"], 4),
        ]
        let cron = try CronExpression("30 * * * *", zone: "America/New_York")
        for (day, looks, policy, fire, missed) in tables {
            let schedule = try JobSchedule(
                "hourly", Self.kind, org: "acme", .cron(cron), missed: policy, now: try time("\(day)T04:00:00Z"))
            let ticks = schedule.ticks(upTo: try time("\(day)T\(looks)Z"))
            #expect(ticks.fire.map { String($0.rfc3339.dropFirst(11).prefix(5)) } == fire, "\(policy) \(day)")
            #expect(ticks.missed == missed, "\(policy) \(day)")
            #expect(ticks.next == (try time("\(day)T10:30:00Z")))
        }
    }

    @Test func `an interval ticks at whole multiples of itself`() throws {
        let now = try time("2026-11-21T12:00:30Z")
        var schedule = try JobSchedule("a", Self.kind, org: "acme", .every(.seconds(3600)), now: now)
        #expect(schedule.next == (try time("2026-11-21T13:00:00Z")))
        schedule.missed = .runAll(100)
        let ticks = schedule.ticks(upTo: try time("2026-12-21T12:30:00Z"))
        #expect(ticks.fire.count == JobLimits.ticksAtOnce && ticks.missed == 720 - JobLimits.ticksAtOnce)
        #expect(throws: JobError.self) {
            try JobSchedule("b", Self.kind, org: "acme", .every(.milliseconds(10)), now: now)
        }
        let first = try JobSchedule("c", Self.kind, org: "acme", .every(.seconds(3600)), now: now, beginsNow: true)
        #expect(first.ticks(upTo: now).fire == [now])
    }
}
