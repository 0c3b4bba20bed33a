package import AurumCore
internal import Foundation

/// What a load did and what was measured: one value, shown as JSON or as a table.
package struct LoadReport: Sendable, Codable {
    package struct Generator: Sendable, Codable {
        /// CPU of all generator threads over the whole run, per event or request sent.
        package var cpuMicrosecondsPerItem: Double
        /// The busiest second of the busiest thread, as a share of one core.
        package var cpuShareMax: Double
        package var sendLagP99Milliseconds: Double
        package var loopLagMaxMilliseconds: Double
        /// Due starts attempted, leaving out those that found every connection held by the target.
        package var attemptedShare: Double
        /// Why the run says nothing about the target; empty when it does.
        package var voidReasons: [String]
    }

    package var plan: LoadPlan
    package var salt: UInt64
    package var startedAt: Timestamp
    package var machine: MachineFacts
    package var openLoop: Bool
    package var judgedSeconds: Double
    package var requests: Int
    package var offered: Int
    /// Sum of the receipts' `stored`.
    package var acknowledged: Int
    package var acknowledgedPerSecond: Double
    package var outcomes: OutcomeCounts
    package var statuses: [String: Int]
    /// Requests answered 429 or 503, and those of them without `Retry-After`.
    package var refused: Int
    package var refusedWithoutRetryAfter: Int
    package var unanswered: Int
    package var neverStarted: Int
    package var errors: Int
    package var errorShare: Double
    package var latency: LatencySummary
    package var generator: Generator
    package var target: TargetReading
    package var targetCPUMicrosecondsPerEvent: Double?
    package var calibration: LoadCalibration?
    package var bytesPerEvent: Double
    package var perSecond: [Int]
    /// Sequence numbers of bodies stored whole, when the plan asked to keep them.
    package var acknowledgedBodies: [UInt64]

    init(
        plan: LoadPlan, salt: UInt64, started: Timestamp, tally: LoadTally, target: TargetReading,
        calibration: LoadCalibration?, bytesPerEvent: Double
    ) {
        self.plan = plan
        self.salt = salt
        startedAt = started
        machine = MachineFacts.current
        openLoop = plan.executor.isOpenLoop
        judgedSeconds = plan.judgedSeconds
        requests = tally.requestsSent
        neverStarted = tally.blockedByTarget + tally.missedByGenerator
        offered = tally.itemsSent + (neverStarted + tally.unsent) * plan.batch
        outcomes = tally.outcomes
        acknowledged = tally.outcomes.stored
        acknowledgedPerSecond = judgedSeconds > 0 ? Double(tally.judgedAnswered) / judgedSeconds : 0
        statuses = Dictionary(uniqueKeysWithValues: tally.statuses.map { ("\($0.key)", $0.value) })
        refused = tally.refused
        refusedWithoutRetryAfter = tally.refusedWithoutRetryAfter
        unanswered = tally.unanswered
        errors = tally.judgedErrors
        errorShare = tally.judged.count == 0 ? 0 : Double(tally.judgedErrors) / Double(tally.judged.count)
        latency = tally.judged.summary
        generator = Generator(tally, items: tally.itemsSent, threads: plan.threads, openLoop: openLoop)
        self.target = target
        let perSecondOfTarget = acknowledgedPerSecond * target.wallSeconds
        targetCPUMicrosecondsPerEvent =
            perSecondOfTarget > 0 ? target.cpuSeconds.map { $0 * 1e6 / perSecondOfTarget } : nil
        self.calibration = calibration
        self.bytesPerEvent = bytesPerEvent
        perSecond = tally.acknowledgedPerSecond
        acknowledgedBodies = tally.acknowledged
    }

    package var isVoid: Bool { !generator.voidReasons.isEmpty }

    /// 0 when every judged request was answered 2xx, 1 when some were not, 2 when the run is void.
    package var exitCode: Int32 { isVoid ? 2 : errors > 0 ? 1 : 0 }

    package var json: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        var copy = self
        copy.plan.keys = plan.keys.map { _ in "***" }
        return (try? encoder.encode(copy)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }
}

extension LoadReport.Generator {
    /// Limits of the self-check. Source: spec/validation.md §2.
    private static let sendLagMillisecondsMax = 5.0
    private static let cpuShareLimit = 0.8
    private static let attemptedShareMin = 0.99

