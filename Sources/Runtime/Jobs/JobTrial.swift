internal import AurumCore

/// Jobs that do nothing, by which people see that the queue works, how long jobs wait and how fast they end. Nobody
/// misses one, so that they live on Redis where there is one.
package enum JobTrial {
    package static let kind = JobKind("jobs.trial", keepsDone: .seconds(3600), home: .redis)
    /// Of one wish.
    package static let counts = 1...10_000
    private static let batch = 500

    package static let handler = JobHandler(kind) { _ in }

    /// How many were enqueued.
    /// - Throws: `JobError.queueFull`; `RedisError` when Redis is away: some may be there then.
    package static func enqueue(_ count: Int, org: String, in places: JobPlaces) async throws -> Int {
        for start in stride(from: 0, to: count, by: batch) {
            let jobs = (start..<min(count, start + batch)).map {
                NewJob(kind, org: org, payload: ["number": .integer(Int64($0))])
            }
            _ = try await places.enqueue(jobs)
        }
        return count
    }
}
