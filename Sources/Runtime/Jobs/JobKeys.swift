internal import AurumCore

/// Room that the ends of one turn made under keys, kept until its claims have had it.
final class JobFreedRoom {
    private(set) var rooms: [JobKeyPlace: JobRoom] = [:]

    func add(_ leavings: [JobLeaving]) {
        rooms.merge(JobRoom.byKey(leavings)) { JobRoom(leaves: $0.leaves + $1.leaves, looks: $0.looks + $1.looks) }
    }
}

extension JobRoom {
    static func byKey(_ leavings: [JobLeaving]) -> [JobKeyPlace: JobRoom] {
        leavings.reduce(into: [:]) { rooms, leaving in
            guard let key = leaving.key else { return }
            let place = JobKeyPlace(org: leaving.org, key: key)
            rooms[place, default: JobRoom()].leaves += leaving.isRunning ? 1 : 0
            rooms[place, default: JobRoom()].looks += 1
        }
    }
}

/// Counts of keys during one claim: read once for each batch of candidates, written once at its end, and only where
/// they are other than they were.
struct JobKeys<Table: JobTable> {
    struct Park { let until: Timestamp? }

    let table: Table
    private var usage: [JobKeyPlace: Int] = [:]
    /// As they were read.
    private var stored: [JobKeyPlace: Int] = [:]
    private var rates: [JobKeyPlace: JobRateState] = [:]
    private var knownRates: Set<JobKeyPlace> = []
    private var changedRates: Set<JobKeyPlace> = []

    init(table: Table) { self.table = table }

    /// Reads what is not known yet of the keys of `jobs`.
    mutating func load(_ jobs: some Collection<JobRecord>) throws {
        try load(Set(jobs.compactMap(\.concurrencyPlace)))
        let limits = Set(jobs.compactMap(\.ratePlace)).subtracting(knownRates)
        if !limits.isEmpty {
            rates.merge(try table.rateStates(of: limits)) { $1 }
            knownRates.formUnion(limits)
        }
    }

    private mutating func load(_ places: Set<JobKeyPlace>) throws {
        let missing = places.filter { stored[$0] == nil }
        if missing.isEmpty { return }
        let found = try table.usages(of: missing)
        for place in missing { (stored[place], usage[place]) = (found[place] ?? 0, found[place] ?? 0) }
    }

    /// So many fewer run under keys.
    mutating func leave(_ rooms: [JobKeyPlace: JobRoom]) throws {
        try load(Set(rooms.keys))
        for (place, room) in rooms { usage[place] = max(0, (usage[place] ?? 0) - room.leaves) }
    }

    /// nil when the job may begin; its keys are then counted. What `load` was given.
    mutating func admit(_ job: JobRecord, now: Timestamp) -> Park? {
        let place = job.concurrencyPlace
        if let place, let concurrency = job.concurrency, usage[place] ?? 0 >= concurrency.limit {
            return Park(until: nil)
        }
        if let rate = job.rate, let here = job.ratePlace {
            var state = rates[here] ?? JobRateState(used: now, promised: now)
            let until = state.ask(rate, wasPromised: job.readyAt != nil, now: now)
            rates[here] = state
            changedRates.insert(here)
            if let until { return Park(until: until) }
        }
        if let place { usage[place, default: 0] += 1 }
        return nil
    }

    func store() throws {
        let counts = usage.filter { $0.value != stored[$0.key] }
        if !counts.isEmpty { try table.setUsages(counts) }
        let states = rates.filter { changedRates.contains($0.key) }
        if !states.isEmpty { try table.setRateStates(states) }
    }
}

extension JobRecord {
    var concurrencyPlace: JobKeyPlace? { concurrency.map { JobKeyPlace(org: org, key: $0.key) } }
    var ratePlace: JobKeyPlace? { rate.map { JobKeyPlace(org: org, key: $0.key) } }
    var hasKeys: Bool { concurrency != nil || rate != nil }
}
