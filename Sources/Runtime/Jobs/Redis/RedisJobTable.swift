internal import AurumCore

/// The jobs of one transaction on Redis, so that `JobDesk` decides there as it does everywhere. It works on what was
/// read (`RedisJobSnapshot`) in a table in memory, and throws `RedisJobMissing` when it needs more; at the end
/// `writes` says what to write, and what must still be as it was read.
///
/// Used by one task, synchronously, and made anew for each try.
final class RedisJobTable: JobTable {
    /// What one script writes.
    struct Writes {
        var arguments: [any RedisArgument]
        /// Whether nothing is to be written.
        var isEmpty: Bool
        /// Whether the script would know that it ran already: by the id of a new job.
        var isRepeatable: Bool
    }

    /// Conflicts are found when it is written, so that nobody is waited for.
    let sharing = JobSharing.alone
    let snapshot: RedisJobSnapshot
    private let memory = MemoryJobTable()
    private var seqByID: [UID: Int64] = [:]
    /// Jobs that were looked at one by one: what was decided on them holds only while they are as they were.
    private var read: Set<Int64> = []
    /// Keys under which all that are parked were looked at, and how many these were.
    private var allParked: [JobKeyPlace: Int] = [:]
    private var newLinks: [RedisJobSnapshot.Link] = []
    private var added: [JobRecord] = []
    private var usages: [JobKeyPlace: Int] = [:]
    private var rates: [JobKeyPlace: JobRateState] = [:]
    private var nextSeq = 0
    private var nextFence = 0

    init(_ snapshot: RedisJobSnapshot) {
        self.snapshot = snapshot
        for case (_, (let job, _)?) in snapshot.rows { load(job) }
        for (_, value) in snapshot.schedules ?? [:] { memory.save(value.schedule) }
        for link in snapshot.links {
            if let org = (job(byID: link.parent) ?? job(byID: link.child))?.org {
                memory.addParent(link.parent, of: link.child, org: org)
            }
        }
    }

    private func load(_ job: JobRecord) {
        memory.load(job)
        seqByID[job.id] = job.seq
    }

    private func job(byID id: UID) -> JobRecord? { seqByID[id].flatMap { memory.job(seq: $0) } }

    func fences(_ count: Int) throws -> [Int64] {
        guard snapshot.fences.count - nextFence >= count else {
            throw RedisJobMissing([.fences(count - (snapshot.fences.count - nextFence))])
        }
        defer { nextFence += count }
        return Array(snapshot.fences[nextFence..<nextFence + count])
    }

    // MARK: what must be known

    private func need(seqs: [Int64]) throws {
        let missing = seqs.filter { snapshot.rows[$0] == nil && memory.job(seq: $0) == nil }
        if !missing.isEmpty { throw RedisJobMissing([.rows(missing)]) }
        read.formUnion(seqs)
    }

    private func need(ids: [UID]) throws {
        let missing = ids.filter { snapshot.ids[$0] == nil && seqByID[$0] == nil }
        if !missing.isEmpty { throw RedisJobMissing([.ids(missing)]) }
    }

    private func need(held fields: [String]) throws {
        let missing = fields.filter { snapshot.held[$0] == nil }
        if !missing.isEmpty { throw RedisJobMissing([.held(missing)]) }
        // Also where its row was read before it took the key.
        read.formUnion(fields.compactMap { snapshot.held[$0] ?? nil })
    }

    /// The first so many of an index as this transaction sees it: what it has itself taken out of it does not count.
    private func need(_ index: RedisJobIndex, _ limit: Int) throws {
        guard let known = snapshot.indexes[index] else { throw RedisJobMissing([.index(index, limit)]) }
        if known.isAll || known.seqs.count - gone(known) >= limit { return }
        throw RedisJobMissing([.index(index, limit + 2 * gone(known))])
    }

    private func gone(_ known: RedisJobSnapshot.Known) -> Int {
        known.seqs.count { seq in
            guard case (let job, _)?? = snapshot.rows[seq] else { return true }
            return memory.job(seq: seq)?.state != job.state
        }
    }

    private func needAll(_ indexes: [RedisJobIndex: Int]) throws {
        var wishes: [RedisJobWish] = []
        for (index, limit) in indexes {
            do { try need(index, limit) } catch let missing as RedisJobMissing { wishes += missing.wishes }
        }
        if !wishes.isEmpty { throw RedisJobMissing(wishes) }
    }

    /// What was looked at one by one.
    private func looked(_ jobs: [JobRecord]) -> [JobRecord] {
        read.formUnion(jobs.map(\.seq))
        return jobs
    }

    // MARK: rows

