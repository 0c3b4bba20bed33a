internal import Accounts
internal import Logging
internal import ServiceLifecycle

/// Takes over keys that other processes on the same PostgreSQL make and revoke: when they say so, and every `interval`
/// in case nobody heard it. Not for SQLite, where this process is the only one.
struct KeyFollowing: Service {
    /// Longest life of a key that another process has revoked, as long as the database can be asked; without it keys
    /// are what they were, and the log and the database's health say so.
    static let interval: Duration = .seconds(5)

    let keys: KeyStore
    let logger: Logger

    func run() async throws {
        let failed: @Sendable (any Error) -> Void = { [logger] error in
            logger.warning(
                "keys of other processes could not be read", metadata: ["code": "keys_not_read", "error": "\(error)"])
        }
        await cancelWhenGracefulShutdown {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await keys.follow(failed: failed) }
                group.addTask {
                    while !Task.isCancelled {
                        try? await Task.sleep(for: Self.interval)
                        if Task.isCancelled { return }
                        do { try await keys.reload() } catch { failed(error) }
                    }
                }
                await group.waitForAll()
            }
        }
    }
}
