internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// Threads for work that blocks, so that no thread of the cooperative pool ever does.
enum OwnThread {
    private static let stackBytes = 2 << 20

    static func start(_ name: String, _ body: @escaping @Sendable () -> Void) {
        let thread = Thread { body() }
        thread.name = name
        thread.stackSize = stackBytes
        thread.start()
    }

    /// Runs `body` on a thread of its own and answers what it returned.
    static func run<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            start("aurum-database") { continuation.resume(with: Result { try body() }) }
        }
    }

    /// Waits on the present thread, which must be one of ours.
    static func pause(_ duration: Duration) {
        _ = poll(nil, 0, Int32(clamping: duration.milliseconds))
    }
}

extension Duration {
    /// Whole milliseconds, rounded up.
    var milliseconds: Int64 {
        let (seconds, attoseconds) = components
        return seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
    }
}
