package import AurumCore
internal import Events
internal import Foundation

/// What `aurum bench events` is asked for.
package struct EventsBenchOptions: Sendable {
    /// A folder of NDJSON files; nil makes the standard data.
    package var directory: String?
    package var events = 1_000_000
    /// Ids in the full de-duplication window when the cost of a fresh one is measured.
    package var identifiers = 50_000_000
    /// One small round of everything: proves that it works, measures nothing.
    package var tiny = false
    package var seed: UInt64 = 7

    package init() {}

    var rounds: Int { tiny ? 1 : 21 }
    /// Fewer events say nothing about a ratio or a rate.
    static let eventsToJudge = 100_000
}

/// The rows, and what the data was.
package struct EventsBenchResult: Sendable {
    package var rows: [BenchRow]
    package var data: String
    package var totals: StandardTotals?
}

/// Measures the event engine in this process, each figure against its bar (events.md §8 and §10).
package func eventsBench(_ options: EventsBenchOptions) async throws -> EventsBenchResult {
    let events = options.tiny ? min(options.events, 4000) : options.events
    let bodies =
        try options.directory.map { try EventBodies.load($0, eventsMax: events) }
        ?? EventBodies.generate(.standard, events: events, seed: options.seed)
    let path = HotPathBench(bodies: bodies, rounds: options.rounds, seed: options.seed)
    var rows = path.parser() + path.encode()
    rows += try await LogBench(bodies: bodies, name: "events", ratioBar: 8.2).rows()
    if options.directory == nil {
        let harsh = EventBodies.generate(.harsh, events: min(events, 200_000), seed: options.seed)
        rows += try await LogBench(bodies: harsh, name: "events.harsh", ratioBar: nil).rows()
    }
    rows += try await queryScanBench(tiny: options.tiny, seed: options.seed)
    rows += try deduplicationBench(identifiers: options.identifiers, tiny: options.tiny, seed: options.seed)
    return EventsBenchResult(
        rows: rows, data: "\(bodies.origin): \(bodies.events) events, \(bodies.bytes) bytes", totals: bodies.totals)
}

/// The steps of capture one by one, on one thread, by its CPU time: other work on the machine counts little.
struct HotPathBench: Sendable {
    let bodies: EventBodies
    let rounds: Int
    let seed: UInt64
    /// So many bodies stay in the caches, as those of a server do that has just received them.
    private static let bodiesInCache = 32
    private static let padding = 64
    private static let eventsToJudge = 10_000

    private var sample: [[UInt8]] { Array(bodies.bodies.prefix(Self.bodiesInCache)) }

    /// The median round after a warm-up, nanoseconds.
    private func median(_ work: () -> Void) -> Double {
        work()
        return (0..<rounds).map { _ in
            let began = ProcessCost.threadNanoseconds
            work()
            return ProcessCost.threadNanoseconds - began
        }.median
    }

    /// A handful of events measures the clock, not the parser.
    private func tooFew(_ events: Int) -> String? {
        events < Self.eventsToJudge ? "fewer than \(Self.eventsToJudge) events" : nil
    }

    func parser() -> [BenchRow] {
        let checker = ContractChecker()
        let padded = sample.map { $0 + [UInt8](repeating: 0, count: Self.padding) }
        var accepted = 0
        let time = median {
            accepted = 0
            for body in padded {
                body.withUnsafeBytes { bytes in
                    let text = UnsafeRawBufferPointer(rebasing: bytes[0..<bytes.count - Self.padding])
                    accepted += checker.parseLines(text, receivedAt: bodies.receivedAt)
                }
            }
        }
        return [
            BenchRow(
                name: "events.parse", value: time / Double(max(1, accepted)), unit: "ns/event", bar: 200,
                n: accepted * rounds, note: "one thread, CPU time, median of \(rounds) rounds",
                notJudged: accepted == 0 ? "no line could be parsed" : tooFew(accepted))
        ]
    }

    func encode() -> [BenchRow] {
        let checker = ContractChecker()
        let time = median {
            for (number, body) in sample.enumerated() {
                _ = body.withUnsafeBytes { checker.append($0, format: .ndjson, receivedAt: bodies.receivedAt) }
                if number % 30 == 29 { _ = checker.seal() }
            }
            _ = checker.seal()
        }
        let events = sample.reduce(0) { $0 + $1.count { $0 == 0x0a } }
        return [
            BenchRow(
                name: "events.parse_encode_compress", value: time / Double(max(1, events)), unit: "ns/event", bar: 550,
                n: events * rounds, note: "one thread, CPU time, median of \(rounds) rounds, blocks of 24,000 rows",
                notJudged: tooFew(events))
        ]
    }
}

/// Measures the de-duplication index alone.
package func deduplicationBench(identifiers: Int, tiny: Bool, seed: UInt64) throws -> [BenchRow] {
    try DeduplicationBench(identifiers: tiny ? min(identifiers, 20_000) : identifiers, seed: seed).rows()
}
