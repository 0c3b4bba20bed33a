internal import AurumCore
internal import Database

/// What a look at the stop rules of an organisation changes: alerts, and pauses that somebody has to carry out.
struct StopChanges: Sendable {
    var raised: [StopAlert] = []
    /// Alerts of the same day that had been cleared, and hold again.
    var again: [StopAlert] = []
    var cleared: [StopAlert] = []
    /// With the day of their alert.
    var paused: [(decision: AdviceDecision, day: Int)] = []
    /// Pauses that nobody carried out, and that nothing asks for any more.
    var withdrawn: [UID] = []
    /// Pauses that were withdrawn, and that the same day asks for again.
    var restored: [UID] = []
    /// Alerts beyond `alertsMax`, those with least spend.
    var leftOut = 0

    /// Alerts of one organisation at a time.
    static let alertsMax = 1000

    var isEmpty: Bool {
        raised.isEmpty && again.isEmpty && cleared.isEmpty && paused.isEmpty && withdrawn.isEmpty && restored.isEmpty
    }
}

extension StopChanges {
    private struct AlertKey: Hashable {
        let place: CampaignPlace
        let rule: BudgetAlert
        let day: Int
    }

    private struct PauseKey: Hashable {
        let place: CampaignPlace
        let day: Int
        let verdict: AdviceDecision.Verdict
    }

    /// A rule that holds.
    private struct Holding {
        let ledger: StopLedger
        let finding: StopFinding
        let budget: CampaignBudget?

        var key: AlertKey { AlertKey(place: ledger.place, rule: finding.rule, day: finding.day) }

        var pauseKey: PauseKey? {
            guard let budget, budget.mayPause else { return nil }
            return PauseKey(place: ledger.place, day: finding.day, verdict: budget.isDryRun ? .dryRun : .approved)
        }

        var newestMinor: Int64 { ledger.days.last { $0.day == finding.day }?.spendMinor ?? 0 }

        var inputs: JSONValue {
            func date(_ day: Int?) -> JSONValue {
                day.map { .string(CivilDate(daysSince1970: $0).description) } ?? .null
            }
            return [
                "rule": .string(finding.rule.rawValue), "day": date(finding.day), "today": date(ledger.today),
                "timezone": .string(ledger.timezone), "spend_minor": .integer(finding.spendMinor),
                "limit_minor": .integer(finding.limitMinor), "day_spend_minor": .integer(newestMinor),
                "cap_minor": .whole(budget?.capMinor), "last_conversion_day": date(ledger.lastConversion),
                "may_pause": .bool(budget?.mayPause ?? false), "dry_run": .bool(budget?.isDryRun ?? true),
            ]
        }
    }

    /// What there is to change. It reads budgets, alerts and pauses as the transaction sees them.
    init(_ ledgers: StopLedgers, org: String, in transaction: Transaction) throws {
        let names = ledgers.names
        let budgets = CampaignBudget.newest(
            try CampaignBudget.rows(org: org, in: transaction), names.name(ofLabel:))
        let all = Self.holding(ledgers, budgets)
        let days = Array(Set(all.map(\.finding.day))).sorted()
        let known = try StopAlert.known(org: org, days: days, in: transaction)
        let now = transaction.now
        let kept = settleAlerts(all, known, names, now: now)
        try settlePauses(kept, days, names, org: org, now: now, in: transaction)
    }

    private static func holding(_ ledgers: StopLedgers, _ budgets: [CampaignPlace: CampaignBudget]) -> [Holding] {
        let all = ledgers.ledgers.flatMap { ledger in
            BudgetAlert.findings(
                ledger.days, lastConversion: ledger.lastConversion, sellsLeads: ledgers.sellsLeads,
                capMinor: budgets[ledger.place]?.capMinor, currency: ledger.place.currency, today: ledger.today
            ).map { Holding(ledger: ledger, finding: $0, budget: budgets[ledger.place]) }
        }
        return all.sorted { one, other in
            let (left, right) = (one.ledger.place, other.ledger.place)
            return (other.finding.spendMinor, left.campaign, left.currency.code, one.finding.rule.rawValue)
                < (one.finding.spendMinor, right.campaign, right.currency.code, other.finding.rule.rawValue)
        }
    }

