package import AurumCore

/// How urgent a job is. There are no numbers, so nobody can ask for more than `high`.
package enum JobPriority: String, Sendable, CaseIterable, Codable {
    case high, normal, low, idle

    /// What is taken from the time a job is due to get its place in the queue. Places never change while time does,
    /// so every waiting job rises: no job is overtaken by one that became due more than `spread` after it.
    package var bonus: Duration {
        switch self {
        case .high: .seconds(60)
        case .normal: .zero
        case .low: .seconds(-60)
        case .idle: .seconds(-600)
        }
    }

    /// Between the largest and the smallest bonus.
    package static let spread: Duration = .seconds(660)

    /// The number that stands in tables.
    var rank: Int {
        switch self {
        case .high: 0
        case .normal: 1
        case .low: 2
        case .idle: 3
        }
    }

    init?(rank: Int) {
        guard Self.allCases.indices.contains(rank) else { return nil }
        self = Self.allCases[rank]
    }
}

/// How long a unique key keeps others out.
package enum JobUniqueness: Sendable, Equatable {
    /// Until a worker has begun: a wake-up that arrives while the work runs makes a second job.
    case untilStarted
    /// Until the job is done, dead or cancelled.
    case untilDone
    /// For so long, whatever becomes of the job.
    case lasting(Duration)
}

/// At most `limit` jobs of an organisation with the same `key` run at once, on all nodes together.
package struct JobConcurrency: Sendable, Equatable {
    package var key: String
    package var limit: Int

    package init(_ key: String, limit: Int) { (self.key, self.limit) = (key, limit) }
}

/// Of the jobs of an organisation with the same `key`, on all nodes together, `count` begin at once and then one every
/// `period / count`: at worst 2 `count` − 1 within a period. Source: the generic cell rate algorithm, ITU-T I.371.
package struct JobRate: Sendable, Equatable {
    package var key: String
    package var count: Int
    package var period: Duration

    package init(_ key: String, count: Int, per period: Duration) {
        (self.key, self.count, self.period) = (key, count, period)
    }
}

/// Where the jobs of a kind live.
package enum JobHome: String, Sendable, CaseIterable {
    /// Beside what they change, in its transactions: for all that money, leads or messages depend on.
    case database
    /// On the Redis of the installation, where it has one: for many jobs that need no transaction, and whose loss with
    /// that server would be borne. Without one they live in the database.
    case redis
}

/// A kind of work: its name and version, and what holds for its jobs unless they say otherwise.
package struct JobKind: Sendable {
    package let name: String
    /// Of the payload. A worker that does not know it sends the job to the dead letters.
    package let version: Int
    package var priority: JobPriority
    package var attemptsMax: Int
    /// How long a job that is done stays in the table; none at all for zero.
    package var keepsDone: Duration
    package let home: JobHome

    package init(
        _ name: String, version: Int = 1, priority: JobPriority = .normal, attemptsMax: Int = JobLimits.attempts,
        keepsDone: Duration = JobLimits.keepDone, home: JobHome = .database
    ) {
        self.name = name
        self.version = version
        self.priority = priority
        self.attemptsMax = attemptsMax
        self.keepsDone = keepsDone
        self.home = home
    }
}

/// A job as it is asked for.
package struct NewJob: Sendable {
    package var kind: JobKind
    package var org: String
    package var payload: JSONValue
    package var priority: JobPriority
    /// Not before this; nil means at once.
    package var due: Timestamp?
    package var unique: (key: String, scope: JobUniqueness)?
    package var concurrency: JobConcurrency?
    package var rate: JobRate?
    /// Jobs that must be done before this one.
    package var after: [UID]
    package var traceID: UID?

    package init(
        _ kind: JobKind, org: String, payload: JSONValue = .object([:]), due: Timestamp? = nil,
        unique: (key: String, scope: JobUniqueness)? = nil, concurrency: JobConcurrency? = nil, rate: JobRate? = nil,
        after: [UID] = [], traceID: UID? = nil
    ) {
        self.kind = kind
        self.org = org
        self.payload = payload
        self.priority = kind.priority
        self.due = due
        self.unique = unique
        self.concurrency = concurrency
        self.rate = rate
        self.after = after
        self.traceID = traceID
    }
}

