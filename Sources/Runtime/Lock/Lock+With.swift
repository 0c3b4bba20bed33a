internal import AurumCore
internal import Synchronization
internal import Telemetry

extension Lock {
    /// Between looks at a lock that others hold, should nobody say that it is free.
    private static var pollInterval: Duration { .milliseconds(100) }

    /// Runs `body` while nobody else runs one under the same key, as far as clocks and networks allow; its writes carry
    /// the fence of the lease. Order among waiters is not promised.
    /// - Throws: `LockError`, or what `body` throws.
    package func withLock<Value: Sendable>(
        _ key: LockKey, _ options: LockOptions, _ body: @escaping @Sendable (Lease) async throws -> Value
    ) async throws -> Value {
        guard !HeldLocks.keys.contains(key) else { throw LockError.alreadyHeld }
        let start = ContinuousClock.now
        while true {
            try Task.checkCancellation()
            let holder = LockHolder(lock: self, key: key, options: options)
            let attempt = ContinuousClock.now
            switch await holder.acquire() {
            case .held(let fence):
                meters.acquired(after: ContinuousClock.now - start)
                return try await holder.run(fence, body)
            case .busy: break
            case .unavailable:
                meters.unavailable.increment()
                throw LockError.unavailable
            }
            let left = options.wait - (ContinuousClock.now - start)
            guard left > .zero else {
                meters.timedOut.increment()
                throw LockError.timedOut
            }
            let jittered = Self.pollInterval * Double.random(in: 0.75...1.25)
            await waitForRelease(key, atMost: min(left, jittered))
            // A server that refuses without waiting must not be asked in a tight circle.
            if ContinuousClock.now - attempt < .milliseconds(1) { await Task.yield() }
        }
    }
}

/// One attempt: runs the actions of a `LockMachine`.
private final class LockHolder<Backing: Lock>: Sendable {
    enum Acquired { case held(Fence), busy, unavailable }
    private enum Ended<Value: Sendable>: Sendable { case body(Result<Value, any Error>), keeper(lost: Bool) }

    private let lock: Backing
    private let key: LockKey
    private let options: LockOptions
    private let token = UID(now: SystemWallClock().now)
    private let start = ContinuousClock.now
    private let machine: Mutex<LockMachine>

    init(lock: Backing, key: LockKey, options: LockOptions) {
        self.lock = lock
        self.key = key
        self.options = options
        machine = Mutex(LockMachine(lease: options.lease, maxHold: options.maxHold, extends: options.extends))
    }

    private var now: Int64 { (ContinuousClock.now - start).microseconds }

    private func handle(_ input: LockMachine.Input) -> [LockMachine.Action] {
        machine.withLock { $0.handle(input, at: now) }
    }

    /// Everything up to the body.
    func acquire() async -> Acquired {
        var actions = handle(.begin)
        while !actions.isEmpty {
            switch actions.removeFirst() {
            case .sendSet:
                actions += handle(.setAnswered(await lock.set(key, token: token, lease: options.lease)))
            case .drawFence:
                if let fence = try? await lock.fences.next() {
                    actions += handle(.fenceDrawn(fence))
                } else {
                    actions += handle(.fenceFailed)
                }
            case .sendConfirm: actions += handle(.confirmAnswered(await lock.confirm(key, token: token)))
            case .sendRelease: await lock.release(key, token: token)
            case .runBody(let fence): return .held(fence)
            case .finish(let outcome): return outcome == .busy ? .busy : .unavailable
            case .sendExtend, .cancelBody: break
            }
        }
        return .unavailable
    }

    /// The body beside what keeps the lease alive.
    func run<Value: Sendable>(
        _ fence: Fence, _ body: @escaping @Sendable (Lease) async throws -> Value
    ) async throws -> Value {
        let lease = Lease(key: key, fence: fence) { [self] in machine.withLock { $0.isHeld(at: now) } }
        let keys = HeldLocks.keys.union([key])
        let result: Result<Value, any Error>? = await withTaskGroup(of: Ended<Value>.self) { group in
            group.addTask {
                await HeldLocks.$keys.withValue(keys) {
                    do { return .body(.success(try await body(lease))) } catch { return .body(.failure(error)) }
                }
            }
            group.addTask { [self] in .keeper(lost: await keep()) }
            var result: Result<Value, any Error>?
            var isLost = false
            for await ended in group {
                switch ended {
                case .body(let value):
                    result = value
                    isLost = isLost || handle(.bodyEnded).contains(.finish(.lost))
                case .keeper(let lost): isLost = isLost || lost
                }
                group.cancelAll()
            }
            return isLost ? nil : result
        }
        await lock.release(key, token: token)
        guard let result else {
            lock.meters.lost.increment()
            throw LockError.lost
        }
        return try result.get()
    }

    /// Extends the lease until the work ends; true when it ran out first.
    private func keep() async -> Bool {
        while let wake = machine.withLock({ $0.wakeAt }) {
            do {
                try await Task.sleep(until: start + .microseconds(wake), clock: .continuous)
            } catch { return false }
            var actions = handle(.woke)
            while !actions.isEmpty {
                switch actions.removeFirst() {
                case .sendExtend:
                    actions += handle(
                        .extendAnswered(await lock.extend(key, token: token, lease: options.lease)))
                case .finish(let outcome): return outcome == .lost
                default: break
                }
            }
        }
        return false
    }
}
