import AurumCore
import Runtime

/// Nodes that work on one store of jobs and crash, pause, lose answers, repeat themselves and disagree about the time.
/// All of it follows from the seed. What it finds wrong it answers as sentences.
struct JobSimulation {
    /// What a run may do besides working.
    struct Settings {
        var nodes = 3
        var steps = 100
        /// Seconds that a node's clock may be off.
        var skew: Int64 = 5
        /// False for the canary: effects are kept although their job's fence was refused.
        var isGuarded = true
        /// Whether transactions keep to what they may do beside others (`JobSharing`), as on PostgreSQL.
        var isShared = false
    }

    private struct Work {
        let job: JobRecord
        let until: Int64
    }

    private struct Node {
        var id: UID
        var skew: Int64
        var pausedUntil: Int64 = 0
        var work: [Work] = []
        /// Ends whose answer was lost: told again.
        var untold: [JobEnd] = []
    }

    let settings: Settings
    private var random: SeededRandom
    private let table = MemoryJobTable()
    private var nodes: [Node] = []
    private var now: Int64 = 1_800_000_000_000_000
    private var fence: Int64 = 0
    private var ids: [UID] = []
    private var effects: [UID: Int] = [:]
    private var doneOrder: [UID] = []
    private var parents: [UID: [UID]] = [:]
    private var begun: [String: [Int64]] = [:]
    private var isFaulty = true
    private var checks = 0
    private(set) var trace: [String] = []
    private(set) var wrong: [String] = []

    private static let kind = JobKind("sim.work", attemptsMax: 4)
    private static let limits = ["a": 1, "b": 2]
    private static let rate = JobRate("r", count: 2, per: .seconds(20))

    init(seed: UInt64, settings: Settings = Settings()) {
        random = SeededRandom(seed: seed)
        self.settings = settings
    }

    /// Runs the schedule, lets everything heal, and judges.
    mutating func run() -> [String] {
        for _ in 0..<settings.nodes { nodes.append(Node(id: newID(), skew: newSkew())) }
        for _ in 0..<settings.steps where wrong.isEmpty {
            now += Int64.random(in: 0...3_000_000, using: &random)
            step()
            check()
        }
        heal()
        return wrong
    }

    private mutating func newID() -> UID { UID(now: Timestamp(microseconds: now), random: &random) }

    private mutating func newSkew() -> Int64 {
        settings.skew == 0
            ? 0 : Int64.random(in: -settings.skew * 1_000_000...settings.skew * 1_000_000, using: &random)
    }

    private mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

    /// One transaction as the node sees the time, and beside others where the schedule has them.
    private mutating func desk<Value>(
        _ skew: Int64, _ sharing: JobSharing = .whole,
        _ body: (JobDesk<MemoryJobTable>, inout SeededRandom) throws -> Value
    ) throws -> Value {
        let counter = FenceCount(fence)
        defer { fence = counter.last }
        let moment = Timestamp(microseconds: now + skew)
        var random = random
        defer { self.random = random }
        table.sharing = settings.isShared ? sharing : .alone
        return try table.transaction { try body(JobDesk($0, now: moment) { counter.draw($0) }, &random) }
    }

    private final class FenceCount {
        var last: Int64

        init(_ last: Int64) { self.last = last }

        func draw(_ count: Int) -> [Int64] {
            defer { last += Int64(count) }
            return (0..<count).map { last + 1 + Int64($0) }
        }
    }

    // MARK: steps

    private mutating func step() {
        let index = Int.random(in: 0..<nodes.count, using: &random)
        switch Int.random(in: 0..<100, using: &random) {
        case ..<22: enqueue(nodes[index].skew)
        case ..<55: turn(index)
        case ..<75: finishWork(index)
        case ..<82: renew(index)
        case ..<89: tend(index)
        case ..<92: pause(index)
        case ..<95: crash(index)
        case ..<97: cancel(index)
        default: redrive(index)
        }
    }