    func insert(_ jobs: [JobRecord]) throws -> Set<UID> {
        guard snapshot.seqs.count - nextSeq >= jobs.count else { throw RedisJobMissing([.seqs(jobs.count)]) }
        let fields = jobs.filter { $0.isUniqueHeld || $0.tick != nil }.compactMap { RedisJobText.heldField($0) }
        try need(held: fields)
        var ids: Set<UID> = []
        for var job in jobs {
            if isTaken(job) { continue }
            job.seq = snapshot.seqs[nextSeq]
            nextSeq += 1
            load(job)
            added.append(job)
            ids.insert(job.id)
        }
        return ids
    }

    private func isTaken(_ job: JobRecord) -> Bool {
        if job.isUniqueHeld, let key = job.uniqueKey {
            return !memory.holders(of: [JobUniqueKey(org: job.org, type: job.type, key: key)]).isEmpty
        }
        guard job.tick != nil, let field = RedisJobText.heldField(job) else { return false }
        if case .some(.some) = snapshot.held[field] { return true }
        return added.contains { $0.tick == job.tick && $0.schedule == job.schedule }
    }

    func update(_ job: JobRecord) { memory.update(job) }

    func updateClaimed(_ jobs: [JobRecord]) { memory.updateClaimed(jobs) }

    func updatePlaces(_ jobs: [JobRecord]) { memory.updatePlaces(jobs) }

    func finish(_ ends: [JobFinish]) throws -> Set<JobClaim> {
        try need(seqs: ends.map(\.claim.seq))
        return memory.finish(ends)
    }

    func releaseUnique(_ holder: JobRecord) { memory.releaseUnique(holder) }

    func remove(_ job: JobRecord) { memory.remove(job) }

    func lock(seqs: [Int64]) throws { try need(seqs: seqs) }

    func lock(ids: [UID], org: String) throws { try need(ids: ids) }

    // MARK: look-ups

    func job(seq: Int64) throws -> JobRecord? {
        try need(seqs: [seq])
        return memory.job(seq: seq)
    }

    func jobs(seqs: [Int64]) throws -> [Int64: JobRecord] {
        try need(seqs: seqs)
        return memory.jobs(seqs: seqs)
    }

    func job(id: UID, org: String) throws -> JobRecord? {
        try need(ids: [id])
        return memory.job(id: id, org: org).map { looked([$0])[0] }
    }

    func holders(of keys: [JobUniqueKey]) throws -> [JobUniqueKey: JobRecord] {
        try need(held: keys.map { RedisJobText.heldField($0) })
        let holders = memory.holders(of: keys)
        _ = looked(Array(holders.values))
        return holders
    }

    func due(_ priority: JobPriority, at now: Timestamp, limit: Int) throws -> [JobRecord] {
        try need(.due(priority), limit)
        return memory.due(priority, at: now, limit: limit)
    }

    func front(at now: Timestamp, limit: Int) throws -> [JobRecord] {
        try needAll(Dictionary(uniqueKeysWithValues: JobPriority.allCases.map { (.due($0), limit) }))
        return try memory.front(at: now, limit: limit)
    }

    func ready(at now: Timestamp, limit: Int) throws -> [JobRecord] {
        try need(.ready, limit)
        return memory.ready(at: now, limit: limit)
    }

    func parked(under keys: [JobKeyPlace: Int]) throws -> [JobRecord] {
        try needAll(Dictionary(uniqueKeysWithValues: keys.map { (.parked($0), $1) }))
        for place in keys.keys {
            guard let known = snapshot.indexes[.parked(place)] else { continue }
            // Also those whose rows were read before they were parked.
            read.formUnion(known.seqs)
            if known.isAll { allParked[place] = known.seqs.count }
        }
        return memory.parked(under: keys)
    }

    func lost(before now: Timestamp, limit: Int) throws -> [JobRecord] {
        try need(.lost, limit)
        return memory.lost(before: now, limit: limit)
    }

    func running(limit: Int) throws -> [JobRecord] {
        try need(.running, limit)
        return memory.running(limit: limit)
    }

    func disobedient(since moment: Timestamp, limit: Int) throws -> [JobRecord] {
        try need(.disobedient(JobLimits.cancelGrace), limit)
        return memory.disobedient(since: moment, limit: limit)
    }

    /// Leases are renewed by a script of their own.
    func renew(_ claims: [JobClaim], worker: UID, until: Timestamp) throws -> [HeldJob] {
        try need(seqs: claims.map(\.seq))
        return memory.renew(claims, worker: worker, until: until)
    }

