internal import Gateway
internal import Synchronization
import Testing

/// Documents that many watch.
struct ReportCopiesTests {
    private struct Refusal: Error {}

    private final class Maker: Sendable {
        let made = Mutex(0)
        let revision = Mutex<UInt64>(0)

        var count: Int { made.withLock { $0 } }

        /// Gives everybody who asks meanwhile time to do so.
        func make() async -> String {
            let number = made.withLock { made in
                made += 1
                return made
            }
            for _ in 0..<2000 { await Task.yield() }
            return "\(number)"
        }
    }

    private static func ask(
        _ copies: ReportCopies<String>, _ maker: Maker, _ key: String = "key", times: Int = 1
    ) async throws -> [String] {
        try await withThrowingTaskGroup(of: String.self) { group in
            for _ in 0..<times {
                group.addTask {
                    try await copies.text(key, revision: { maker.revision.withLock { $0 } }) { await maker.make() }
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
    }

    @Test func `a report is made once however many ask for it at a time, and again after a change`() async throws {
        let (copies, maker) = (ReportCopies<String>(freshFor: .seconds(3600), copiesMax: 4), Maker())
        #expect(try await Self.ask(copies, maker, times: 50) == [String](repeating: "1", count: 50))
        #expect(try await Self.ask(copies, maker) == ["1"] && maker.count == 1)
        maker.revision.withLock { $0 += 1 }
        #expect(try await Self.ask(copies, maker, times: 50) == [String](repeating: "2", count: 50))
        #expect(try await Self.ask(copies, maker, "other") == ["3"] && maker.count == 3)
    }

    @Test func `a copy that is too old is made again, and the oldest leave`() async throws {
        let maker = Maker()
        let old = ReportCopies<String>(freshFor: .zero, copiesMax: 4)
        for number in 1...3 { #expect(try await Self.ask(old, maker) == ["\(number)"]) }
        let few = ReportCopies<String>(freshFor: .seconds(3600), copiesMax: 2)
        for key in ["a", "b", "c", "c", "a"] { _ = try await Self.ask(few, maker, key) }
        #expect(maker.count == 3 + 4)
    }

    @Test func `what fails fails for all who wait and is tried again, and one who leaves takes nobody along`()
        async throws
    {
        let (copies, maker) = (ReportCopies<String>(freshFor: .seconds(3600), copiesMax: 4), Maker())
        await #expect(throws: Refusal.self) {
            _ = try await copies.text("key", revision: { 0 }) {
                _ = await maker.make()
                throw Refusal()
            }
        }
        #expect(maker.count == 1)
        let (begun, begin) = AsyncStream<Void>.makeStream()
        let leaving = Task {
            try await copies.text("key", revision: { 0 }) {
                begin.finish()
                while !Task.isCancelled { await Task.yield() }
                throw CancellationError()
            }
        }
        for await _ in begun {}
        async let other = Self.ask(copies, maker)
        leaving.cancel()
        #expect(try await other == ["2"])
        await #expect(throws: CancellationError.self) { _ = try await leaving.value }
    }
}
