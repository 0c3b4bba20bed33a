package import AurumCore
package import Database
internal import Logging
internal import Runtime
internal import Telemetry

extension LogAttribution {
    /// The reason of runs that nobody asked for.
    static let scheduled = "schedule"

    /// What counts as a conversion, and which are credited by themselves.
    package func conversionList(org: String) async throws -> JSONValue {
        let (all, planned) = (try await definitions.current(org: org), try await schedules.all(org: org))
        return ["conversions": .array(all.compactMap(\.json)), "schedules": .array(planned.map(\.json))]
    }

    /// Lets a conversion be credited by itself.
    /// - Throws: `unknownConversion`, `tooLarge`; database errors.
    package func schedule(_ plan: RunPlan, conversion: String, org: String) async throws -> RunSchedule {
        try await schedules.set(plan, conversion: conversion, org: org, now: clock.now)
    }

    /// Asks for a run of every conversion whose time has come, once however many times were missed.
    /// - Parameter enqueue: makes the job in the transaction that moves the schedule: one is not without the other.
    /// - Returns: how many were asked for.
    /// - Throws: database errors; one schedule that cannot be moved keeps no other from it and is tried the next time.
    @discardableResult
    package func startDue(
        _ enqueue: @escaping @Sendable (_ wish: Wish, _ org: String, _ transaction: Transaction) throws -> Void
    ) async throws -> Int {
        let now = clock.now
        var started = 0
        for schedule in try await schedules.due(at: now) {
            try Task.checkCancellation()
            var wish = Wish(conversion: schedule.conversion, reason: Self.scheduled)
            wish.onlyIfChanged = true
            let asked = wish
            do {
                if try await schedules.advance(schedule, now: now, { try enqueue(asked, schedule.org, $0) }) {
                    started += 1
                }
            } catch is CancellationError {
                throw CancellationError()
            } catch JobError.staleFence {
                // Another process has this job now.
                throw JobError.staleFence
            } catch {
                logger.error(
                    "a run of attribution could not be asked for",
                    metadata: [
                        "code": "attribution_schedule_stuck", "org": "\(schedule.org)",
                        "conversion": "\(schedule.conversion)", "error": "\(error)",
                    ])
            }
        }
        registry.gauge(.attributionSchedulesFailing).set(Double(try await schedules.failing()))
        return started
    }

    /// Keeps with the schedule how one of its runs ended; other runs have none.
    func note(
        _ outcome: RunSchedule.Outcome, code: String? = nil, _ wish: Wish, org: String, elapsed: Duration
    ) async {
        guard wish.onlyIfChanged, let conversion = wish.conversion, wish.from == nil, wish.to == nil else { return }
        let end = RunSchedule.End(
            outcome, code: code, at: clock.now, milliseconds: Int64((elapsed.seconds * 1000).rounded()))
        do { try await schedules.note(end, conversion: conversion, org: org) } catch {
            logger.warning(
                "how a run of attribution ended is not kept with its schedule",
                metadata: ["code": "attribution_schedule_stuck", "org": "\(org)", "error": "\(error)"])
        }
    }
}
