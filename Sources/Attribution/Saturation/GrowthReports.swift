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
    /// Settings of a budget that contradict each other, in words.
    case badBudget(String)

    /// One sentence for whoever asked.
    package var sentence: String {
        switch self {
        case .unknownCampaign: "Nobody ever came from such a campaign; take the name from the campaign report."
        case .adviceChanged: "This is not what is advised now; ask again and decide on that."
        case .decidedToday: "A change of this campaign's budget was already approved today."
        case .badBudget(let detail): detail
        }
    }
}

/// What campaigns bring over time: saturation, budget advice, cohorts and what networks claim. It never changes a
/// budget anywhere; what a person decides on advice is kept.
package struct GrowthReports: Sendable {
    package let campaigns: CampaignReports
    private let memory = SaturationMemory()

    package init(campaigns: CampaignReports) { self.campaigns = campaigns }

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

    /// How the saturation of these days stands, worked out once for the same days.
    func saturation(_ days: [SpendDay], today: Int) async throws -> SaturationAnswer {
        // What today brings does not count, and changes all the time.
        let past = days.filter { $0.day < today }.sorted { $0.day < $1.day }
        let key = SaturationMemory.Key(days: past, today: today)
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

    /// With more, all are forgotten: about 24 kB each.
    private static let keptMax = 200
    private let kept = Mutex<[Key: SaturationAnswer]>([:])

    func answer(_ key: Key) -> SaturationAnswer? { kept.withLock { $0[key] } }

    func keep(_ answer: SaturationAnswer, _ key: Key) {
        kept.withLock { kept in
            if kept.count >= Self.keptMax { kept.removeAll() }
            kept[key] = answer
        }
    }
}