    init(_ tally: LoadTally, items: Int, threads: Int, openLoop: Bool) {
        cpuMicrosecondsPerItem = items == 0 ? 0 : Double(tally.judgedCPUNanoseconds) / 1000 / Double(items)
        cpuShareMax = tally.cpuPerSecond.max() ?? 0
        sendLagP99Milliseconds = Double(tally.sendLag.p99Microseconds) / 1000
        loopLagMaxMilliseconds = Double(tally.loopLagMaxNanoseconds) / 1e6
        let due = tally.requestsSent + tally.missedByGenerator
        attemptedShare = due == 0 ? 0 : Double(tally.requestsSent) / Double(due)
        voidReasons = []
        if due == 0 { voidReasons.append("nothing was sent") }
        guard openLoop else { return }
        if sendLagP99Milliseconds > Self.sendLagMillisecondsMax {
            voidReasons.append("p99 send lag \(decimal(sendLagP99Milliseconds, 2)) ms is over 5 ms")
        }
        let mean = tally.cpuPerSecond.isEmpty ? 0 : tally.cpuPerSecond.reduce(0, +) / Double(tally.cpuPerSecond.count)
        if mean > Self.cpuShareLimit {
            voidReasons.append("the generator used \(decimal(mean * 100, 0)) % of a core, over 80 %")
        }
        if attemptedShare < Self.attemptedShareMin {
            voidReasons.append("only \(decimal(attemptedShare * 100, 1)) % of the due starts were attempted")
        }
    }
}

extension LoadReport {
    /// Lines for people.
    package var table: String {
        var rows = [
            ("target", plan.target),
            (
                "profile",
                "\(plan.profile.rawValue), \(plan.batch) events a body, \(decimal(bytesPerEvent, 0)) B an event"
            ),
            ("method", openLoop ? "open loop, latency from the intended start" : "closed loop: passes no latency bar"),
            ("judged", judgedText), ("offered", offeredText), ("acknowledged", acknowledgedText),
            ("rate", "\(decimal(acknowledgedPerSecond, 0)) events/s stored"), ("errors", errorsText),
            ("latency", latency.sentence), ("generator", generatorText),
        ]
        if let text = serverText { rows.append(("server", text)) }
        if let calibration { rows.append(("null server", calibration.sentence)) }
        rows.append(("machine", machine.sentence))
        rows.append(("verdict", verdictText))
        return rows.map { $0.0.padding(toLength: 14, withPad: " ", startingAt: 0) + $0.1 }.joined(separator: "\n")
    }

    private var judgedText: String {
        let warmUp = plan.lengthSeconds - judgedSeconds
        return
            "\(decimal(judgedSeconds, 1)) s after \(decimal(warmUp, 1)) s of warm-up, \(plan.connections) connections"
    }

    private var offeredText: String {
        "\(offered) events in \(requests) requests" + (neverStarted > 0 ? ", \(neverStarted) more never started" : "")
    }

    private var acknowledgedText: String {
        "\(acknowledged) stored, \(outcomes.duplicate) duplicate, \(outcomes.quarantined) quarantined, "
            + "\(outcomes.bot) bot, \(outcomes.late) late"
    }

    private var errorsText: String {
        let codes = statuses.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: ", ")
        return "\(errors) of \(latency.n) (\(decimal(errorShare * 100, 3)) %), statuses \(codes)"
    }

    private var generatorText: String {
        "\(decimal(generator.cpuMicrosecondsPerItem, 3)) µs CPU an event, "
            + "send lag p99 \(decimal(generator.sendLagP99Milliseconds, 2)) ms, "
            + "busiest second \(decimal(generator.cpuShareMax * 100, 0)) % of a core"
    }

    private var serverText: String? {
        target.cores.map { cores in
            "\(decimal(cores, 2)) cores, \(decimal(targetCPUMicrosecondsPerEvent ?? 0, 3)) µs CPU an event, "
                + "resident \(decimal((target.residentBytesMax ?? 0) / 1_048_576, 0)) MB at most (\(target.source))"
        }
    }

    private var verdictText: String {
        if isVoid { return "VOID: " + generator.voidReasons.joined(separator: "; ") }
        return errors == 0 ? "every request answered" : "\(errors) requests failed"
    }
}
