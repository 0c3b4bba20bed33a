package import AurumCore

/// What people see of the jobs on Redis. Looking costs the server a little for each type; a list looks at no more than
/// `lookedAtMax` jobs of a type and kind of state: beyond, those that are due, end or began last.
package struct RedisJobReads: JobReading {
    private let store: RedisJobStore

    private static let lookedAtMax = 2000

    /// The largest number of 16 digits.
    private static let placeMax: Int64 = 9_999_999_999_999_999

    package init(_ store: RedisJobStore) { self.store = store }

    package func counts(org: String?) async throws -> [JobReads.Count] {
        let answer = try await store.run(RedisJobScripts.counts, [org.map(RedisJobText.escape) ?? ""])
        guard let values = answer.array, values.count.isMultiple(of: 5) else { throw RedisJobSnapshot.unreadable }
        return try stride(from: 0, to: values.count, by: 5).map { at in
            guard let state = RedisJobText.state(values[at + 1].string ?? ""),
                let group = values[at].bytes.flatMap({ RedisJobText.readGroup($0[...]) })
            else { throw RedisJobSnapshot.unreadable }
            return JobReads.Count(
                type: group.type, state: state,
                count: Int(values[at + 2].integer ?? 0), due: Int(values[at + 3].integer ?? 0),
                firstDue: values[at + 4].integer.map { Timestamp(microseconds: $0) })
        }
    }

    package func list(
        org: String, state: String?, type: String?, before: UID?, limit: Int
    ) async throws -> [JobRecord] {
        let stored = state == "due" ? "scheduled" : state
        let letter = stored.flatMap { JobState(rawValue: $0) }.map { RedisJobText.letter($0) } ?? ""
        let when = state == "due" || state == "scheduled" ? state ?? "" : ""
        var top = ""
        if let before {
            // Numbers never fall behind the clock, and ids begin with the time in milliseconds.
            let place =
                try await store.job(before, org: org)?.seq ?? min(Int64(before.high >> 16) * 1000, Self.placeMax)
            top = RedisJobText.place(place)
        }
        let answer = try await store.run(
            RedisJobScripts.list,
            [
                RedisJobText.escape(org), RedisJobText.escape(type ?? ""), letter, when, top, limit,
                Self.lookedAtMax,
            ])
        return try RedisJobSnapshot.jobs(answer)
    }

    package func running(org: String) async throws -> [JobRecord] {
        try await list(org: org, state: "running", type: nil, before: nil, limit: JobLimits.listMax)
            .sorted { ($0.leaseUntil ?? $0.createdAt) < ($1.leaseUntil ?? $1.createdAt) }
    }

    package func schedules(org: String) async throws -> [JobSchedule] {
        try await store.schedules().filter { $0.org == org }.sorted { ($0.next, $0.name) < ($1.next, $1.name) }
    }
}
