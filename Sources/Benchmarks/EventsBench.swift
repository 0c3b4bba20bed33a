internal import AurumCore
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry

/// Measures the hot path of capture: parser, parser with block, de-duplication, and durable ingest in this process.
///
/// - Parameters:
///   - directory: a folder of NDJSON bodies (`*.ndjson`); nil makes the standard profile from `seed`.
///   - tiny: one small round of everything, for the tests.
package func eventsBench(directory: String?, tiny: Bool, seed: UInt64) async throws -> [BenchRow] {
    let bodies = try directory.map { try EventBodies.load($0) } ?? EventBodies.generate(tiny ? 2 : 32, 800, seed: seed)
    let bench = EventsBench(bodies: bodies, rounds: tiny ? 1 : 21, seed: seed, seconds: tiny ? 0.05 : 5)
    return bench.parser() + bench.append() + bench.deduplication() + [try await bench.ingest()]
        + (try await queryScanBench(tiny: tiny, seed: seed))
        + (try await queryDashboardBench(tiny: tiny, seed: seed))
}

/// NDJSON bodies to measure with.
struct EventBodies: Sendable {
    /// Each ends in a line end.
    var bodies: [[UInt8]]
    var events: Int
    /// A time at which every event is fresh.
    var receivedAt: Timestamp

    static func load(_ directory: String) throws -> EventBodies {
        let names = try FileManager.default.contentsOfDirectory(atPath: directory).filter { $0.hasSuffix(".ndjson") }
        let bodies = try names.sorted().prefix(64).map { name in
            Array(try Data(contentsOf: URL(fileURLWithPath: directory).appendingPathComponent(name)))
        }
        return EventBodies(bodies)
    }

    init(_ bodies: [[UInt8]]) {
        self.bodies = bodies
        events = bodies.reduce(0) { $0 + $1.count { $0 == 0x0a } }
        let first = bodies.first.map { String(decoding: $0.prefix(600), as: UTF8.self) } ?? ""
        let stamp = first.components(separatedBy: "\"timestamp\":\"").dropFirst().first.map { String($0.prefix(24)) }
        receivedAt = stamp.flatMap { Timestamp(rfc3339: $0) } ?? Timestamp(milliseconds: 1_795_224_568_000)
    }

    /// The standard profile: Zipf persons, campaigns and pages, random ids; about 342 bytes an event.
    static func generate(_ count: Int, _ eventsPerBody: Int, seed: UInt64) -> EventBodies {
        var profile = StandardEvents(seed: seed)
        return EventBodies((0..<count).map { _ in profile.body(eventsPerBody) })
    }
}

private struct EventsBench: Sendable {
    let bodies: EventBodies
    let rounds: Int
    let seed: UInt64
    let seconds: Double

    /// CPU time of this thread, so that other work on the machine does not count.
    private func nanoseconds(_ work: () -> Void) -> Double {
        let began = Self.threadSeconds
        work()
        return (Self.threadSeconds - began) * 1e9
    }

