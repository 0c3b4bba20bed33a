internal import AurumCore

/// Counts of keys during one claim: read once for each batch of candidates, written once at its end.
struct JobKeys<Table: JobTable> {
    struct Park { let until: Timestamp? }

    let table: Table
    private var usage: [JobKeyPlace: Int] = [:]
    private var rates: [JobKeyPlace: JobRateState] = [:]
    private var known: (usage: Set<JobKeyPlace>, rates: Set<JobKeyPlace>) = ([], [])
    private var changed: (usage: Set<JobKeyPlace>, rates: Set<JobKeyPlace>) = ([], [])

    init(table: Table) { self.table = table }

    /// Reads what is not known yet of the keys of `jobs`.
    mutating func load(_ jobs: some Collection<JobRecord>) throws {
        let concurrencies = Set(jobs.compactMap(\.concurrencyPlace)).subtracting(known.usage)
        if !concurrencies.isEmpty {
            usage.merge(try table.usages(of: concurrencies)) { $1 }
            known.usage.formUnion(concurrencies)
        }
        let limits = Set(jobs.compactMap(\.ratePlace)).subtracting(known.rates)
        if !limits.isEmpty {
            rates.merge(try table.rateStates(of: limits)) { $1 }
            known.rates.formUnion(limits)
        }
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
            changed.rates.insert(here)
            if let until { return Park(until: until) }
        }
        if let place {
            usage[place, default: 0] += 1
            changed.usage.insert(place)
        }
        return nil
    }

    func store() throws {
        let counts = usage.filter { changed.usage.contains($0.key) }
        if !counts.isEmpty { try table.setUsages(counts) }
        let states = rates.filter { changed.rates.contains($0.key) }
        if !states.isEmpty { try table.setRateStates(states) }
    }
}

extension JobRecord {
    var concurrencyPlace: JobKeyPlace? { concurrency.map { JobKeyPlace(org: org, key: $0.key) } }
    var ratePlace: JobKeyPlace? { rate.map { JobKeyPlace(org: org, key: $0.key) } }
    var hasKeys: Bool { concurrency != nil || rate != nil }
}