    func children(of parent: UID, org: String) throws -> [JobRecord] {
        guard snapshot.childrenOf.contains(parent) else { throw RedisJobMissing([.children(parent)]) }
        return looked(memory.children(of: parent, org: org))
    }

    func addParent(_ parent: UID, of child: UID, org: String) {
        newLinks.append(RedisJobSnapshot.Link(parent: parent, child: child))
        memory.addParent(parent, of: child, org: org)
    }

    func parents(of child: UID, org: String) throws -> [JobState] {
        guard snapshot.parentsOf.contains(child) else { throw RedisJobMissing([.parents(child)]) }
        read.formUnion(
            snapshot.links.filter { $0.child == child }.compactMap { seqByID[$0.parent] })
        return memory.parents(of: child, org: org)
    }

    func waiting(org: String, limit: Int) throws -> Int {
        guard let count = snapshot.waiting[org] else { throw RedisJobMissing([.waiting(org)]) }
        return min(limit, count)
    }

    /// With the parents of those that have some, and those that hold their keys: they are asked for next.
    func dead(org: String, type: String?, after: DeadPlace, limit: Int) throws -> [JobRecord] {
        let index = RedisJobIndex.dead(org: org, type: type, finishedAt: after.finishedAt, seq: after.seq)
        try need(index, limit)
        let jobs = memory.dead(org: org, type: type, after: after, limit: limit)
        var wishes: [RedisJobWish] = jobs.filter { !snapshot.parentsOf.contains($0.id) }.map { .parents($0.id) }
        let fields = jobs.filter { $0.uniqueKey != nil }.compactMap { RedisJobText.heldField($0) }
            .filter { snapshot.held[$0] == nil }
        if !fields.isEmpty { wishes.append(.held(fields)) }
        if !wishes.isEmpty { throw RedisJobMissing(wishes) }
        return jobs
    }

    /// Done by a script of its own, which reads nothing.
    func purge(before now: Timestamp, limit: Int) -> Int { 0 }

    // MARK: keys

    func usages(of keys: Set<JobKeyPlace>) throws -> [JobKeyPlace: Int] {
        let missing = keys.filter { snapshot.usages[$0] == nil }
        if !missing.isEmpty { throw RedisJobMissing([.usages(Array(missing))]) }
        return keys.reduce(into: [:]) { $0[$1] = usage($1) }
    }

    private func usage(_ place: JobKeyPlace) -> Int? {
        usages[place] ?? snapshot.usages[place].flatMap { Int($0) }
    }

    func setUsages(_ counts: [JobKeyPlace: Int]) { usages.merge(counts) { $1 } }

    func leaveKeys(_ counts: [JobKeyPlace: Int]) throws {
        let now = try usages(of: Set(counts.keys))
        setUsages(Dictionary(uniqueKeysWithValues: counts.map { ($0, max(0, (now[$0] ?? 0) - $1)) }))
    }

    func rateStates(of keys: Set<JobKeyPlace>) throws -> [JobKeyPlace: JobRateState] {
        let missing = keys.filter { snapshot.rates[$0] == nil }
        if !missing.isEmpty { throw RedisJobMissing([.rates(Array(missing))]) }
        return keys.reduce(into: [:]) { $0[$1] = rates[$1] ?? Self.rate(snapshot.rates[$1] ?? "") }
    }

    private static func rate(_ text: String) -> JobRateState? {
        let numbers = text.split(separator: ":").compactMap { Int64($0) }
        guard numbers.count == 2 else { return nil }
        return JobRateState(
            used: Timestamp(microseconds: numbers[0]), promised: Timestamp(microseconds: numbers[1]))
    }

    func setRateStates(_ states: [JobKeyPlace: JobRateState]) { rates.merge(states) { $1 } }

    /// Nobody is a guest here.
    func leaveLater(_ leavings: [JobLeaving]) {}
    func leavings(limit: Int) -> [JobLeaving] { [] }

    // MARK: schedules

    private func needSchedules() throws {
        if snapshot.schedules == nil { throw RedisJobMissing([.schedules]) }
    }

    func schedule(_ name: String) throws -> JobSchedule? {
        try needSchedules()
        return memory.schedule(name)
    }

    func schedules() throws -> [JobSchedule] {
        try needSchedules()
        return memory.schedules()
    }

    func save(_ schedule: JobSchedule) throws {
        try needSchedules()
        memory.save(schedule)
    }

    func move(_ schedule: JobSchedule, to next: Timestamp) throws -> Bool {
        try needSchedules()
        return memory.move(schedule, to: next)
    }

    func removeSchedule(_ name: String) throws {
        try needSchedules()
        memory.removeSchedule(name)
    }

    // MARK: what is written

