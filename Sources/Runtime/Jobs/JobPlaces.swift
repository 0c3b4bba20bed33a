package import AurumCore

/// Where the jobs of a server are: in the database, and on Redis where there is one. People see one list of them, and
/// what they ask for goes to where the job is.
package struct JobPlaces: Sendable {
    package struct Place: Sendable {
        package let home: JobHome
        package let store: any JobStore
        package let reads: any JobReading
        package let queue: JobQueue

        package init(_ home: JobHome, store: any JobStore, reads: any JobReading, queue: JobQueue) {
            (self.home, self.store, self.reads, self.queue) = (home, store, reads, queue)
        }
    }

    /// What several places answered, and those that could not be asked.
    package struct Answer<Value: Sendable>: Sendable {
        package var value: Value
        package var away: [JobHome] = []
    }

    package let database: Place
    package let redis: Place?

    package init(database: Place, redis: Place? = nil) { (self.database, self.redis) = (database, redis) }

    /// Where new jobs of a kind go.
    package func place(for kind: JobKind) -> Place {
        if kind.home == .redis, let redis { return redis }
        return database
    }

    /// - Throws: what the store throws; `RedisError` when Redis is asked and away.
    package func enqueue(_ jobs: [NewJob]) async throws -> [JobReceipt] {
        guard let home = jobs.first?.kind.home else { return [] }
        precondition(jobs.allSatisfy { $0.kind.home == home }, "jobs of one enqueue live in one place")
        return try await place(for: jobs[0].kind).store.enqueue(jobs)
    }

    // MARK: one job

    /// - Throws: `RedisError` when the database has no such job and Redis is away.
    package func job(_ id: UID, org: String) async throws -> (job: JobRecord, home: JobHome)? {
        if let job = try await database.store.job(id, org: org) { return (job, .database) }
        return try await redis?.store.job(id, org: org).map { ($0, .redis) }
    }

    private func place(of id: UID, org: String) async throws -> Place {
        guard let redis else { return database }
        return try await database.store.job(id, org: org) == nil ? redis : database
    }

    /// - Throws: `JobError`, `RedisError`.
    package func cancel(_ id: UID, org: String) async throws -> (job: JobRecord, home: JobHome) {
        let place = try await place(of: id, org: org)
        return (try await place.queue.cancel(id, org: org), place.home)
    }

    /// - Throws: `JobError`, `RedisError`.
    package func redrive(_ id: UID, org: String) async throws -> (job: JobRecord, home: JobHome) {
        let place = try await place(of: id, org: org)
        return (try await place.store.redrive(id, org: org), place.home)
    }

    // MARK: many

    /// What Redis answers; nothing, and a word of it, while it is away.
    private func redis<Value: Sendable>(
        _ ask: (Place) async throws -> Value
    ) async throws -> (value: Value?, away: [JobHome]) {
        guard let redis else { return (nil, []) }
        do { return (try await ask(redis), []) } catch is RedisError { return (nil, [.redis]) }
    }

    /// - Parameter rate: jobs a second, of each place.
    package func redrive(
        org: String, type: String?, since: Timestamp, rate: Double?
    ) async throws -> Answer<Int> {
        let here = try await database.store.redrive(org: org, type: type, since: since, rate: rate)
        let there = try await redis {
            try await $0.store.redrive(org: org, type: type, since: since, rate: rate)
        }
        return Answer(value: here + (there.value ?? 0), away: there.away)
    }

    /// Jobs, newest first.
    package func list(
        org: String, state: String?, type: String?, before: UID?, limit: Int
    ) async throws -> Answer<[(job: JobRecord, home: JobHome)]> {
        let here = try await database.reads.list(org: org, state: state, type: type, before: before, limit: limit)
        let there = try await redis {
            try await $0.reads.list(org: org, state: state, type: type, before: before, limit: limit)
        }
        var all: [(job: JobRecord, home: JobHome)] = here.map { ($0, .database) }
        all += (there.value ?? []).map { ($0, .redis) }
        if let value = there.value, !value.isEmpty { all.sort { $0.job.createdAt > $1.job.createdAt } }
        return Answer(value: Array(all.prefix(limit)), away: there.away)
    }

    /// Everything the page shows at once.
    package func overview(org: String, now: Timestamp) async throws -> JSONValue {
        var parts = [try await Part(database.reads, .database, org: org)]
        let there = try await redis { try await Part($0.reads, .redis, org: org) }
        if let part = there.value { parts.append(part) }
        return Self.json(parts, away: there.away, now: now)
    }

    fileprivate struct Part: Sendable {
        let home: JobHome
        let counts: [JobReads.Count]
        let running: [JobRecord]
        let schedules: [JobSchedule]

        init(_ reads: any JobReading, _ home: JobHome, org: String) async throws {
            self.home = home
            counts = try await reads.counts(org: org)
            running = try await reads.running(org: org)
            schedules = try await reads.schedules(org: org)
        }
    }

    fileprivate static func json(_ parts: [Part], away: [JobHome], now: Timestamp) -> JSONValue {
        [
            "now": .string(now.rfc3339),
            "unavailable": .array(away.map { .string($0.rawValue) }),
            "queues": .array(parts.flatMap { queues($0, now) }),
            "workers": .array(parts.flatMap(workers)),
            "running": .array(parts.flatMap { part in part.running.map { $0.json(now: now, home: part.home) } }),
            "schedules": .array(
                parts.flatMap { part in
                    part.schedules.map {
                        [
                            "name": .string($0.name), "type": .string($0.type), "plan": .string($0.planText),
                            "missed": .string($0.missedText), "next_at": .string($0.next.rfc3339),
                            "priority": .string($0.priority.rawValue), "home": .string(part.home.rawValue),
                        ]
                    }
                }),
        ]
    }

    private static func queues(_ part: Part, _ now: Timestamp) -> [JSONValue] {
        var types: [String: [String: JSONValue]] = [:]
        for count in part.counts {
            var row = types[count.type] ?? [:]
            if count.state == .scheduled {
                row["due"] = .integer(Int64(count.due))
                row["scheduled"] = .integer(Int64(count.count - count.due))
                if let first = count.firstDue {
                    row["lag_seconds"] = .number(count.due > 0 ? max(0, ((count.countedAt ?? now) - first).seconds) : 0)
                    row["next_at"] = .string(first.rfc3339)
                }
            } else {
                row[count.state.rawValue] = .integer((row[count.state.rawValue]?.integer ?? 0) + Int64(count.count))
            }
            types[count.type] = row
        }
        return types.sorted { $0.key < $1.key }.map { type, row in
            .object(row.merging(["type": .string(type), "home": .string(part.home.rawValue)]) { $1 })
        }
    }

    private static func workers(_ part: Part) -> [JSONValue] {
        Dictionary(grouping: part.running, by: { $0.worker?.hex ?? "" }).sorted { $0.key < $1.key }.map {
            worker, jobs in
            [
                "worker": .string(worker), "running": .integer(Int64(jobs.count)),
                "lease_until": .string(jobs.compactMap(\.leaseUntil).min()?.rfc3339 ?? ""),
                "home": .string(part.home.rawValue),
            ]
        }
    }
}

extension JobReads {
    /// What the page shows of the database alone.
    package func overview(org: String, now: Timestamp) async throws -> JSONValue {
        JobPlaces.json([try await JobPlaces.Part(self, .database, org: org)], away: [], now: now)
    }
}

extension JobRecord {
    /// The job in answers, with where it lives.
    package func json(now: Timestamp, home: JobHome) -> JSONValue {
        guard case .object(let members) = json(now: now) else { return .null }
        return .object(members.merging(["home": .string(home.rawValue)]) { $1 })
    }
}
