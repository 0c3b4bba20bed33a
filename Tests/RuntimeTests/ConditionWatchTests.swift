import Foundation
import Runtime
import Testing

struct ConditionWatchTests {
    @Test func `a reader sees what is so now, then the newest only, until the end`() async {
        let (watch, isOn) = (ConditionWatch(), Shared(false))
        func turn(_ value: Bool) {
            isOn.withLock { $0 = value }
            watch.tell()
        }
        var changes = watch.changes { isOn.withLock { $0 } }.makeAsyncIterator()
        #expect(await changes.next() == false)
        turn(true)
        #expect(await changes.next() == true)
        turn(false)
        turn(true)
        #expect(await changes.next() == true)
        turn(false)
        watch.end()
        #expect(await changes.next() == false)
        #expect(await changes.next() == nil)
        var late = watch.changes { true }.makeAsyncIterator()
        #expect(await late.next() == true)
        #expect(await late.next() == nil)
    }

    /// To cancel a task holds a lock that resuming it needs as well.
    @Test func `readers that are cancelled while the condition changes hold nobody up`() async {
        let (watch, isOn, isDone) = (ConditionWatch(), Shared(false), Shared(false))
        let work = DispatchGroup()
        DispatchQueue.global().async(group: work) {
            while !isDone.withLock({ $0 }) {
                isOn.withLock { $0.toggle() }
                watch.tell()
            }
        }
        DispatchQueue.global().async(group: work) {
            for _ in 0..<20_000 {
                let began = DispatchSemaphore(value: 0)
                let reader = Task {
                    for await _ in watch.changes({ isOn.withLock { $0 } }) { began.signal() }
                }
                began.wait()
                reader.cancel()
            }
            isDone.withLock { $0 = true }
        }
        let ended = await withCheckedContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(returning: work.wait(timeout: .now() + 60)) }
        }
        #expect(ended == .success)
    }
}
