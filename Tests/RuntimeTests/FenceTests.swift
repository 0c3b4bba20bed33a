import AurumCore
import Database
import Runtime
import Synchronization
import Telemetry
import TestSupport
import Testing

struct FenceTests {
    @Test func `fences of one process rise, whichever way they are drawn`() async throws {
        let open = try OpenDatabase()
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
                let first = try await open.database.write("test.draws") { try fences.draw(count, in: $0) }
                #expect(first > last)
                fence = Fence(rawValue: first.rawValue + Int64(count) - 1)
            default: fence = try await fences.next()
            }
            #expect(fence > last)
            last = fence
        }
    }

    @Test(arguments: [false, true])
    func `tasks that draw at once never get the same fence`(isShared: Bool) async throws {
        let open = try OpenDatabase()
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

    @Test func `a restart goes on above everything that was handed out`() async throws {
        let open = try OpenDatabase()
        let before = try await SQLFences(database: open.database).next()
        let after = try await SQLFences(database: open.database).next()
        #expect(after > before)
        #expect(after.rawValue <= before.rawValue + SQLFences.blockCount)
    }

    @Test func `what a transaction drew and then undid is not handed out again`() async throws {
        struct Undone: Error {}
        let open = try OpenDatabase()
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