    private static var threadSeconds: Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
    }

    /// The fastest round after a warm-up: what the code costs when nothing else disturbs it.
    private func best(_ work: () -> Void) -> Double {
        work()
        return (0..<rounds).map { _ in nanoseconds(work) }.min() ?? 0
    }

    func parser() -> [BenchRow] {
        let checker = ContractChecker()
        let padded = bodies.bodies.map { $0 + [UInt8](repeating: 0, count: 64) }
        var accepted = 0
        let time = best {
            accepted = 0
            for body in padded {
                body.withUnsafeBytes { bytes in
                    let text = UnsafeRawBufferPointer(rebasing: bytes[0..<bytes.count - 64])
                    accepted += checker.parseLines(text, receivedAt: bodies.receivedAt)
                }
            }
        }
        return [
            BenchRow(
                name: "events.parse", value: time / Double(max(1, accepted)), unit: "ns/event", bar: 250,
                n: accepted * rounds),
            BenchRow(
                name: "events.parse.accepted", value: Double(accepted) / Double(max(1, bodies.events)), unit: "share",
                bar: 1, higherIsBetter: true, n: bodies.events),
        ]
    }

    func append() -> [BenchRow] {
        let checker = ContractChecker()
        var bytes = 0
        let time = best {
            bytes = 0
            for (number, body) in bodies.bodies.enumerated() {
                _ = body.withUnsafeBytes { checker.append($0, format: .ndjson, receivedAt: bodies.receivedAt) }
                if number % 30 == 29 { bytes += checker.seal() }
            }
            bytes += checker.seal()
        }
        let text = bodies.bodies.reduce(0) { $0 + $1.count }
        return [
            BenchRow(
                name: "events.parse_append_seal", value: time / Double(max(1, bodies.events)), unit: "ns/event",
                n: bodies.events * rounds),
            BenchRow(
                name: "events.log_ratio", value: Double(text) / Double(max(1, bytes)), unit: "x", higherIsBetter: true,
                n: bodies.events),
        ]
    }

    func deduplication() -> [BenchRow] {
        var random = SeededRandom(seed: seed)
        let count = rounds > 1 ? 4_000_000 : 20_000
        let keys = (0..<count).map { _ in (random.next(), random.next()) }
        let check = DeduplicationCheck(identifiersMax: 16_000_000)
        let time = nanoseconds { _ = check.insert(keys) }
        return [
            BenchRow(name: "events.deduplicate", value: time / Double(count), unit: "ns/event", bar: 150, n: count)
        ]
    }

    /// Bodies with fresh ids submitted from two threads, a bounded number at a time, until the time is up.
    func ingest() async throws -> BenchRow {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("aurum-bench-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let clock = SystemWallClock()
        var configuration = EventsConfiguration()
        configuration.limits.freeBytesMin = 256 << 20
        let log = try EventLog.open(
            directory: folder.path, configuration: configuration, registry: MetricRegistry(),
            health: HealthRegistry(clock: clock), clock: clock, logger: Logger(label: "bench"))
        let began = ContinuousClock.now
        let stored = await withTaskGroup(of: Int.self) { group in
            for worker in 0..<24 {
                group.addTask {
                    var stored = 0
                    var stamp = IDStamp(seed: seed &+ UInt64(worker))
                    var body = bodies.bodies[worker % bodies.bodies.count]
                    while (ContinuousClock.now - began).seconds < seconds {
                        stamp.renew(&body)
                        let receipt = try? await log.capture.submit(
                            body, format: .ndjson, source: CaptureSource(org: "bench", app: "bench"),
                            receivedAt: bodies.receivedAt)
                        stored += receipt?.stored ?? 0
                    }
                    return stored
                }
            }
            return await group.reduce(0, +)
        }
        let rate = Double(stored) / (ContinuousClock.now - began).seconds
        await log.close()
        return BenchRow(
            name: "events.ingest_durable", value: rate, unit: "events/s", bar: 500_000, higherIsBetter: true,
            n: stored)
    }
}

/// Writes fresh random ids over those of a body, so that no event is a duplicate.
private struct IDStamp: Sendable {
    private static let key = Array("\"messageId\":\"".utf8)
    private static let digits = Array("0123456789abcdef".utf8)
    private var random: SeededRandom
    private var places: [Int] = []

    init(seed: UInt64) { random = SeededRandom(seed: seed) }

    mutating func renew(_ body: inout [UInt8]) {
        if places.isEmpty { find(body) }
        let digits = Self.digits
        for place in places {
            var bits = (random.next(), random.next())
            for index in 0..<36 where ![8, 13, 18, 23].contains(index) {
                body[place + index] = digits[Int(bits.0 & 15)]
                bits = (bits.0 >> 4 | bits.1 << 60, bits.1 >> 4)
            }
        }
    }

    private mutating func find(_ body: [UInt8]) {
        var index = 0
        while index + Self.key.count + 36 < body.count {
            if body[index] == Self.key[0], body[index..<index + Self.key.count].elementsEqual(Self.key) {
                places.append(index + Self.key.count)
                index += 36
            }
            index += 1
        }
    }
}