    private mutating func enqueue(_ skew: Int64) {
        let id = newID()
        var job = NewJob(Self.kind, org: "acme")
        job.priority = JobPriority.allCases.randomElement(using: &random) ?? .normal
        job.due = chance(30) ? Timestamp(microseconds: now + Int64.random(in: 0...40_000_000, using: &random)) : nil
        switch Int.random(in: 0..<10, using: &random) {
        case 0: job.unique = ("u", .untilDone)
        case 1: job.unique = ("v", .untilStarted)
        case 2, 3: job.concurrency = JobConcurrency("a", limit: 1)
        case 4: job.concurrency = JobConcurrency("b", limit: 2)
        case 5: job.rate = Self.rate
        case 7: (job.concurrency, job.rate) = (JobConcurrency("a", limit: 1), Self.rate)
        case 6: if let parent = ids.randomElement(using: &random) { job.after = [parent] }
        default: break
        }
        if chance(20) { job.kind = JobKind("sim.other", attemptsMax: 2, keepsDone: .seconds(3600)) }
        do {
            let receipt = try desk(skew) { desk, _ in try desk.enqueue(job, id: id) }
            if !receipt.isDuplicate {
                ids.append(id)
                parents[id] = job.after
            }
        } catch { wrong.append("enqueue: \(error)") }
    }

    private mutating func turn(_ index: Int) {
        guard nodes[index].pausedUntil <= now else { return }
        let node = nodes[index]
        let ask = JobTurn(worker: node.id, ends: node.untold, limit: Int.random(in: 0...3, using: &random))
        do {
            let result = try takeTurn(ask, node.skew)
            for job in result.claimed {
                trace.append("\(now) node \(index) claims \(job.seq) fence \(job.fence)")
                if let rate = job.rate { begun[rate.key, default: []].append(now) }
            }
            // The answer is lost: the node knows nothing of its claims, and tells its ends again.
            if isFaulty, chance(8) { return }
            nodes[index].untold = []
            for job in result.claimed {
                let until = now + Int64.random(in: 0...45_000_000, using: &random)
                nodes[index].work.append(Work(job: job, until: until))
            }
        } catch { wrong.append("turn: \(error)") }
    }

    /// Effects and the end of the job in one transaction, or only an end when the attempt failed.
    private mutating func finishWork(_ index: Int) {
        guard nodes[index].pausedUntil <= now else { return }
        guard let at = nodes[index].work.firstIndex(where: { $0.until <= now }) else { return }
        let work = nodes[index].work.remove(at: at)
        let claim = JobClaim(seq: work.job.seq, fence: work.job.fence)
        if chance(20) {
            let retry: JobRetry = chance(30) ? .never : chance(50) ? .after(.seconds(3)) : .standard
            nodes[index].untold.append(JobEnd(claim, .failed(code: "no", detail: "", retry: retry)))
        } else if chance(5) {
            nodes[index].untold.append(JobEnd(claim, .released))
        } else {
            complete(index, work)
            // The answer is lost and the work is done again.
            if isFaulty, chance(10) { nodes[index].work.append(Work(job: work.job, until: now)) }
            if chance(50) { nodes[index].untold.append(JobEnd(claim, .done, job: chance(50) ? work.job : nil)) }
        }
    }

    private mutating func complete(_ index: Int, _ work: Work) {
        let claim = JobClaim(seq: work.job.seq, fence: work.job.fence)
        do {
            let known = chance(50) ? work.job : nil
            try desk(nodes[index].skew, .guest) { desk, _ in try desk.complete(claim, job: known) }
            effects[work.job.id, default: 0] += 1
            doneOrder.append(work.job.id)
            trace.append("\(now) node \(index) completes \(claim.seq) fence \(claim.fence)")
        } catch JobError.staleFence {
            trace.append("\(now) node \(index) is refused \(claim.seq) fence \(claim.fence)")
            if !settings.isGuarded { effects[work.job.id, default: 0] += 1 }
        } catch { wrong.append("complete: \(error)") }
    }

    private mutating func renew(_ index: Int) {
        guard nodes[index].pausedUntil <= now else { return }
        let node = nodes[index]
        let until = Timestamp(microseconds: now + node.skew) + JobLimits.lease
        let known = node.work.map { JobClaim(seq: $0.job.seq, fence: $0.job.fence) }
        let held = try? desk(node.skew) { desk, _ in desk.table.renew(known, worker: node.id, until: until) }
        if isFaulty, chance(8) { return }
        let mine = Set((held ?? []).filter { !$0.isCancelled }.map(\.claim))
        for job in nodes[index].work.map(\.job) where !mine.contains(JobClaim(seq: job.seq, fence: job.fence)) {
            // A job that was lost or cancelled is stopped, and a good worker says so; not every worker is good.
            guard chance(80) else { continue }
            nodes[index].work.removeAll { $0.job.seq == job.seq && $0.job.fence == job.fence }
            nodes[index].untold.append(JobEnd(JobClaim(seq: job.seq, fence: job.fence), .cancelled))
        }
    }

