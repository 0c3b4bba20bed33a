package import AurumCore
internal import Synchronization

/// A clock that stands until it is moved.
package final class ManualWallClock: WallClock {
    private let time: Mutex<Timestamp>

    /// Starts at 2026-11-21 12:00 UTC unless told otherwise.
    package init(_ start: Timestamp = Timestamp(milliseconds: 1_795_262_400_000)) { time = Mutex(start) }

    package var now: Timestamp { time.withLock { $0 } }

    package func advance(by duration: Duration) { time.withLock { $0 = $0 + duration } }
}
