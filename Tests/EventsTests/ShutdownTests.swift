internal import AurumCore
internal import Events
internal import Foundation
internal import Synchronization
import TestSupport
import Testing

/// Bodies that are let in while the log closes or fails: every one is answered, and what is acknowledged is there.
struct ShutdownTests {
    private final class Tally: Sendable {
        let submitted = Atomic<Int>(0)
        let answered = Atomic<Int>(0)
        let stored = Atomic<Int>(0)
        let isOver = Atomic<Bool>(false)
        let others = Mutex<[CaptureError]>([])
        /// Whether each answer was that the log has failed.
        let answers = AsyncStream<Bool>.makeStream()

        func take(_ result: Result<Receipt, CaptureError>) {
            switch result {
            case .success(let receipt): stored.add(receipt.stored, ordering: .relaxed)
            case .failure(let error):
                if error != .logFailed, error != .overloaded { others.withLock { $0.append(error) } }
            }
            answered.add(1, ordering: .relaxed)
            if case .failure(.logFailed) = result {
                answers.continuation.yield(true)
            } else {
                answers.continuation.yield(false)
            }
        }

        func wait(forAnswers count: Int) async {
            var seen = 0
            for await _ in answers.stream {
                seen += 1
                if seen >= count { return }
            }
        }

        func waitForFailure() async {
            for await isFailed in answers.stream where isFailed { return }
        }
    }

    private static let threads = 8

    /// Bodies from several threads, without waiting for answers, until the tally is over. They are long, so that some
    /// wait for the shard whenever one is read.
    private static func submit(to log: EventLog, _ tally: Tally) -> DispatchGroup {
        let group = DispatchGroup()
        for thread in 0..<threads {
            group.enter()
            Thread.detachNewThread {
                var number = 0
                while !tally.isOver.load(ordering: .relaxed) {
                    let lines = (0..<200).map { trackLine(["id": "\"t\(thread)-\(number)-\($0)\""]) }
                    let body = Array(lines.joined(separator: "\n").utf8)
                    number += 1
                    tally.submitted.add(1, ordering: .relaxed)
                    body.withUnsafeBytes {
                        log.capture.submit(
                            $0, format: .ndjson, source: testSource, receivedAt: testNow, done: tally.take)
                    }
                }
                group.leave()
            }
        }
        return group
    }

    private static func wait(_ group: DispatchGroup) async {
        await withCheckedContinuation { continuation in group.notify(queue: .global()) { continuation.resume() } }
    }

    @Test func `every body that is submitted while the log closes is answered`() async throws {
        for round in 0..<soakCount(400) {
            let storage = VolatileLogStorage()
            let log = try openEvents(storage) { $0.shards = 1 }
            let tally = Tally()
            let group = Self.submit(to: log, tally)
            await tally.wait(forAnswers: 8)
            await log.close()
            tally.isOver.store(true, ordering: .relaxed)
            await Self.wait(group)
            // The writer has ended and nobody submits any more: who has no answer now gets none.
            let (submitted, answered) = (
                tally.submitted.load(ordering: .relaxed), tally.answered.load(ordering: .relaxed)
            )
            #expect(
                answered == submitted, "round \(round): \(submitted - answered) of \(submitted) were never answered")
            #expect(tally.others.withLock { $0 } == [])
            let again = try openEvents(storage)
            #expect(again.store.totals(org: "acme").stored == tally.stored.load(ordering: .relaxed), "round \(round)")
            await again.close()
        }
    }

    @Test(arguments: [VolatileLogStorage.Fault.write(after: 3), .sync(after: 3)])
    func `every body that is submitted while the log fails is answered`(fault: VolatileLogStorage.Fault) async throws {
        for round in 0..<soakCount(200) {
            let storage = VolatileLogStorage()
            let log = try openEvents(storage) { $0.shards = 1 }
            let tally = Tally()
            let group = Self.submit(to: log, tally)
            await tally.wait(forAnswers: 8)
            storage.fail(fault)
            await tally.waitForFailure()
            tally.isOver.store(true, ordering: .relaxed)
            await Self.wait(group)
            await log.close()
            #expect(
                tally.answered.load(ordering: .relaxed) == tally.submitted.load(ordering: .relaxed),
                "round \(round), \(fault)")
            #expect(tally.others.withLock { $0 } == [])
        }
    }
}
