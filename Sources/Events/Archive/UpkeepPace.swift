internal import AurumCore
internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// Keeps a run of upkeep to its share of a core while events come in. Confined to the thread of the run.
final class UpkeepPace {
    /// Work between two rests.
    private static let stretch: Duration = .milliseconds(20)
    private let busyPercent: Int
    private let isStopped: () -> Bool
    private let bytes: () -> Int
    private var began = ContinuousClock.now
    private var lastBytes: Int
    /// Never signalled: waiting for it is the rest.
    private let rest = DispatchSemaphore(value: 0)

    /// - Parameter bytes: of the log; it is busy while they grow.
    init(busyPercent: Int, isStopped: @escaping () -> Bool, bytes: @escaping () -> Int) {
        (self.busyPercent, self.isStopped, self.bytes) = (max(1, busyPercent), isStopped, bytes)
        lastBytes = bytes()
    }

    /// Rests as long as it must.
    /// - Throws: `UpkeepError.stopped` when the log is closing.
    func step() throws {
        guard !isStopped() else { throw UpkeepError.stopped }
        guard busyPercent < 100 else { return }
        let worked = ContinuousClock.now - began
        guard worked >= Self.stretch else { return }
        let now = bytes()
        defer {
            lastBytes = now
            began = .now
        }
        guard now != lastBytes else { return }
        var left = worked.seconds * Double(100 - busyPercent) / Double(busyPercent)
        while left > 0, !isStopped() {
            _ = rest.wait(timeout: .now() + .milliseconds(Int(min(left, 0.25) * 1000)))
            left -= 0.25
        }
    }

    /// Lets every other thread of the machine go first, as far as the system can.
    static func lowerPriority() {
        Thread.current.qualityOfService = .background
        #if canImport(Glibc)
            // On Linux this is the priority of the calling thread alone.
            _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 15)
        #endif
    }
}
