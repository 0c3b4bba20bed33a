import AurumCore
import Database
import Runtime
import Synchronization
import Telemetry
import TestSupport
import Testing

struct FenceTests {
    @Test(arguments: Dialect.allCases)
    func `fences of one process rise, whichever way they are drawn`(_ engine: Dialect) async throws {
        let open = try OpenDatabase(on: engine)
        let fences = SQLFences(database: open.database)
        var last = Fence(rawValue: 0)
        var random = SeededRandom(seed: 41)
        for _ in 0..<2500 {
            let fence: Fence
            switch Int.random(in: 0..<4, using: &random) {
            case 0:
                fence = try await open.database.write("test.draw") { try fences.draw(in: $0) }
            case 1:
                let count = Int.random(in: 1...700, using: &random)
                let drawn = try await open.database.write("test.draws") { try fences.draw(count, in: $0) }
                #expect(drawn.count == count && drawn[0] > last)
                #expect(zip(drawn, drawn.dropFirst()).allSatisfy { $0 < $1 })
                fence = drawn[count - 1]
            default: fence = try await fences.next()
            }
            #expect(fence > last)
            last = fence
        }
    }

    @Test(arguments: [false, true], Dialect.allCases)
    func `tasks that draw at once never get the same fence`(isShared: Bool, engine: Dialect) async throws {
        let open = try OpenDatabase(on: engine)
        // Two owners of one database, as two processes would be.
        let owners = (0..<(isShared ? 2 : 1)).map { _ in SQLFences(database: open.database, isShared: isShared) }
        let drawn = try await withThrowingTaskGroup(of: [Fence].self) { group in
            for task in 0..<20 {
                let fences = owners[task % owners.count]
                group.addTask {
                    var drawn: [Fence] = []
                    for step in 0..<40 {
                        if (step + task).isMultiple(of: 3) {
                            drawn.append(try await open.database.write("test.together") { try fences.draw(in: $0) })
                        } else {
                            drawn.append(try await fences.next())
                        }
                        if drawn.count > 1 { #expect(drawn[step] > drawn[step - 1]) }
                    }
                    return drawn
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        #expect(Set(drawn).count == 800)
    }

    @Test(arguments: Dialect.allCases)
    func `a restart goes on above everything that was handed out`(_ engine: Dialect) async throws {
        let open = try OpenDatabase(on: engine)
        let before = try await SQLFences(database: open.database).next()
        let after = try await SQLFences(database: open.database).next()
        #expect(after > before)
        #expect(after.rawValue <= before.rawValue + SQLFences.blockCount)
    }

    @Test(arguments: Dialect.allCases)
    func `what a transaction drew and then undid is not handed out again`(_ engine: Dialect) async throws {
        struct Undone: Error {}
        let open = try OpenDatabase(on: engine)
        let fences = SQLFences(database: open.database)
        let drawn = Mutex<Fence?>(nil)
        for _ in 0..<3 {
            await #expect(throws: Undone.self) {
                try await open.database.write("test.undone") { tx in
                    let fence = try fences.draw(in: tx)
                    drawn.withLock { $0 = fence }
                    throw Undone()
                }
            }
            let undone = try #require(drawn.withLock { $0 })
            let next = try await fences.next()
            #expect(next > undone)
            let inside = try await open.database.write("test.done") { try fences.draw(in: $0) }
            #expect(inside > next)
        }
    }

    @Test func `processes that share a server get fences in the order in which they ask`() async throws {
        let folder = TemporaryFolder()
        let clock = ManualWallClock()
        let databases = try (0..<2).map { _ in
            try Database.forTest(
                at: folder.file("shared.db"), on: .postgres, registry: MetricRegistry(), clock: clock)
        }
        let owners = databases.map { SQLFences(database: $0) }
        var last = Fence(rawValue: 0)
        var random = SeededRandom(seed: 43)
        for _ in 0..<300 {
            let which = Int.random(in: 0..<2, using: &random)
            let fences = owners[which]
            var drawn = [Fence]()
            if Bool.random(using: &random) {
                drawn = [try await fences.next()]
            } else {
                let count = Int.random(in: 1...50, using: &random)
                drawn = try await databases[which].write("test.pair") { try fences.draw(count, in: $0) }
            }
            #expect(drawn[0] > last)
            last = drawn[drawn.count - 1]
        }
    }

    /// A crash of the server takes back what it had not written to disk.
    @Test func `a fence that was told is not told again after the server was killed`() async throws {
        let server = try PostgresServer()
        guard case .postgres(let address) = try DatabaseLocation(url: server.newURL(), requireTLS: true) else { return }
        let clock = ManualWallClock()
        var last = Fence(rawValue: 0)
        for _ in 0..<4 {
            let database = try Database.openPostgres(address, registry: MetricRegistry(), clock: clock)
            let fences = SQLFences(database: database)
            for _ in 0..<10 {
                let next = try await fences.next()
                #expect(next > last)
                last = next
            }
            try server.kill()
            try database.close()
            try server.start()
        }
    }

    @Test(arguments: [(Dialect.postgres, Dialect.sqlite), (.sqlite, .postgres), (.postgres, .postgres)])
    func `a restored database goes on above the fences of the backup`(from: Dialect, to: Dialect) async throws {
        let open = try OpenDatabase(on: from)
        let fences = SQLFences(database: open.database)
        var last = Fence(rawValue: 0)
        for _ in 0..<5 { last = try await fences.next() }
        let sink = KeptTables()
        let version = try await open.database.dump(to: sink) {}
        let folder = TemporaryFolder()
        let location =
            to == .sqlite
            ? DatabaseLocation.sqlite(path: folder.file("restored.db"))
            : try DatabaseLocation(url: PostgresServer.shared().newURL(), requireTLS: true)
        let target = try await RestoreTarget.prepare(
            location, version: version, registry: MetricRegistry(), clock: open.clock)
        for table in sink.tables.withLock({ $0 }) {
            _ = try await target.load(table.name, columns: table.columns, lines: table.lines)
        }
        try await target.finish()
        let restored = try await Database.open(location, registry: MetricRegistry(), clock: open.clock)
        let next = try await SQLFences(database: restored).next()
        #expect(next > last)
        // What it says about itself is what it was given, or more.
        let again = KeptTables()
        _ = try await restored.dump(to: again) {}
        #expect(again.fence >= sink.fence && sink.fence >= last.rawValue)
        try restored.close()
    }

    /// A backup in memory.
    private final class KeptTables: TableSink {
        struct Table {
            var name: String
            var columns: [String]
            var lines: [UInt8] = []
        }

        let tables = Mutex<[Table]>([])

        /// How far the sequence had come.
        var fence: Int64 {
            let lines = tables.withLock { $0.first { $0.name == "fences" }?.lines ?? [] }
            let number = String(decoding: lines, as: UTF8.self).split(separator: "\t").last?.dropFirst().dropLast()
            return number.flatMap { Int64($0) } ?? -1
        }

        func begin(_ table: TableShape) {
            tables.withLock { $0.append(Table(name: table.name, columns: table.columns)) }
        }

        func take(_ lines: [UInt8], rows: Int) {
            tables.withLock { tables in
                if let last = tables.indices.last { tables[last].lines += lines }
            }
        }

        func end() {}
    }

    @Test func `a guarded write is refused when a later fence has written`() async throws {
        let open = try OpenDatabase()
        let fences = SQLFences(database: open.database)
        let (early, late) = (try await fences.next(), try await fences.next())
        try await open.database.write("test.early") { try $0.guarded("relay", by: early) }
        try await open.database.write("test.late") { try $0.guarded("relay", by: late) }
        await #expect(throws: SQLError.staleFence) {
            try await open.database.write("test.stale") { try $0.guarded("relay", by: early) }
        }
        try await open.database.write("test.again") { try $0.guarded("relay", by: late) }
        try await open.database.write("test.other") { try $0.guarded("upkeep", by: early) }
    }

    @Test func `the memory twin counts upwards`() async throws {
        let fences = MemoryFences()
        let first = await fences.next()
        let second = await fences.next()
        #expect(first.rawValue == 1 && second > first)
    }
}