    /// The arguments of `RedisJobScripts.commit` behind the time.
    /// - Parameters:
    ///   - token: of the gate, where this transaction has it.
    ///   - waitingMax: what may wait of each organisation whose jobs are added; nil for as much as comes.
    func writes(token: String, waitingMax: Int?) -> Writes {
        let (rows, changed) = rowWrites()
        let keys = keyWrites()
        var all: [any RedisArgument] = [token, added.first?.id.hex ?? ""]
        // New numbers need no look: none was given out before, not even by a server that lost its data since.
        let checked = read.union(changed).subtracting(added.map(\.seq)).sorted()
        all.append(checked.count)
        for seq in checked {
            var revision = ""
            if case (_, let known)?? = snapshot.rows[seq] { revision = String(known) }
            all += [RedisJobText.place(seq), revision]
        }
        all.append(snapshot.held.count)
        for (field, seq) in snapshot.held { all += [field, seq.map { RedisJobText.place($0) } ?? ""] }
        all.append(allParked.count)
        for (place, count) in allParked { all += [RedisJobText.keyField(place), count] }
        all += keys.arguments
        all += roomArguments(waitingMax)
        all += rows
        all.append(newLinks.count)
        for link in newLinks { all += [link.parent.hex, link.child.hex] }
        return Writes(
            arguments: all, isEmpty: changed.isEmpty && added.isEmpty && keys.isEmpty, isRepeatable: !added.isEmpty)
    }

    /// Every job that is not as it was read: its number, its texts.
    private func rowWrites() -> (arguments: [any RedisArgument], changed: [Int64]) {
        var all: [any RedisArgument] = []
        var changed: [Int64] = []
        for case (let seq, (let old, let revision)?) in snapshot.rows {
            guard let new = memory.job(seq: seq) else {
                all += [RedisJobText.place(seq), "", "", "="]
                changed.append(seq)
                continue
            }
            if new == old { continue }
            let text = RedisJobText(new, revision: revision + 1)
            let isExtraSame = new.note == old.note && new.failures == old.failures
            all += [RedisJobText.place(seq), text.row, "", isExtraSame ? "=" : text.extra]
            changed.append(seq)
        }
        for job in added {
            guard let new = memory.job(seq: job.seq) else { continue }
            let text = RedisJobText(new, revision: 1)
            all += [RedisJobText.place(job.seq), text.row, text.body, text.extra.isEmpty ? "=" : text.extra]
        }
        return ([all.count / 4] + all, changed)
    }

    /// What was read of keys, rates and schedules, and what becomes of it: key, old, new, and when a rate ends.
    private func keyWrites() -> (arguments: [any RedisArgument], isEmpty: Bool) {
        var isEmpty = true
        func list(_ entries: [(String, old: String, new: String, ends: String)]) -> [any RedisArgument] {
            var all: [any RedisArgument] = [entries.count]
            for (key, old, new, ends) in entries {
                all += [key, old, new, ends]
                if old != new { isEmpty = false }
            }
            return all
        }
        let counts = list(
            snapshot.usages.map { place, old in
                let new = usages[place].map { $0 > 0 ? String($0) : "" } ?? old
                return (RedisJobText.keyField(place), old, new, "")
            })
        let states = list(
            snapshot.rates.map { place, old in
                guard let state = rates[place] else { return (RedisJobText.keyField(place), old, old, "") }
                return (
                    RedisJobText.keyField(place), old,
                    "\(state.used.microseconds):\(state.promised.microseconds)",
                    String(max(state.used, state.promised).microseconds)
                )
            })
        let before = snapshot.schedules ?? [:]
        let after = Dictionary(
            (snapshot.schedules == nil ? [] : memory.schedules()).map { ($0.name, $0.redisText) },
            uniquingKeysWith: { $1 })
        let plans = list(
            Set(before.keys).union(after.keys).map { name in
                let old = before[name]
                // One that is as it was keeps its text, whoever wrote it.
                let isSame = old.map { memory.schedule(name) == $0.schedule } ?? false
                return (name, old?.text ?? "", isSame ? old?.text ?? "" : after[name] ?? "", "")
            }.filter { $0.1 != $0.2 })
        return (counts + states + plans, isEmpty)
    }

    private func roomArguments(_ waitingMax: Int?) -> [any RedisArgument] {
        guard let waitingMax else { return [0, 0] }
        var counts: [String: Int] = [:]
        for job in added where memory.job(seq: job.seq)?.state.isWaiting == true { counts[job.org, default: 0] += 1 }
        var all: [any RedisArgument] = [waitingMax, counts.count]
        for (org, count) in counts { all += [RedisJobText.escape(org), count] }
        return all
    }
}
