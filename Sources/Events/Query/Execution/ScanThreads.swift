internal import Foundation

/// Threads for scans, apart from those that serve requests.
enum ScanThreads {
    static let count = max(1, ProcessInfo.processInfo.activeProcessorCount)

    /// Calls `work` `count` times at once and returns when all have ended. To be called where blocking is allowed.
    static func run(_ count: Int, _ work: @escaping @Sendable () -> Void) {
        if count <= 1 { return work() }
        DispatchQueue.concurrentPerform(iterations: count) { _ in work() }
    }
}
