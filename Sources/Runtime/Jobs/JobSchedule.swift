package import AurumCore
internal import Foundation

/// Jobs that come again and again. The next tick is computed from the plan, never from when the last job ran.
package struct JobSchedule: Sendable, Equatable {
    /// When it ticks.
    package enum Plan: Sendable, Equatable {
        case cron(CronExpression)
        /// At every whole multiple of it since 1970, UTC.
        case every(Duration)

        /// The first tick after `moment`.
        package func tick(after moment: Timestamp) -> Timestamp {
            switch self {
            case .cron(let cron): return cron.next(after: moment) ?? Timestamp.end
            case .every(let interval):
                let step = max(1, interval.microseconds)
                let past = moment.microseconds
                let count = past >= 0 ? past / step : (past - step + 1) / step
                return Timestamp(microseconds: (count + 1) * step)
            }
        }
    }

    /// What is done about ticks that were missed by more than `JobLimits.tickGrace`, because nobody was there.
    package enum Missed: Sendable, Equatable {
        case skip
        /// One job for all of them.
        case runOnce
        /// A job for each of the last so many, at most `JobLimits.ticksAtOnce`.
        case runAll(Int)
    }

    /// Unique; also the jobs' concurrency.
    package var name: String
    package var org: String
    package var plan: Plan
    package var missed: Missed
    package var type: String
    package var version: Int
    package var priority: JobPriority
    package var attemptsMax: Int
    package var keepsDone: Duration
    /// JSON.
    package var payload: String
    package var next: Timestamp

    /// The first tick after `moment`.
    package func tick(after moment: Timestamp) -> Timestamp { plan.tick(after: moment) }

    package struct Ticks: Sendable, Equatable {
        /// In order; each becomes a job.
        package var fire: [Timestamp]
        /// Passed over.
        package var missed: Int
        package var next: Timestamp
    }

    /// Ticks between looks are looked at one by one up to so many; before them a long silence is passed over.
    private static let ticksLookedAt = 10_000

    /// What has come since the last look.
    package func ticks(upTo now: Timestamp) -> Ticks {
        var last: [Timestamp] = []
        var (count, looked, tick) = (0, 0, next)
        while tick <= now {
            last.append(tick)
            if last.count > JobLimits.ticksAtOnce { last.removeFirst() }
            (count, looked) = (count + 1, looked + 1)
            tick = self.tick(after: tick)
            if looked == Self.ticksLookedAt { tick = max(tick, self.tick(after: now - .seconds(3600))) }
        }
        let fire: [Timestamp] =
            switch missed {
            case .skip: last.suffix(1).filter { now - $0 <= JobLimits.tickGrace }
            case .runOnce: last.suffix(1)
            case .runAll(let most): last.suffix(max(0, min(most, JobLimits.ticksAtOnce)))
            }
        return Ticks(fire: fire, missed: count - fire.count, next: tick)
    }

    /// The job of a tick.
    func job(due: Timestamp) -> NewJob {
        let kind = JobKind(
            type, version: version, priority: priority, attemptsMax: attemptsMax, keepsDone: keepsDone)
        let value = try? JSONDecoder().decode(JSONValue.self, from: Data(payload.utf8))
        return NewJob(kind, org: org, payload: value ?? .object([:]), due: due)
    }

    /// `every 60s` or `cron 0 3 * * * America/New_York`.
    package var planText: String {
        switch plan {
        case .every(let interval): "every \(interval.microseconds / 1_000_000)s"
        case .cron(let cron): "cron \(cron.text) \(cron.zone)"
        }
    }

    /// The plan that `planText` wrote.
    static func plan(_ text: String) throws(JobError) -> Plan {
        if text.hasPrefix("every "), text.hasSuffix("s"), let seconds = Int64(text.dropFirst(6).dropLast()) {
            return .every(.seconds(seconds))
        }
        guard text.hasPrefix("cron "), let cut = text.lastIndex(of: " ") else {
            throw .invalid("\"\(text.prefix(80))\" is no schedule")
        }
        let zone = String(text[text.index(after: cut)...])
        return .cron(try CronExpression(String(text.dropFirst(5)[..<cut]), zone: zone))
    }

    package var missedText: String {
        switch missed {
        case .skip: "skip"
        case .runOnce: "runOnce"
        case .runAll(let count): "runAll \(count)"
        }
    }

    static func missed(_ text: String) -> Missed? {
        if text == "skip" { return .skip }
        if text == "runOnce" { return .runOnce }
        guard text.hasPrefix("runAll "), let count = Int(text.dropFirst(7)) else { return nil }
        return .runAll(count)
    }
}

extension JobSchedule {
    /// A schedule whose first tick is the first after `now`, or `now` itself when it `beginsNow`.
    /// - Throws: `JobError.invalid`.
    package init(
        _ name: String, _ kind: JobKind, org: String, _ plan: Plan, missed: Missed = .skip,
        payload: JSONValue = .object([:]), now: Timestamp, beginsNow: Bool = false
    ) throws(JobError) {
        if case .every(let interval) = plan, interval < .seconds(1) {
            throw .invalid("a schedule ticks at most once a second")
        }
        self.init(
            name: name, org: org, plan: plan, missed: missed, type: kind.name, version: kind.version,
            priority: kind.priority, attemptsMax: kind.attemptsMax, keepsDone: kind.keepsDone,
            payload: payload.canonical, next: now)
        if !beginsNow { next = tick(after: now) }
    }
}
