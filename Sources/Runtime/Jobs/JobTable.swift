package import AurumCore

/// The rows that `JobDesk` works on, inside one transaction. Two implementations: a table of the database, and memory.
/// It stores and finds; it decides nothing.
package protocol JobTable {
    /// False when another job holds its unique key; then nothing was added.
    func insert(_ job: JobRecord) throws -> Bool
    func update(_ job: JobRecord) throws
    /// Writes what `JobMachine.claim` changed.
    func updateClaimed(_ job: JobRecord) throws
    /// Writes state and ready time only: what `park` and `unpark` changed.
    func updatePlace(_ job: JobRecord) throws
    /// Writes the end of a job whose claim still holds and that nobody waits for; false when it is not so any more, and
    /// nothing was written.
    func finish(_ job: JobRecord, _ claim: JobClaim) throws -> Bool
    func remove(_ job: JobRecord) throws
    func job(seq: Int64) throws -> JobRecord?
    func job(id: UID, org: String) throws -> JobRecord?
    /// Who holds a unique key.
    func holder(of key: String, type: String, org: String) throws -> JobRecord?
    /// Scheduled jobs of one priority whose time has come, by time.
    func due(_ priority: JobPriority, at now: Timestamp, limit: Int) throws -> [JobRecord]
    /// Jobs whose rate lets them begin by now.
    func ready(at now: Timestamp, limit: Int) throws -> [JobRecord]
    /// Jobs that wait for room under a key, by place.
    func parked(under key: String, org: String, limit: Int) throws -> [JobRecord]
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
    /// Jobs running under a key.
    func usage(of key: String, org: String) throws -> Int
    func setUsage(_ count: Int, of key: String, org: String) throws
    /// One fewer runs under a key.
    func leaveKey(_ key: String, org: String) throws
    func rateState(of key: String, org: String) throws -> JobRateState?
    func setRateState(_ state: JobRateState, of key: String, org: String) throws
    /// Jobs of an organisation that wait, counted up to `limit`.
    func waiting(org: String, limit: Int) throws -> Int
    /// Dead jobs behind a place, oldest first.
    func dead(org: String, type: String?, after: DeadPlace, limit: Int) throws -> [JobRecord]
    /// Deletes what is kept no longer, and with it keys and rates that nothing needs; how many jobs.
    func purge(before now: Timestamp, limit: Int) throws -> Int
    func schedule(_ name: String) throws -> JobSchedule?
    func schedules() throws -> [JobSchedule]
    func save(_ schedule: JobSchedule) throws
    /// Moves a schedule's next tick; false when somebody else did.
    func move(_ schedule: JobSchedule, to next: Timestamp) throws -> Bool
    func removeSchedule(_ name: String) throws
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