    private mutating func tend(_ index: Int) {
        guard nodes[index].pausedUntil <= now else { return }
        do { _ = try desk(nodes[index].skew) { desk, _ in try desk.tend() } } catch { wrong.append("tend: \(error)") }
    }

    /// A node that stands still keeps what it believes.
    private mutating func pause(_ index: Int) {
        nodes[index].pausedUntil = now + Int64.random(in: 1...100, using: &random) * 1_000_000
    }

    private mutating func crash(_ index: Int) {
        nodes[index] = Node(id: newID(), skew: newSkew())
    }

    private mutating func cancel(_ index: Int) {
        guard let id = ids.randomElement(using: &random) else { return }
        _ = try? desk(nodes[index].skew, .guest) { desk, _ in try desk.cancel(id, org: "acme") }
    }

    private mutating func redrive(_ index: Int) {
        guard let id = ids.randomElement(using: &random) else { return }
        _ = try? desk(nodes[index].skew) { desk, _ in try desk.redrive(id, org: "acme") }
    }

    /// Short where that will do, as on PostgreSQL; a short one that met more begins again as a whole one.
    private mutating func takeTurn(_ ask: JobTurn, _ skew: Int64) throws -> JobTurnResult {
        if settings.isShared, chance(50) {
            do {
                return try desk(skew, .short) { desk, random in try desk.turn(ask, random: &random) }
            } catch is JobTurnIsLong {}
        }
        return try desk(skew) { desk, random in try desk.turn(ask, random: &random) }
    }

    // MARK: judging

    private mutating func check() {
        let inHand = table.running(limit: .max)
        for (key, limit) in Self.limits {
            let running = inHand.filter { $0.concurrency?.key == key }.count
            if running > limit { wrong.append("\(running) jobs run under \(key), which allows \(limit)") }
            let place = JobKeyPlace(org: "acme", key: key)
            // What guests have ended and nobody has counted yet.
            let uncounted = table.left.filter { $0.key == key && $0.isRunning }.count
            if running + uncounted != table.usages(of: [place])[place] ?? 0 {
                wrong.append("the count of \(key) is not \(running)")
            }
        }
        checks += 1
        guard checks.isMultiple(of: 16) else { return }
        let held = table.all.filter(\.isUniqueHeld).compactMap { job in job.uniqueKey.map { "\(job.type) \($0)" } }
        if Set(held).count != held.count { wrong.append("two jobs hold one unique key") }
    }

    /// Faults end; everything must come to its end.
    private mutating func heal() {
        isFaulty = false
        for index in nodes.indices {
            nodes[index].pausedUntil = 0
            nodes[index].skew = 0
        }
        for _ in 0..<400 where wrong.isEmpty && table.all.contains(where: { !$0.state.isOver }) {
            now += 10_000_000
            for index in nodes.indices {
                renew(index)
                turn(index)
                for _ in nodes[index].work { finishWork(index) }
                tend(index)
            }
            check()
        }
        judge()
    }

    private mutating func judge() {
        let jobs = Dictionary(uniqueKeysWithValues: table.all.map { ($0.id, $0) })
        for id in ids {
            let count = effects[id] ?? 0
            if count > 1 { wrong.append("job \(id) has \(count) effects") }
            guard let job = jobs[id] else {
                // Purged: it was over.
                continue
            }
            if !job.state.isOver { wrong.append("job \(job.seq) is still \(job.state)") }
            if job.state != .done, count > 0 { wrong.append("job \(job.seq) is \(job.state) and has an effect") }
        }
        for (place, id) in doneOrder.enumerated() {
            for parent in parents[id] ?? [] where !doneOrder[..<place].contains(parent) && jobs[parent]?.state != .done
            {
                wrong.append("job \(id) was done before its parent")
            }
        }
        guard settings.skew == 0 else { return }
        for (key, times) in begun {
            let (count, period) = (Self.rate.count, Self.rate.period.microseconds)
            // The cell rate algorithm lets 2n − 1 begin in a period at its worst: a burst and its refill.
            for index in times.indices.dropFirst(2 * count - 1)
            where times[index] - times[index - (2 * count - 1)] < period {
                wrong.append("rate \(key): \(2 * count) began within a period")
            }
        }
    }
}
