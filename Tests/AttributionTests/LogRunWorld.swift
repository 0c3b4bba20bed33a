import Attribution
import AurumCore
import Database
import Events
import Logging
import Telemetry
import TestSupport
import Testing

/// A real log whose conversions runs credit.
struct LogRunWorld {
    /// Milliseconds since 1970: when the first events are.
    static let start: Int64 = 1_760_000_000_000
    static let hour: Int64 = 3_600_000

    let open: OpenDatabase
    let log: EventLog
    let attribution: LogAttribution

    /// - Parameter days: from `start` to now.
    init(days: Int64 = 40, on engine: Dialect = .ofTestRun) throws {
        open = try OpenDatabase(
            clock: ManualWallClock(Timestamp(milliseconds: Self.start + days * 24 * Self.hour)), on: engine)
        let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        log = try EventLog.open(
            directory: open.folder.file("events"), registry: open.registry, health: HealthRegistry(clock: open.clock),
            clock: open.clock, logger: quiet)
        let store = log.store
        attribution = LogAttribution(
            database: open.database, source: store, persons: { store.persons(org: $0) },
            folder: open.folder.file("runs"), clock: open.clock, registry: open.registry, logger: quiet)
    }

    func send(_ lines: [String]) async throws {
        let receipt = try await log.capture.submit(
            Array(lines.joined(separator: "\n").utf8), format: .ndjson, source: CaptureSource(org: "o", app: "shop"),
            receivedAt: open.clock.now)
        #expect(receipt.stored + receipt.late == lines.count)
    }

    /// A touch of a campaign; `at` counts milliseconds from `start`.
    static func touch(
        _ id: String, _ person: String, at: Int64, type: String = "click", campaign: String,
        _ source: String = "google", _ medium: String = "cpc"
    ) -> String {
        "{\"id\":\"\(id)\",\"type\":\"\(type)\",\"ts\":\(start + at),\"anonymous_id\":\"\(person)\","
            + "\"url\":\"https://shop.example/\",\"campaign\":{\"name\":\"\(campaign)\",\"source\":\"\(source)\","
            + "\"medium\":\"\(medium)\"}}"
    }

    static func conversion(
        _ id: String, _ person: String, at: Int64, name: String = "purchase", value: String? = nil
    ) -> String {
        let money = value.map { ",\"value\":\($0),\"currency\":\"USD\"" } ?? ""
        return "{\"id\":\"\(id)\",\"type\":\"conversion\",\"name\":\"\(name)\",\"ts\":\(start + at),"
            + "\"anonymous_id\":\"\(person)\"\(money)}"
    }

    @discardableResult
    func save(_ members: [String: JSONValue], name: String = "purchase") async throws -> SavedDefinition {
        let body = ["where": .string("name = \(name)"), "starts_at": "2020-01-01"].merging(members) { $1 }
        return try await attribution.definitions.save(.object(body), name: name, org: "o", now: open.clock.now)
    }

    @discardableResult
    func run(_ name: String = "purchase", ifChanged: Bool = false) async throws -> LogRunSummary {
        var wish = LogAttribution.Wish(conversion: name, reason: "test")
        wish.onlyIfChanged = ifChanged
        return try await attribution.run(wish, org: "o", id: UID(high: 1, low: UInt64.random(in: 0 ... .max)))
    }

    func rows(_ model: String, of name: String = "purchase") async throws -> [LogCreditRow] {
        (try await run(name).result.results.first?.rows ?? LogCreditRows()).filter { $0.model == model }
    }
}
