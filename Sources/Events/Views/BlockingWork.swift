internal import Foundation

/// Runs work that blocks on files away from the threads that serve requests.
package enum BlockingWork {
    private static let queue = DispatchQueue(label: "event-store", attributes: .concurrent)

    static func run(_ work: @escaping @Sendable () -> Void) { queue.async(execute: work) }

    package static func value<Value: Sendable>(_ work: @escaping @Sendable () throws -> Value) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            queue.async { continuation.resume(with: Result { try work() }) }
        }
    }
}