/// What an enqueue answers.
package struct JobReceipt: Sendable, Equatable {
    package let id: UID
    /// The key was held: `id` is the job that holds it, and nothing was added.
    package let isDuplicate: Bool

    package init(id: UID, isDuplicate: Bool) { (self.id, self.isDuplicate) = (id, isDuplicate) }
}

/// The bounds of the job queue.
package enum JobLimits {
    package static let payloadBytes = 64 << 10
    package static let keyBytes = 200
    package static let typeBytes = 80
    package static let noteBytes = 200
    package static let detailBytes = 400
    package static let attempts = 10
    package static let attemptsMax = 100
    package static let concurrencyMax = 10_000
    package static let parents = 100
    /// Jobs of one organisation that are neither running nor at an end.
    package static let waitingPerOrg = 1_000_000
    /// Jobs of one claim, and outcomes of one turn.
    package static let batch = 100
    package static let lease: Duration = .seconds(30)
    package static let renewEvery: Duration = .seconds(10)
    package static let poll: Duration = .seconds(1)
    /// Leases that may be lost in a row before a job is dead.
    package static let lossesInRow = 3
    package static let retryDelayMax: Duration = .seconds(3600)
    /// How long, on average, a second try waits for which the process has no room.
    package static let postponed: Duration = .seconds(3)
    /// What a running job has to obey a cancellation.
    package static let cancelGrace: Duration = .seconds(30)
    package static let drain: Duration = .seconds(30)
    package static let keepDone: Duration = .seconds(86_400)
    package static let keepCancelled: Duration = .seconds(86_400)
    package static let keepDead: Duration = .seconds(30 * 86_400)
    package static let purgeBatch = 1000
    package static let progressEvery: Duration = .seconds(1)
    /// A tick that is older than this when it is found was missed.
    package static let tickGrace: Duration = .seconds(60)
    package static let ticksAtOnce = 24
    package static let failuresKept = 100
    /// Rounds of one claim that only moved jobs aside whose key was at its limit.
    package static let parkRounds = 20
    /// Dead letters of one transaction, which others may have to wait for.
    package static let redriveBatch = 200
    /// Dead letters redriven a second.
    package static let redriveRates: ClosedRange<Double> = 0.001...10_000
    package static let listMax = 200
}

/// Why the queue refuses.
package enum JobError: Error, Equatable, Sendable {
    /// Somebody else holds the job by now, or nobody: nothing was written.
    case staleFence
    case queueFull
    case payloadTooLarge
    case unknownParent(UID)
    case tooManyParents
    case unknownJob
    /// The job is in no state for it.
    case wrongState(JobState)
    case uniqueKeyHeld(UID)
    /// A job that this one waits for is dead or cancelled.
    case parentDead
    /// What a job of this type belongs to would never come to its end without it.
    case notCancellable(String)
    /// A bound or a rule of a new job or schedule; a sentence.
    case invalid(String)

    package var sentence: String {
        switch self {
        case .staleFence: "another worker holds the job by now"
        case .queueFull: "the organisation has \(JobLimits.waitingPerOrg) waiting jobs; no more are taken"
        case .payloadTooLarge: "the payload is larger than \(JobLimits.payloadBytes) bytes"
        case .unknownParent(let id): "there is no job \(id) to wait for"
        case .tooManyParents: "a job waits for at most \(JobLimits.parents) others"
        case .unknownJob: "there is no such job"
        case .wrongState(let state): "the job is \(state.rawValue)"
        case .uniqueKeyHeld(let id): "job \(id) holds the same unique key"
        case .parentDead: "a job that it waits for is dead; redrive that one first"
        case .notCancellable(let type):
            "a job of \(type) is not cancelled, for what it belongs to would never come to its end"
        case .invalid(let sentence): sentence
        }
    }
}
