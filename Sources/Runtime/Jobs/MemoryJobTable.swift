package import AurumCore

/// Jobs in memory: for tests, simulations and the benchmark of the logic alone. Nothing survives the process.
///
/// Unchecked because one holder at a time uses it: `MemoryJobStore` under its lock, a simulation on its one thread.
package final class MemoryJobTable: JobTable, @unchecked Sendable {
    private struct Child: Hashable { let org: String; let id: UID }

    /// A record is large, and a change of it keeps the old one until its transaction ends: both are handed on without
    /// being copied.
    private final class Held {
        let job: JobRecord

        init(_ job: JobRecord) { self.job = job }
    }

    private var rows: [Int64: Held] = [:]
    private var byID: [Child: Int64] = [:]
    private var held: [JobUniqueKey: Int64] = [:]
    private var scheduled: [SortedPlaces] = Array(repeating: SortedPlaces(), count: JobPriority.allCases.count)
    private var parkedUnder: [JobKeyPlace: SortedPlaces] = [:]
    private var promised = SortedPlaces()
    private var runningNow: Set<Int64> = []
    private var waitingOf: [String: Int] = [:]
    private var parentsOf: [Child: [UID]] = [:]
    private var childrenOf: [Child: [UID]] = [:]
    private var usages: [JobKeyPlace: Int] = [:]
    private var rates: [JobKeyPlace: JobRateState] = [:]
    private var schedulesByName: [String: JobSchedule] = [:]
    /// What guests left to be done.
    package private(set) var left: [JobLeaving] = []
    private var lastSeq: Int64 = 0
    /// As if there were others: for simulations of what a transaction may do beside them.
    package var sharing = JobSharing.alone
    /// What brings back the state before the transaction, newest last; nil outside of one.
    private var undo: [() -> Void]?

    package init() {}

    /// Runs `body`; when it throws, nothing has happened.
    package func transaction<Value>(_ body: (MemoryJobTable) throws -> Value) rethrows -> Value {
        undo = []
        defer { undo = nil }
        do { return try body(self) } catch {
            let steps = undo ?? []
            undo = nil
            for step in steps.reversed() { step() }
            throw error
        }
    }

    /// Every job there is, by place in the table.
    package var all: [JobRecord] { rows.values.map(\.job).sorted { $0.seq < $1.seq } }

    // MARK: rows

    package func insert(_ jobs: [JobRecord]) -> Set<UID> { Set(jobs.filter(insert).map(\.id)) }

    private func insert(_ job: JobRecord) -> Bool {
        if job.isUniqueHeld, let key = job.uniqueKey, held[JobUniqueKey(org: job.org, type: job.type, key: key)] != nil
        {
            return false
        }
        if let tick = job.tick, rows.values.contains(where: { $0.job.schedule == job.schedule && $0.job.tick == tick })
        {
            return false
        }
        lastSeq += 1
        var job = job
        job.seq = lastSeq
        replace(nil, with: Held(job))
        return true
    }

    /// Takes in a job that has its place already.
    func load(_ job: JobRecord) { replace(nil, with: Held(job)) }

    package func update(_ job: JobRecord) { replace(rows[job.seq], with: Held(job)) }

    package func updateClaimed(_ jobs: [JobRecord]) { for job in jobs { update(job) } }

    package func updatePlaces(_ jobs: [JobRecord]) { for job in jobs { update(job) } }

    package func finish(_ ends: [JobFinish]) -> Set<JobClaim> {
        var written: Set<JobClaim> = []
        for end in ends {
            let (job, claim) = (end.job, end.claim)
            guard let old = rows[claim.seq], old.job.state == .running, old.job.fence == claim.fence,
                old.job.children == 0
            else { continue }
            var row = old.job
            (row.state, row.worker, row.leaseUntil) = (job.state, nil, nil)
            (row.isUniqueHeld, row.finishedAt, row.keepUntil) = (job.isUniqueHeld, job.finishedAt, job.keepUntil)
            replace(old, with: Held(row))
            written.insert(claim)
        }
        return written
    }

    package func releaseUnique(_ holder: JobRecord) {
        guard var row = rows[holder.seq]?.job else { return }
        row.isUniqueHeld = false
        update(row)
    }

    package func lock(seqs: [Int64]) {}

    package func lock(ids: [UID], org: String) {}

    package func remove(_ job: JobRecord) { replace(rows[job.seq], with: nil) }

    private func replace(_ old: Held?, with new: Held?) {
        if undo != nil { undo?.append { [unowned self] in replace(new, with: old) } }
        if let old { leave(old.job) }
        if let new {
            enter(new.job)
            rows[new.job.seq] = new
        } else if let old {
            rows[old.job.seq] = nil
        }
        guard old?.job.id != new?.job.id else { return }
        if let old { byID[Child(org: old.job.org, id: old.job.id)] = nil }
        if let new { byID[Child(org: new.job.org, id: new.job.id)] = new.job.seq }
    }

    /// Takes a job out of the lists that its state puts it into.
    private func leave(_ job: JobRecord) {
        if job.isUniqueHeld, let key = job.uniqueKey {
            held[JobUniqueKey(org: job.org, type: job.type, key: key)] = nil
        }
        if job.state.isWaiting { waitingOf[job.org, default: 0] -= 1 }
        switch job.state {
        case .scheduled: scheduled[job.priority.rank].remove(job.dueAt.microseconds, job.seq)
        case .parked:
            if let ready = job.readyAt {
                promised.remove(ready.microseconds, job.seq)
            } else if let key = job.concurrency?.key {
                parkedUnder[JobKeyPlace(org: job.org, key: key)]?.remove(job.place, job.seq)
            }
        case .running: runningNow.remove(job.seq)
        case .waiting, .done, .dead, .cancelled: break
        }
    }

    private func enter(_ job: JobRecord) {
        if job.isUniqueHeld, let key = job.uniqueKey {
            held[JobUniqueKey(org: job.org, type: job.type, key: key)] = job.seq
        }
        if job.state.isWaiting { waitingOf[job.org, default: 0] += 1 }
        switch job.state {
        case .scheduled: scheduled[job.priority.rank].insert(job.dueAt.microseconds, job.seq)
        case .parked:
            if let ready = job.readyAt {
                promised.insert(ready.microseconds, job.seq)
            } else if let key = job.concurrency?.key {
                parkedUnder[JobKeyPlace(org: job.org, key: key), default: SortedPlaces()].insert(job.place, job.seq)
            }
        case .running: runningNow.insert(job.seq)
        case .waiting, .done, .dead, .cancelled: break
        }
    }

    // MARK: look-ups

    package func job(seq: Int64) -> JobRecord? { rows[seq]?.job }

    package func jobs(seqs: [Int64]) -> [Int64: JobRecord] { seqs.reduce(into: [:]) { $0[$1] = rows[$1]?.job } }

    package func job(id: UID, org: String) -> JobRecord? { byID[Child(org: org, id: id)].flatMap { rows[$0]?.job } }

    package func holders(of keys: [JobUniqueKey]) -> [JobUniqueKey: JobRecord] {
        keys.reduce(into: [:]) { holders, key in holders[key] = held[key].flatMap { rows[$0]?.job } }
    }

    package func due(_ priority: JobPriority, at now: Timestamp, limit: Int) -> [JobRecord] {
        scheduled[priority.rank].first(limit, through: now.microseconds).compactMap { rows[$0]?.job }
    }

    package func front(at now: Timestamp, limit: Int) throws -> [JobRecord] { try mergedFront(at: now, limit: limit) }

    package func ready(at now: Timestamp, limit: Int) -> [JobRecord] {
        promised.first(limit, through: now.microseconds).compactMap { rows[$0]?.job }
    }

    package func parked(under keys: [JobKeyPlace: Int]) -> [JobRecord] {
        keys.sorted { ($0.key.org, $0.key.key) < ($1.key.org, $1.key.key) }.flatMap { place, count in
            parkedUnder[place]?.first(count, through: .max).compactMap { rows[$0]?.job } ?? []
        }
    }

    private func running(_ limit: Int, _ isWanted: (JobRecord) -> Bool) -> [JobRecord] {
        Array(runningNow.sorted().compactMap { rows[$0]?.job }.filter(isWanted).prefix(limit))
    }

    package func lost(before now: Timestamp, limit: Int) -> [JobRecord] {
        running(limit) { $0.leaseUntil.map { $0 < now } ?? true }
    }

    package func running(limit: Int) -> [JobRecord] { running(limit) { _ in true } }

    package func disobedient(since moment: Timestamp, limit: Int) -> [JobRecord] {
        running(limit) { $0.cancelAt.map { $0 <= moment } ?? false }
    }

    package func renew(_ claims: [JobClaim], worker: UID, until: Timestamp) -> [HeldJob] {
        claims.compactMap { claim in
            guard var job = rows[claim.seq]?.job, job.state == .running, job.fence == claim.fence else { return nil }
            job.leaseUntil = until
            update(job)
            return HeldJob(claim: claim, isCancelled: job.cancelAt != nil)
        }
    }

    package func children(of parent: UID, org: String) -> [JobRecord] {
        (childrenOf[Child(org: org, id: parent)] ?? []).compactMap { job(id: $0, org: org) }
    }

    package func addParent(_ parent: UID, of child: UID, org: String) {
        childrenOf[Child(org: org, id: parent), default: []].append(child)
        parentsOf[Child(org: org, id: child), default: []].append(parent)
        undo?.append { [unowned self] in
            childrenOf[Child(org: org, id: parent)]?.removeLast()
            parentsOf[Child(org: org, id: child)]?.removeLast()
        }
    }

    package func parents(of child: UID, org: String) -> [JobState] {
        (parentsOf[Child(org: org, id: child)] ?? []).compactMap { job(id: $0, org: org)?.state }
    }

    // MARK: keys

    package func usages(of keys: Set<JobKeyPlace>) -> [JobKeyPlace: Int] {
        keys.reduce(into: [:]) { $0[$1] = usages[$1] }
    }

    package func setUsages(_ counts: [JobKeyPlace: Int]) {
        for (place, count) in counts {
            let old = usages[place]
            undo?.append { [unowned self] in usages[place] = old }
            usages[place] = count
        }
    }

    package func leaveKeys(_ counts: [JobKeyPlace: Int]) {
        setUsages(Dictionary(uniqueKeysWithValues: counts.map { ($0, max(0, (usages[$0] ?? 0) - $1)) }))
    }

    package func rateStates(of keys: Set<JobKeyPlace>) -> [JobKeyPlace: JobRateState] {
        keys.reduce(into: [:]) { $0[$1] = rates[$1] }
    }

    package func setRateStates(_ states: [JobKeyPlace: JobRateState]) {
        for (place, state) in states {
            let old = rates[place]
            undo?.append { [unowned self] in rates[place] = old }
            rates[place] = state
        }
    }

    package func leaveLater(_ leavings: [JobLeaving]) {
        let old = left
        undo?.append { [unowned self] in left = old }
        left += leavings
    }

    package func leavings(limit: Int) -> [JobLeaving] {
        let old = left
        undo?.append { [unowned self] in left = old }
        left.removeFirst(min(limit, left.count))
        return Array(old.prefix(limit))
    }

    package func waiting(org: String, limit: Int) -> Int { min(limit, waitingOf[org] ?? 0) }

    package func dead(org: String, type: String?, after: DeadPlace, limit: Int) -> [JobRecord] {
        func place(_ job: JobRecord) -> (Timestamp, Int64) { (job.finishedAt ?? after.finishedAt, job.seq) }
        let dead = rows.values.map(\.job).filter {
            $0.state == .dead && $0.org == org && (type == nil || $0.type == type)
                && place($0) > (after.finishedAt, after.seq)
        }
        return Array(dead.sorted { place($0) < place($1) }.prefix(limit))
    }

    package func purge(before now: Timestamp, limit: Int) -> Int {
        let old = rows.values.map(\.job).filter { $0.keepUntil.map { $0 < now } ?? false }.sorted { $0.seq < $1.seq }
        for job in old.prefix(limit) { remove(job) }
        for (place, state) in rates where max(state.used, state.promised) <= now {
            undo?.append { [unowned self] in rates[place] = state }
            rates[place] = nil
        }
        return min(old.count, limit)
    }

    // MARK: schedules

    package func schedule(_ name: String) -> JobSchedule? { schedulesByName[name] }

    package func schedules() -> [JobSchedule] { schedulesByName.values.sorted { $0.name < $1.name } }

    package func save(_ schedule: JobSchedule) { set(schedule.name, schedule) }

    package func move(_ schedule: JobSchedule, to next: Timestamp) -> Bool {
        guard var stored = schedulesByName[schedule.name], stored.next == schedule.next else { return false }
        stored.next = next
        set(schedule.name, stored)
        return true
    }

    package func removeSchedule(_ name: String) { set(name, nil) }

    private func set(_ name: String, _ schedule: JobSchedule?) {
        let old = schedulesByName[name]
        undo?.append { [unowned self] in schedulesByName[name] = old }
        schedulesByName[name] = schedule
    }
}

