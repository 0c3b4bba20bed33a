package import AurumCore

/// Who else works on the rows while a transaction does.
package enum JobSharing: Sendable {
    /// Nobody: memory, and the one writer of a file.
    case alone
    /// Others, and none of them is asked to wait. Only the short ways may be gone: jobs without keys are claimed, and
    /// what nobody waits for ends well. For the rest `JobDesk` throws `JobTurnIsLong`.
    case short
    /// Others, but nobody else touches keys, rates and children: the transaction waited for that before it took
    /// anything.
    case whole
    /// A transaction of somebody else, who may hold anything and so must wait for nothing here: what an end means to
    /// keys and children is written down (`leaveLater`) and done by the next turn.
    case guest
}

/// A short transaction met what only a whole one may do; nothing of it may be kept.
package struct JobTurnIsLong: Error, Equatable {}

/// A concurrency or rate key of an organisation.
package struct JobKeyPlace: Sendable, Hashable {
    package let org: String
    package let key: String

    package init(org: String, key: String) { (self.org, self.key) = (org, key) }
}

/// A unique key of jobs of one type.
package struct JobUniqueKey: Sendable, Hashable {
    package let org: String
    package let type: String
    package let key: String

    package init(org: String, type: String, key: String) { (self.org, self.type, self.key) = (org, type, key) }
}

/// The end of a claim in the short way: the job after it.
package struct JobFinish: Sendable {
    package let job: JobRecord
    package let claim: JobClaim
}

/// What becomes free under a key.
package struct JobRoom: Sendable, Equatable {
    /// Jobs that run there no more.
    package var leaves = 0
    /// Parked jobs that may come back.
    package var looks = 0

    package init(leaves: Int = 0, looks: Int = 0) { (self.leaves, self.looks) = (leaves, looks) }
}

/// What a guest's transaction left to be done: room of a job under a key, or children that wait for a job.
package struct JobLeaving: Sendable, Equatable {
    package var org: String
    package var key: String?
    package var isRunning: Bool
    /// The job whose children are to be told.
    package var job: UID?

    package init(org: String, key: String?, isRunning: Bool, job: UID?) {
        (self.org, self.key, self.isRunning, self.job) = (org, key, isRunning, job)
    }
}

/// What runs under keys, and what guests left to be done.
package protocol JobKeyTable {
    /// Jobs running under keys; none where a key is missing from the answer.
    func usages(of keys: Set<JobKeyPlace>) throws -> [JobKeyPlace: Int]
    func setUsages(_ counts: [JobKeyPlace: Int]) throws
    /// So many fewer run under keys.
    func leaveKeys(_ counts: [JobKeyPlace: Int]) throws
    func rateStates(of keys: Set<JobKeyPlace>) throws -> [JobKeyPlace: JobRateState]
    func setRateStates(_ states: [JobKeyPlace: JobRateState]) throws
    /// Writes down what `leavings` will answer.
    func leaveLater(_ leavings: [JobLeaving]) throws
    /// What guests left to be done, and takes it out.
    func leavings(limit: Int) throws -> [JobLeaving]
}

package protocol JobScheduleTable {
    func schedule(_ name: String) throws -> JobSchedule?
    func schedules() throws -> [JobSchedule]
    func save(_ schedule: JobSchedule) throws
    /// Moves a schedule's next tick; false when somebody else did.
    func move(_ schedule: JobSchedule, to next: Timestamp) throws -> Bool
    func removeSchedule(_ name: String) throws
}

