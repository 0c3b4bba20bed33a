internal import AurumCore
package import Logging
internal import NIOCore
internal import Synchronization

/// What a chat load measured.
package struct ChatLoadReport: Sendable, Codable {
    package var visitors: Int
    package var seconds: Double
    package var intervalSeconds: Double
    package var conversations: Int
    package var finished: Int
    package var turns: Int
    package var errors: Int
    /// Code of each error, counted.
    package var errorCodes: [String: Int]
    /// Message due to first bot message; turns of the first `warmUpSeconds` left out.
    package var latency: LatencySummary

    package var table: String {
        let codes = errorCodes.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: ", ")
        return """
            visitors      \(visitors) at once, a message every \(decimal(intervalSeconds, 2)) s each
            turns         \(turns) in \(conversations) conversations, \(finished) of them to the end
            errors        \(errors) \(codes)
            turn latency  \(latency.sentence)
            """
    }
}

/// Visitors on WebSockets who talk to the advisor at a steady pace. Each has its own timetable: a message that goes out
/// late because the answer before it was late counts from when it was due.
package struct ChatLoad: Sendable {
    private let target: String
    private let siteKeys: [String]
    private let visitors: Int
    private let seconds: Double
    private let interval: Double
    private let warmUp: Double
    private let seed: UInt64
    private let logger: Logger

    private struct Tally {
        var recorder = LatencyRecorder()
        var conversations = 0
        var finished = 0
        var turns = 0
        var errors: [String: Int] = [:]
    }

    /// - Parameters:
    ///   - siteKeys: visitor k uses key k mod count.
    ///   - interval: seconds between the messages of one visitor.
    package init(
        target: String, siteKeys: [String], visitors: Int, seconds: Double, interval: Double = 2.2,
        warmUp: Double = 2, seed: UInt64 = 7, logger: Logger = Logger(label: "aurum.load")
    ) {
        self.target = target
        self.siteKeys = siteKeys
        self.visitors = visitors
        self.seconds = seconds
        self.interval = interval
        self.warmUp = warmUp
        self.seed = seed
        self.logger = logger
    }

    package func run() async throws -> ChatLoadReport {
        let (report, _) = try await measure()
        return report
    }

    /// The report, and the raw distribution behind it.
    func measure() async throws -> (ChatLoadReport, LatencyRecorder) {
        guard !siteKeys.isEmpty else { throw LoadError.noKeys }
        let tally = SharedTally()
        let fresh = UInt64(bitPattern: SystemWallClock().now.microseconds)
        let begin = ContinuousClock().now
        await withTaskGroup(of: Void.self) { group in
            for visitor in 0..<visitors {
                group.addTask { await visit(visitor, fresh, begin, tally) }
            }
        }
        let result = tally.value
        let report = ChatLoadReport(
            visitors: visitors, seconds: seconds, intervalSeconds: interval, conversations: result.conversations,
            finished: result.finished, turns: result.turns, errors: result.errors.values.reduce(0, +),
            errorCodes: result.errors, latency: result.recorder.summary)
        return (report, result.recorder)
    }

    private final class SharedTally: Sendable {
        private let state = Mutex(Tally())
        var value: Tally { state.withLock { $0 } }
        func change(_ body: (inout Tally) -> Void) { state.withLock { body(&$0) } }
    }

    /// One visitor: conversation after conversation until the time is up. Visitors come spread over one interval.
    private func visit(_ visitor: Int, _ fresh: UInt64, _ begin: ContinuousClock.Instant, _ tally: SharedTally) async {
        let clock = ContinuousClock()
        let end = begin + .seconds(seconds)
        var due = begin + .seconds(interval * Double(visitor) / Double(max(1, visitors)))
        var number = fresh &+ UInt64(visitor) &* 1_000_000
        while due < end, !Task.isCancelled {
            try? await clock.sleep(until: due)
            number += 1
            do {
                try await converse(visitor, number, &due, begin, end, tally)
            } catch {
                tally.change { $0.errors[ChatLoad.code(of: error), default: 0] += 1 }
                due = max(due, clock.now) + .seconds(interval)
            }
        }
    }

    private func converse(
        _ visitor: Int, _ number: UInt64, _ due: inout ContinuousClock.Instant, _ begin: ContinuousClock.Instant,
        _ end: ContinuousClock.Instant, _ tally: SharedTally
    ) async throws {
        let clock = ContinuousClock()
        let persona = Persona.ideal(number: number)
        var talk = try await ChatTalk.open(
            base: target, siteKey: siteKeys[visitor % siteKeys.count],
            hello: ChatHello(
                visitorID: "load-\(number)", traceID: UID(now: SystemWallClock().now).hex, page: target + "/"))
        tally.change { $0.conversations += 1 }
        var turns = 0
        while !talk.turn.closed, let slots = talk.turn.slotAsked, due < end, turns < 30 {
            due = due + .seconds(interval)
            try? await clock.sleep(until: due)
            turns += 1
            let sent = clock.now
            let turn = try await talk.say(persona.answer(to: slots, quickReplies: talk.turn.quickReplies))
            if let error = turn.error {
                tally.change { $0.errors[error, default: 0] += 1 }
                break
            }
            let judged = due >= begin + .seconds(warmUp)
            // Time from the due moment: what it waited before it could be sent, and the turn itself.
            let lag = max(.zero, sent - due)
            if let latency = turn.latency {
                tally.change { tally in
                    tally.turns += 1
                    guard judged else { return }
                    let whole = UInt64(clamping: (latency + lag).nanoseconds)
                    let service = UInt64(clamping: latency.nanoseconds)
                    tally.recorder.finished(intended: 0, sent: whole - service, answered: whole)
                }
            }
        }
        if talk.turn.closed { tally.change { $0.finished += 1 } }
        await talk.bye()
    }

    private static func code(of error: any Error) -> String {
        switch error {
        case ChatError.refused(let code): code
        case ChatError.lost(let code): "closed \(code)"
        case ChatError.silent: "silent"
        case WebSocketError.refused(let status): "refused \(status)"
        case WebSocketError.timedOut: "timeout"
        default: "\(type(of: error))"
        }
    }
}
