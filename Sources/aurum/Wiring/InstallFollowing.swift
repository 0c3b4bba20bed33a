internal import Attribution
internal import Events
internal import Logging
internal import ServiceLifecycle

/// Matches the installs of the log soon after they are durable. What a stop leaves is done by the next start.
struct InstallFollowing: Service {
    /// Between two looks, so that many commits share one.
    static let pause: Duration = .milliseconds(100)
    /// After a look that failed.
    static let pauseAfterFailure: Duration = .seconds(2)
    /// Between two looks at whether uses that wait are to be written, where nothing else happens.
    static let pauseWhileHeld: Duration = .seconds(60)

    let follower: InstallFollower
    let store: BlockEventStore
    let logger: Logger

    func run() async throws {
        let (wakes, wake) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let subscription = store.onCommit { _ in wake.yield() }
        defer { subscription.cancel() }
        // What an earlier process left.
        wake.yield()
        await cancelWhenGracefulShutdown {
            await withTaskGroup(of: Void.self) { group in
                group.addTask {
                    while (try? await Task.sleep(for: Self.pauseWhileHeld)) != nil {
                        if await follower.holdsUses { wake.yield() }
                    }
                }
                await follow(wakes, wake)
                group.cancelAll()
            }
        }
    }

    private func follow(_ wakes: AsyncStream<Void>, _ wake: AsyncStream<Void>.Continuation) async {
        for await _ in wakes {
            do {
                try await follower.catchUp()
                try await Task.sleep(for: Self.pause)
            } catch is CancellationError {
                return
            } catch {
                logger.warning(
                    "installs could not be matched yet", metadata: ["code": "installs_waiting", "error": "\(error)"])
                try? await Task.sleep(for: Self.pauseAfterFailure)
                wake.yield()
            }
        }
    }
}