/// Numbers with a job each, in order. Nearly all come at the end and go at the front.
private struct SortedPlaces {
    private struct Entry { let place: Int64; let seq: Int64 }

    private var entries: [Entry] = []
    /// Entries before it are gone.
    private var head = 0

    private func index(_ place: Int64, _ seq: Int64) -> Int {
        if let last = entries.last, head < entries.count, (last.place, last.seq) < (place, seq) { return entries.count }
        var (low, high) = (head, entries.count)
        while low < high {
            let middle = (low + high) / 2
            if (entries[middle].place, entries[middle].seq) < (place, seq) { low = middle + 1 } else { high = middle }
        }
        return low
    }

    mutating func insert(_ place: Int64, _ seq: Int64) {
        entries.insert(Entry(place: place, seq: seq), at: index(place, seq))
    }

    mutating func remove(_ place: Int64, _ seq: Int64) {
        let at = index(place, seq)
        guard at < entries.count, entries[at].seq == seq else { return }
        guard at == head else {
            entries.remove(at: at)
            return
        }
        head += 1
        if head > 1024, head * 2 > entries.count {
            entries.removeFirst(head)
            head = 0
        }
    }

    func first(_ limit: Int, through place: Int64) -> [Int64] {
        var found: [Int64] = []
        var at = head
        while at < entries.count, found.count < limit, entries[at].place <= place {
            found.append(entries[at].seq)
            at += 1
        }
        return found
    }
}