/// The rows that `JobDesk` works on, inside one transaction. Two implementations: a table of the database, and memory.
/// It stores and finds; it decides nothing.
package protocol JobTable: JobKeyTable, JobScheduleTable {
    var sharing: JobSharing { get }
    /// Adds jobs in their order; the ids of those that were added. The rest found their unique key or tick taken.
    func insert(_ jobs: [JobRecord]) throws -> Set<UID>
    func update(_ job: JobRecord) throws
    /// Writes what `JobMachine.claim` changed.
    func updateClaimed(_ jobs: [JobRecord]) throws
    /// Writes state and ready time only: what `park` and `unpark` changed.
    func updatePlaces(_ jobs: [JobRecord]) throws
    /// Writes the ends of jobs whose claims still hold and that nobody waits for. Those claims; nothing was
    /// written for the rest.
    func finish(_ ends: [JobFinish]) throws -> Set<JobClaim>
    /// The job keeps nobody out any more.
    func releaseUnique(_ holder: JobRecord) throws
    func remove(_ job: JobRecord) throws
    /// Keeps others from changing these until the transaction ends; waits for those who are at it. In one order for
    /// everybody.
    func lock(seqs: [Int64]) throws
    func lock(ids: [UID], org: String) throws
    func job(seq: Int64) throws -> JobRecord?
    /// Those that there are, by place.
    func jobs(seqs: [Int64]) throws -> [Int64: JobRecord]
    func job(id: UID, org: String) throws -> JobRecord?
    /// Who holds unique keys.
    func holders(of keys: [JobUniqueKey]) throws -> [JobUniqueKey: JobRecord]
    /// Scheduled jobs of one priority whose time has come, by time.
    func due(_ priority: JobPriority, at now: Timestamp, limit: Int) throws -> [JobRecord]
    /// The first due jobs over all priorities, in the order of their places; without those that somebody else is about
    /// to claim, and with more than `limit` where that is no dearer.
    func front(at now: Timestamp, limit: Int) throws -> [JobRecord]
    /// Jobs whose rate lets them begin by now.
    func ready(at now: Timestamp, limit: Int) throws -> [JobRecord]
    /// Jobs that wait for room under keys, by place: at most so many for each key.
    func parked(under keys: [JobKeyPlace: Int]) throws -> [JobRecord]
    /// Running jobs whose lease ended before `now`.
    func lost(before now: Timestamp, limit: Int) throws -> [JobRecord]
    /// Running jobs of every worker, whatever their leases say.
    func running(limit: Int) throws -> [JobRecord]
    /// Running jobs that were told to stop at or before `moment`.
    func disobedient(since moment: Timestamp, limit: Int) throws -> [JobRecord]
    /// Lengthens the leases of those claims of a worker that still hold, and answers them. A claim that the worker was
    /// never told of is not among them, and ends with its lease.
    func renew(_ claims: [JobClaim], worker: UID, until: Timestamp) throws -> [HeldJob]
    /// Jobs that wait for a parent.
    func children(of parent: UID, org: String) throws -> [JobRecord]
    func addParent(_ parent: UID, of child: UID, org: String) throws
    /// States of the parents that are still in the table.
    func parents(of child: UID, org: String) throws -> [JobState]
    /// Jobs of an organisation that wait, counted up to `limit`.
    func waiting(org: String, limit: Int) throws -> Int
    /// Dead jobs behind a place, oldest first.
    func dead(org: String, type: String?, after: DeadPlace, limit: Int) throws -> [JobRecord]
    /// Deletes what is kept no longer, and with it keys and rates that nothing needs; how many jobs.
    func purge(before now: Timestamp, limit: Int) throws -> Int
}

extension JobTable {
    /// The first of each priority, put in order.
    package func mergedFront(at now: Timestamp, limit: Int) throws -> [JobRecord] {
        var all: [JobRecord] = []
        var lists = 0
        for priority in JobPriority.allCases {
            let some = try due(priority, at: now, limit: limit)
            if !some.isEmpty { lists += 1 }
            all += some
        }
        if lists > 1 { all.sort { ($0.place, $0.seq) < ($1.place, $1.seq) } }
        return all
    }
}

/// Where among the dead letters a job lies: by the time of its death, then by its place in the table.
package struct DeadPlace: Sendable, Equatable {
    package let finishedAt: Timestamp
    package let seq: Int64

    package init(finishedAt: Timestamp, seq: Int64) { (self.finishedAt, self.seq) = (finishedAt, seq) }

    /// Before every job that died at or after `moment`.
    package init(since moment: Timestamp) { self.init(finishedAt: moment, seq: 0) }
}

/// A running job as its worker's renewal finds it.
package struct HeldJob: Sendable, Equatable {
    package let claim: JobClaim
    package let isCancelled: Bool

    package init(claim: JobClaim, isCancelled: Bool) { (self.claim, self.isCancelled) = (claim, isCancelled) }
}
