internal import AurumCore
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry

/// What writing a log's segments again as archives costs and brings: rows a second of one core, bytes an event, and how
/// long one app of many is read before and after.
struct ArchiveBench {
    let folder: URL
    /// First part of the rows' names.
    let name: String
    let org: String

    func rows() async throws -> [BenchRow] {
        let log = try open()
        // The open segment is never rewritten: one more event begins a new one.
        _ = try? await log.capture.submit(
            Array(#"{"id":"last","type":"track","name":"last","user_id":"u"}"#.utf8), format: .ndjson,
            source: CaptureSource(org: "other", app: "other"), receivedAt: SystemWallClock().now)
        let before = try Reading(log.store, org: org)
        var cost = ProcessCost()
        let tally = try log.upkeep.run(all: true, isPaced: false)
        cost.stop()
        let after = try Reading(log.store, org: org)
        await log.close()
        let rows = max(1, tally.rowsRead)
        return [
            BenchRow(
                name: "\(name).archive", value: Double(rows) / max(1e-9, cost.cpuSeconds), unit: "rows/s a core",
                higherIsBetter: true, n: rows,
                note: String(
                    format: "%.1f MB before, %.1f MB after; %d second copies",
                    Double(tally.bytesBefore) / 1e6, Double(tally.bytesAfter) / 1e6, tally.duplicates)),
            BenchRow(
                name: "\(name).archive_bytes", value: Double(tally.bytesAfter) / Double(rows), unit: "B/event", n: rows,
                note: String(format: "%.2f in segments", Double(tally.bytesBefore) / Double(rows))),
            BenchRow(
                name: "\(name).archive_one_app", value: after.seconds * 1000, unit: "ms", n: after.rows,
                note: String(
                    format: "URLs of one app; %.1f ms in segments, %d rows unpacked instead of %d",
                    before.seconds * 1000, after.unpacked, before.unpacked)
                    + (after.rows == before.rows ? "" : ", and \(before.rows) rows became \(after.rows)")),
        ]
    }

    /// Reads the URLs of one app with nothing in memory.
    private struct Reading {
        var rows = 0
        var unpacked = 0
        var seconds = 0.0

        init(_ source: any ColumnSource, org: String) throws {
            let filter = RowFilter(org: org, apps: ["app-7"])
            let began = ContinuousClock.now
            let scanner = RowScanner(filter)
            for segment in try source.segments() {
                for index in segment.blocks.indices where filter.mayHold(segment.blocks[index]) {
                    guard let block = try segment.read(index) else { continue }
                    unpacked += block.rowCount
                    rows += try scanner.select(block).count(of: block.rowCount)
                    _ = try block.text(ColumnName("url"))
                }
            }
            seconds = (ContinuousClock.now - began).seconds
        }
    }

    private func open() throws -> EventLog {
        let clock = SystemWallClock()
        var configuration = EventsConfiguration()
        configuration.limits.freeBytesMin = 256 << 20
        // Whatever is sealed may be rewritten.
        configuration.limits.dedupIdentifiersMax = 1
        return try EventLog.open(
            directory: folder.path, configuration: configuration, registry: MetricRegistry(),
            health: HealthRegistry(clock: clock), clock: clock,
            logger: Logger.silent)
    }
}
