internal import AurumCore
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry
internal import TestSupport

/// A moment at which all events of these tests are fresh.
let testNow = Timestamp(rfc3339: "2026-11-21T12:00:00.000Z") ?? Timestamp(microseconds: 0)
let testSource = CaptureSource(org: "acme", app: "shop")

/// A log over the given storage, quick to commit and small.
func openEvents(
    _ storage: any LogStorage, policies: EventPolicies? = nil, clock: ManualWallClock = ManualWallClock(testNow),
    change: (inout EventsConfiguration) -> Void = { _ in }
) throws -> EventLog {
    var configuration = EventsConfiguration()
    configuration.commitDelay = .milliseconds(0)
    configuration.shards = 2
    configuration.limits.freeBytesMin = 0
    configuration.limits.preallocateBytes = 4096
    configuration.limits.dedupIdentifiersMax = 100_000
    change(&configuration)
    return try EventLog.open(
        storage: storage, configuration: configuration, registry: MetricRegistry(),
        health: HealthRegistry(clock: clock), clock: clock,
        logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, policies: policies)
}

extension EventLog {
    /// Sends text as it stands.
    func send(
        _ text: String, format: WireFormat = .ndjson, source: CaptureSource = testSource, at moment: Timestamp = testNow
    ) async throws(CaptureError) -> Receipt {
        try await capture.submit(Array(text.utf8), format: format, source: source, receivedAt: moment)
    }
}

/// The verdict on one line of the native format.
func verdict(_ line: String, format: WireFormat = .ndjson) -> ContractChecker.Verdict? {
    verdicts(Array(line.utf8), format: format).first
}

func verdicts(_ body: [UInt8], format: WireFormat = .ndjson) -> [ContractChecker.Verdict] {
    body.withUnsafeBytes { bytes in
        (try? ContractChecker().verdicts(bytes, format: format, receivedAt: testNow).get()) ?? []
    }
}

/// A valid `track` event with some members replaced; nil takes one out.
func trackLine(_ members: [String: String?] = [:]) -> String {
    var all = ["id": "\"e1\"", "type": "\"track\"", "name": "\"Signed Up\"", "user_id": "\"u1\""]
    for (name, value) in members { all[name] = value }
    return "{" + all.sorted { $0.key < $1.key }.map { "\"\($0.key)\":\($0.value)" }.joined(separator: ",") + "}"
}

func fixture(_ name: String) throws -> [UInt8] {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    return Array(try Data(contentsOf: folder.appendingPathComponent("Fixtures/\(name)")))
}
