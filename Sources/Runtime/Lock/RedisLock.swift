package import AurumCore
internal import ServiceLifecycle
internal import Telemetry

/// Locks among all nodes that use one Redis and one database. It gives liveness only: losing its data, or pausing a
/// holder, lets two holders run at once, and the fence refuses the earlier one's writes.
///
/// While Redis is away no new leases are given.
package final class RedisLock: Lock, Service {
    /// A step that takes longer has no answer.
    package static let timeout: Duration = .seconds(1)
    /// Says which lock was released: its key's text.
    static let channel = "aurum:lock:released"

    package let fences: any FenceSequence
    package let meters: LockMeters
    private let client: RedisClient
    private let pubSub: any PubSub
    private let waiters = ReleaseWaiters()

    package init(client: RedisClient, pubSub: any PubSub, fences: any FenceSequence, meters: LockMeters) {
        self.client = client
        self.pubSub = pubSub
        self.fences = fences
        self.meters = meters
    }

    private static let confirmScript = RedisScript(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return 1 end return 0", isRead: true)
    private static let extendScript = RedisScript(
        """
        if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
        return 0
        """)
    private static let releaseScript = RedisScript(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")

    /// Wakes waiters when somebody says that a lock is free, until the service ends.
    package func run() async throws {
        let messages = pubSub.subscribe([.channel(Self.channel)])
        for await message in messages.cancelOnGracefulShutdown() {
            switch message {
            case .message(_, _, let payload):
                let text = String(decoding: payload, as: UTF8.self)
                guard let key = LockKey(text: text) else { continue }
                waiters.wake(key)
            case .gap: waiters.wakeAll()
            }
        }
    }

    package func set(_ key: LockKey, token: UID, lease: Duration) async -> LockMachine.Answer {
        guard client.isAvailable else { return .unknown }
        let milliseconds = Int(lease.microseconds / 1000)
        do throws(RedisError) {
            let answer = try await client.call(
                RedisCommand("SET", key.text, token.hex, "NX", "PX", milliseconds), within: Self.timeout)
            return answer == .null ? .no : .yes
        } catch { return .unknown }
    }

    package func confirm(_ key: LockKey, token: UID) async -> LockMachine.Answer {
        await ask(Self.confirmScript, key, [token.hex])
    }

    package func extend(_ key: LockKey, token: UID, lease: Duration) async -> LockMachine.Answer {
        await ask(Self.extendScript, key, [token.hex, Int(lease.microseconds / 1000)])
    }

    @discardableResult
    package func release(_ key: LockKey, token: UID) async -> Bool {
        let answer = await ask(Self.releaseScript, key, [token.hex])
        guard answer == .yes else {
            if answer == .no { meters.foreignReleases.increment() }
            return false
        }
        waiters.wake(key)
        try? await pubSub.publish(Array(key.text.utf8), to: Self.channel)
        return true
    }

    package func waitForRelease(_ key: LockKey, atMost limit: Duration) async {
        await waiters.wait(key, atMost: limit)
    }

    private func ask(
        _ script: RedisScript, _ key: LockKey, _ arguments: [any RedisArgument]
    ) async -> LockMachine.Answer {
        do throws(RedisError) {
            let answer = try await client.eval(
                script, keys: [key.text], arguments: arguments, within: Self.timeout)
            return answer == .integer(1) ? .yes : .no
        } catch { return .unknown }
    }
}

extension LockKey {
    /// Reads what `text` wrote.
    init?(text: String) {
        guard text.hasPrefix("aurum:{"), let close = text.firstRange(of: "}:lock:") else { return nil }
        self.init(
            owner: String(text[text.index(text.startIndex, offsetBy: 7)..<close.lowerBound]),
            String(text[close.upperBound...]))
    }
}
