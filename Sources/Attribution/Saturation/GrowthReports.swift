internal import AurumCore
internal import Database
internal import Events
internal import Synchronization
internal import Telemetry

/// Why a question about growth has no answer.
package enum GrowthError: Error, Sendable, Equatable {
    /// Nobody ever came from it, and nothing was credited to it.
    case unknownCampaign
    /// What was decided on is not what is advised now.
    case adviceChanged
    /// A change of this campaign's budget was approved today.
    case decidedToday
    /// No decision of the organisation has this id.
    case unknownDecision
    /// The decision says not to do it, or only what would have been decided: there is nothing to carry out.
    case notApproved
    /// A pause whose stop rule holds no longer.
    case withdrawn
    /// A setting of a budget that may not be, or contradicts another: which, and what it must be.
    case badBudget(field: String, detail: String)
    /// What a day earned may still be returned after the maturity that was asked for; the least that may be.
    case immature(leastDays: Int)
    /// A range of dates that is none or too long: the parameter and what it must be.
    case badRange(name: String, detail: String)

    /// One sentence for whoever asked.
    package var sentence: String {
        switch self {
        case .unknownCampaign: "Nobody ever came from such a campaign; take the name from the campaign report."
        case .adviceChanged: "This is not what is advised now; ask again and decide on that."
        case .decidedToday: "A change of this campaign's budget was already approved today."
        case .unknownDecision: "There is no such decision."
        case .notApproved: "This decision was not approved, so there is nothing to carry out."
        case .withdrawn: "This pause was withdrawn: no stop rule that allows it holds for the campaign any longer."
        case .badBudget(let field, let detail): "\(field) \(detail)"
        case .immature(let days):
            "Sales may come back for \(days) days here, the longest return window of a buyer: maturity_days must be at "
                + "least \(days)."
        case .badRange(let name, let detail): "\(name) \(detail)"
        }
    }
}

/// What campaigns bring over time: saturation, budget advice, cohorts and what networks claim. It never changes a
/// budget anywhere; what is decided is kept.
package struct GrowthReports: Sendable {
    package let campaigns: CampaignReports
    /// The longest time in days in which a sale of an organisation may come back; nil where nobody can say.
    let returnDays: @Sendable (String) async throws -> Int?
    private let memory = SaturationMemory()
    private let gate = FitGate()

    package init(
        campaigns: CampaignReports, returnDays: @escaping @Sendable (String) async throws -> Int? = { _ in nil }
    ) {
        (self.campaigns, self.returnDays) = (campaigns, returnDays)
    }

    var attribution: AttributionService { campaigns.attribution }
    var database: Database { campaigns.attribution.database }
    var clock: any WallClock { campaigns.clock }

    /// A calendar that answers keep days by.
    struct Calendar: Sendable {
        var timezone: String
        var isMixed: Bool
        var zone: ZoneClock
        /// The day that is not over, as days since 1970-01-01.
        var today: Int
        var now: Timestamp
    }

    /// - Throws: `SpendError.unknownTimeZone`.
    func calendar(org: String, timezone wanted: String?) async throws -> Calendar {
        let known = wanted == nil ? try await campaigns.spend.timezone(org: org) : (name: "UTC", isMixed: false)
        let name = wanted ?? known.name
        guard let zone = ZoneClock(name) else { throw SpendError.unknownTimeZone }
        let now = clock.now
        return Calendar(
            timezone: name, isMixed: known.isMixed, zone: zone, today: Int(zone.key(.day, at: now.microseconds)),
            now: now)
    }

    /// How the saturation of these days stands, worked out once for the same days. Two fits run at a time in all, so
    /// that questions about many campaigns leave a core to others.
    func saturation(_ days: [SpendDay], today: Int) async throws -> SaturationAnswer {
        // What today brings does not count, and changes all the time.
        let past = days.filter { $0.day < today }.sorted { $0.day < $1.day }
        let key = SaturationMemory.Key(days: past, today: today)
        if let known = memory.answer(key) { return known }
        await gate.enter()
        do {
            try Task.checkCancellation()
            let answer = try await fitted(key)
            await gate.leave()
            return answer
        } catch {
            await gate.leave()
            throw error
        }
    }

    private func fitted(_ key: SaturationMemory.Key) async throws -> SaturationAnswer {
        // Whoever came first may have asked the same.
        if let known = memory.answer(key) { return known }
        let answer = try await BlockingWork.value { SaturationModel.answer(key.days, today: key.today) }
        memory.keep(answer, key)
        return answer
    }

    func time<Value>(_ body: () async throws -> Value) async rethrows -> Value {
        let began = ContinuousClock.now
        defer { campaigns.registry.histogram(.attributionReportDuration).observe(ContinuousClock.now - began) }
        return try await body()
    }
}

/// Answers of the newest questions about saturation. A fit and its thousand draws take some tens of milliseconds, and
/// the days they are made of change once a day.
private final class SaturationMemory: Sendable {
    struct Key: Hashable {
        let days: [SpendDay]
        let today: Int
    }

    private struct Kept {
        var answers: [Key: (answer: SaturationAnswer, use: UInt64)] = [:]
        var uses: UInt64 = 0
    }

    /// With more, the one that was not asked for longest is forgotten: about 24 kB each.
    private static let keptMax = 200
    private let kept = Mutex(Kept())

    func answer(_ key: Key) -> SaturationAnswer? {
        kept.withLock { kept in
            kept.uses += 1
            kept.answers[key]?.use = kept.uses
            return kept.answers[key]?.answer
        }
    }

    func keep(_ answer: SaturationAnswer, _ key: Key) {
        kept.withLock { kept in
            if kept.answers.count >= Self.keptMax, kept.answers[key] == nil,
                let oldest = kept.answers.min(by: { $0.value.use < $1.value.use })?.key
            {
                kept.answers[oldest] = nil
            }
            kept.uses += 1
            kept.answers[key] = (answer, kept.uses)
        }
    }
}

/// Lets `atOnce` fits run; others wait in the order they came.
private actor FitGate {
    private static let atOnce = 2
    private var free = atOnce
    private var waiting: [CheckedContinuation<Void, Never>] = []

    func enter() async {
        if free > 0 {
            free -= 1
            return
        }
        await withCheckedContinuation { waiting.append($0) }
    }

    /// Hands the place over to whoever waits longest.
    func leave() {
        if waiting.isEmpty { free += 1 } else { waiting.removeFirst().resume() }
    }
}
