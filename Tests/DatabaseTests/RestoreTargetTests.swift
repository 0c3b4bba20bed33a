import AurumCore
import Database
import Foundation
import Synchronization
import Telemetry
import TestSupport
import Testing

/// Databases that are filled from elsewhere: what is refused, what is begun again, and where numbers go on.
@Suite struct RestoreTargetTests {
    static let engines = Dialect.allCases

    private struct Crash: Error {}

    private func place(_ engine: Dialect, _ folder: TemporaryFolder) throws -> DatabaseLocation {
        guard engine == .postgres else { return .sqlite(path: folder.file("target.db")) }
        return try DatabaseLocation(url: PostgresServer.shared().newURL(), requireTLS: true)
    }

    private func newest(_ location: DatabaseLocation) async throws -> Int {
        let schema = try await Schema.look(at: location)
        return (schema.applied + schema.pending).map(\.version).max() ?? 0
    }

    private func prepare(_ location: DatabaseLocation, beginsAgain: Bool = false) async throws -> RestoreTarget {
        try await RestoreTarget.prepare(
            location, version: newest(location), beginsAgain: beginsAgain, registry: MetricRegistry(),
            clock: ManualWallClock())
    }

    private func sentence(_ body: () async throws -> Void) async throws -> String {
        do { try await body() } catch SQLError.schema(let sentence) { return sentence }
        return "it was taken"
    }

    /// Lines of fences and of one event that waits, as an export has them.
    private func fill(_ target: RestoreTarget, fence: Int, seq: Int) async throws {
        #expect(
            try await target.load(
                "fences", columns: ["name", "reserved"], lines: Array("tfence\ti\(fence)\n".utf8)) == 1)
        let columns = ["seq", "id", "org", "key", "name", "trace_id", "at", "props", "created_at"]
        let id = String(repeating: "0a", count: 16)
        let line = "i\(seq)\tb\(id)\ttacme\tta \\\\ key\ttlead.scored\tn\ti1\tt{}\ti2\n"
        #expect(try await target.load("outbox", columns: columns, lines: Array(line.utf8)) == 1)
    }

    /// What a database holds, as an export would write it.
    private final class Lines: TableSink {
        private let state = Mutex<(table: String, lines: [String: String])>(("", [:]))

        subscript(_ table: String) -> String { state.withLock { $0.lines[table] ?? "" } }

        func begin(_ table: TableShape) { state.withLock { $0.table = table.name } }

        func take(_ lines: [UInt8], rows: Int) {
            state.withLock { $0.lines[$0.table, default: ""] += String(decoding: lines, as: UTF8.self) }
        }

        func end() {}
    }

    @Test(arguments: engines) func `a run that was cut off is begun again, and writes nothing more itself`(
        _ engine: Dialect
    ) async throws {
        let folder = TemporaryFolder()
        let location = try place(engine, folder)
        let first = try await prepare(location)
        #expect(!first.beganAgain)
        try await fill(first, fence: 5000, seq: 70)
        // Everything is there but the last step, and the sequence of the fences has been raised.
        await #expect(throws: Crash.self) { try await first.finish { _ in throw Crash() } }
        let refusal = try await sentence {
            _ = try await Database.open(location, registry: MetricRegistry(), clock: ManualWallClock())
        }
        #expect(refusal.contains("did not finish"), "\(refusal)")

        let slow = try await prepare(location, beginsAgain: true)
        let second = try await prepare(location, beginsAgain: true)
        #expect(slow.beganAgain && second.beganAgain)
        let overtaken = try await sentence { try await fill(slow, fence: 1, seq: 1) }
        #expect(overtaken.contains("began after this one"), "\(overtaken)")
        let late = try await sentence { try await slow.finish() }
        slow.abandon()
        #expect(late.contains("began after this one"), "\(late)")
        try await fill(second, fence: 3000, seq: 40)
        let seen = Lines()
        try await second.finish { database in _ = try await database.dump(to: seen) {} }
        #expect(seen["fences"] == "tfence\ti3000\n", "of the run before nothing is left")
        #expect(seen["outbox"].hasPrefix("i40\t") && seen["outbox"].contains("ta \\\\ key"), "\(seen["outbox"])")
        #expect(seen["lead_edges"] == "", "what migrations put in comes with the backup")

        let whole = try await Database.open(location, registry: MetricRegistry(), clock: ManualWallClock())
        let next = try await whole.write("test.next") { tx in
            try tx.emit(
                OutboxEvent(
                    id: UID(high: 1, low: 1), org: "acme", key: "k", name: "lead.scored", traceID: nil, at: tx.now,
                    props: [:]))
            return try tx.value(Int.self, "SELECT MAX(seq) FROM outbox")
        }
        #expect(next == 41, "the number goes on behind the highest")
        let fence = try await whole.write("test.fence") { tx in
            try tx.value(
                Int.self,
                .dialect(
                    sqlite: "UPDATE fences SET reserved = reserved + 1 RETURNING reserved",
                    postgres: "SELECT nextval('fence')"))
        }
        #expect(fence == 3001)
        try whole.close()
        let taken = try await sentence { _ = try await prepare(location, beginsAgain: true) }
        #expect(taken.contains("holds rows"), "\(taken)")
    }

    @Test(arguments: engines) func `a database that holds rows is refused as it is, without a migration`(
        _ engine: Dialect
    ) async throws {
        let (folder, schema) = (TemporaryFolder(), "old" + UID(high: .random(in: 1 ... .max), low: 1).hex)
        let location: DatabaseLocation
        if engine == .postgres {
            let server = try PostgresServer.shared()
            try server.psql("CREATE SCHEMA \(schema)")
            location = try DatabaseLocation(url: server.url(schema: schema), requireTLS: true)
        } else {
            location = try place(engine, folder)
        }
        try await Schema.migrate(location, upTo: 160, clock: ManualWallClock())
        let before = try await Schema.look(at: location)
        #expect(!before.pending.isEmpty)
        let row = "INSERT INTO fence_guards (name, fence) VALUES ('relay', 7)"
        if engine == .postgres {
            try PostgresServer.shared().psql("SET search_path = \(schema); \(row)")
        } else {
            try RawSQLite.run(row, at: folder.file("target.db"))
        }
        let refusal = try await sentence { _ = try await prepare(location, beginsAgain: true) }
        #expect(refusal.contains("the table fence_guards holds rows"), "\(refusal)")
        #expect(try await Schema.look(at: location) == before)
        let files = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        #expect(!files.contains { $0.contains(".schema-") }, "\(files)")
    }
}