    /// - Returns: rules that hold and have an alert: those beyond the most that are kept ask for nothing.
    private mutating func settleAlerts(
        _ all: [Holding], _ known: [StopAlert], _ names: StopNames, now: Timestamp
    ) -> [Holding] {
        func key(_ alert: StopAlert) -> AlertKey {
            AlertKey(
                place: CampaignPlace(names.name(ofLabel: alert.campaign), alert.currency), rule: alert.finding.rule,
                day: alert.finding.day)
        }
        // A campaign that changed its name may have two: the one that is open counts.
        var stored: [AlertKey: StopAlert] = [:]
        for alert in known where stored[key(alert)]?.clearedAt != nil || stored[key(alert)] == nil {
            stored[key(alert)] = alert
        }
        let open = known.count { $0.clearedAt == nil }
        var room = max(0, Self.alertsMax - open)
        var kept: [Holding] = []
        for one in all {
            let before = stored[one.key]
            if let before, before.clearedAt == nil {
                kept.append(one)
                continue
            }
            guard room > 0 else {
                leftOut += 1
                continue
            }
            room -= 1
            kept.append(one)
            if var before {
                before.clearedAt = nil
                again.append(before)
                continue
            }
            raised.append(
                StopAlert(
                    id: UID(now: now), campaign: one.ledger.place.campaign, currency: one.ledger.place.currency,
                    finding: one.finding, timezone: one.ledger.timezone, inputs: one.inputs, raisedAt: now))
        }
        let holding = Set(all.map(\.key))
        for alert in known where alert.clearedAt == nil {
            if holding.contains(key(alert)), stored[key(alert)]?.id == alert.id { continue }
            var done = alert
            done.clearedAt = now
            cleared.append(done)
        }
        return kept
    }

    private struct Pause: RowDecodable {
        let id: UID
        let place: CampaignPlace
        let day: Int
        let verdict: AdviceDecision.Verdict
        let isAcknowledged: Bool
        let isWithdrawn: Bool

        init(row: Row) throws {
            (id, place, day) = (try row.get("id"), try CampaignPlace(row: row), try row.get("day"))
            guard let verdict = AdviceDecision.Verdict(rawValue: try row.get("decision")) else {
                throw UnknownWord(column: "decision")
            }
            self.verdict = verdict
            isAcknowledged = try row.optional("acknowledged_at", as: Timestamp.self) != nil
            isWithdrawn = try row.optional("withdrawn_at", as: Timestamp.self) != nil
        }
    }

    private mutating func settlePauses(
        _ kept: [Holding], _ days: [Int], _ names: StopNames, org: String, now: Timestamp,
        in transaction: Transaction
    ) throws {
        let known = try transaction.all(
            Pause.self,
            """
            SELECT id, campaign, currency, day, decision, acknowledged_at, withdrawn_at FROM automatic_decisions
            WHERE org = \(org) AND action = 'pause' AND (day IN (\(list: days))
                OR (decision = 'approved' AND acknowledged_at IS NULL AND withdrawn_at IS NULL))
            ORDER BY decided_at, id
            """)
        var wanted: [PauseKey: Holding] = [:]
        for one in kept {
            if let key = one.pauseKey, wanted[key] == nil { wanted[key] = one }
        }
        var found = Set<PauseKey>()
        for pause in known {
            let key = PauseKey(
                place: CampaignPlace(names.name(ofLabel: pause.place.campaign), pause.place.currency), day: pause.day,
                verdict: pause.verdict)
            let isFirst = found.insert(key).inserted
            if wanted[key] != nil, isFirst {
                if pause.isWithdrawn { restored.append(pause.id) }
            } else if pause.verdict == .approved, !pause.isAcknowledged, !pause.isWithdrawn {
                withdrawn.append(pause.id)
            }
        }
        for (key, one) in wanted where !found.contains(key) {
            paused.append(
                (
                    AdviceDecision(
                        id: UID(now: now), campaign: key.place.campaign, currency: key.place.currency, action: .pause,
                        fromMinor: one.newestMinor, toMinor: 0, verdict: key.verdict, actor: AdviceDecision.auto,
                        decidedAt: now, inputs: one.inputs), key.day
                ))
        }
    }
}
