internal import AurumCore

/// Sending quarantined events through capture again.
extension QuarantineDesk {
    private static let pageRows = 1000
    /// Events and bytes of one request.
    private static let requestEventsMax = 500
    private static let requestBytesMax = 2 << 20

    /// An event that will be sent again.
    private struct Candidate {
        var row: QuarantinedRow
        var id: String
        var text: [UInt8]
        var hasGPC: Bool
        /// A replay of it was begun before and its end is not known.
        var wasBegun: Bool
    }

    /// What the events of one request share.
    private struct GroupKey: Hashable {
        var app: String
        var format: WireFormat
        var receivedAt: Int64
        var sentAt: Int64?
        var isHistorical: Bool
        var hasGPC: Bool
    }

    /// Sends the events of a filter again, under the plan in force or a named version of it.
    ///
    /// - Parameters:
    ///   - after: where an earlier call ended: events up to there are left alone, also those that were refused again.
    ///   - eventsMax: after how many events the call ends; whole pages are done.
    /// - Throws: `unknownPlanVersion`, `replayRunning`; a `CaptureError` when capture refuses, with everything up to
    ///   there replayed.
    package func replay(
        _ filter: QuarantineFilter, planVersion: Int? = nil, dryRun: Bool = false, after: LogPosition? = nil,
        eventsMax: Int = replayMax
    ) async throws -> ReplayReport {
        if let planVersion { try await check(planVersion, filter) }
        return try await replayAlone { try await replayPages(filter, planVersion, dryRun, after, eventsMax) }
    }

    /// Refuses a version that no app of the filter has, also where no event is waiting for it.
    private func check(_ version: Int, _ filter: QuarantineFilter) async throws {
        let apps = filter.app.map { [$0] } ?? policies.apps.list(org: filter.org).map(\.app)
        for app in apps {
            if try await policies.apps.plan(org: filter.org, app: app, version: version) != nil { return }
        }
        throw PolicyError.unknownPlanVersion
    }

    private func replayPages(
        _ filter: QuarantineFilter, _ planVersion: Int?, _ dryRun: Bool, _ begin: LogPosition?, _ eventsMax: Int
    ) async throws -> ReplayReport {
        var report = ReplayReport()
        report.isDryRun = dryRun
        var plans: [String: CompiledPlan?] = [:]
        var after = begin
        while true {
            let rows = try await rows(filter, newestFirst: false, limit: Self.pageRows, after: after)
            guard let last = rows.last else { return report }
            guard report.matched < eventsMax else {
                report.next = after
                return report
            }
            after = last.position
            report.matched += rows.count
            for row in rows where plans[row.request.app] == nil {
                plans[row.request.app] = .some(
                    try await plan(filter.org, row.request.app, planVersion))
            }
            let begun = try await ledger.places(org: filter.org)
            var candidates: [Candidate] = []
            for row in rows {
                let plan = plans[row.request.app] ?? nil
                let wasBegun = begun[row.receipt]?[row.index] == .replaying
                if let candidate = candidate(row, plan, wasBegun, &report) { candidates.append(candidate) }
            }
            if dryRun {
                report.stored += candidates.count
            } else {
                try await send(candidates, filter.org, planVersion == nil ? nil : plans, &report)
            }
        }
    }

    /// The plan that an app's events are held against; nil where none is enforced.
    private func plan(_ org: String, _ app: String, _ version: Int?) async throws -> CompiledPlan? {
        let state = policies.apps.state(org: org, app: app)
        guard let version else { return state.settings.planMode == .enforce ? state.plan : nil }
        guard let record = try await policies.apps.plan(org: org, app: app, version: version) else {
            throw PolicyError.unknownPlanVersion
        }
        return try CompiledPlan(record.document, version: record.version)
    }

    /// The text to send, or nil with the reason counted when the event would be refused again.
    private func candidate(
        _ row: QuarantinedRow, _ plan: CompiledPlan?, _ wasBegun: Bool, _ report: inout ReplayReport
    ) -> Candidate? {
        let kept = SealedQuarantine(row.text, org: row.request.org, sealer: policies.sealer)
        guard let raw = kept.raw else {
            report.refused["key_gone", default: 0] += 1
            return nil
        }
        let verdict = ReplayJudge(limits: limits).verdict(raw, row.request, plan: plan)
        guard verdict.reason == .none else {
            report.refused[verdict.reason.tag, default: 0] += 1
            return nil
        }
        var members = [
            ("replayed_at", JSONValue.quoted(clock.now.rfc3339)), ("replay_of", JSONValue.quoted(row.receipt)),
        ]
        let id = verdict.id ?? derivedID(raw, row, verdict)
        if verdict.id == nil { members.append(("messageId", JSONValue.quoted(id))) }
        guard let text = EventText.adding(members.map { (name: $0.0, value: $0.1) }, to: raw) else {
            report.refused["not_json", default: 0] += 1
            return nil
        }
        return Candidate(
            row: row, id: policies.storedForm(PersonIdentifier(.event, id), org: row.request.org).value, text: text,
            hasGPC: kept.hasGPC, wasBegun: wasBegun)
    }

    /// The id that the event had under its first receipt.
    private func derivedID(_ raw: [UInt8], _ row: QuarantinedRow, _ verdict: ReplayJudge.Verdict) -> String {
        guard verdict.hasTime else { return DerivedID.ofServer(nonce: row.request.nonce, index: row.index) }
        return raw.withUnsafeBufferPointer { DerivedID.fromBytes(app: row.request.app, index: row.index, $0) }
    }

    // MARK: sending

    private func send(
        _ candidates: [Candidate], _ org: String, _ plans: [String: CompiledPlan?]?, _ report: inout ReplayReport
    ) async throws {
        let groups = Dictionary(grouping: candidates) { candidate in
            let request = candidate.row.request
            return GroupKey(
                app: request.app, format: request.format, receivedAt: request.receivedAt,
                sentAt: request.envelopeSentAt, isHistorical: request.isHistorical, hasGPC: candidate.hasGPC)
        }
        for (key, group) in groups.sorted(by: { $0.key.receivedAt < $1.key.receivedAt }) {
            var source = CaptureSource(
                org: org, app: key.app, isHistorical: key.isHistorical,
                sentAt: key.sentAt.map { Timestamp(microseconds: $0) }, hasGPC: key.hasGPC)
            source.isReplay = true
            if let plans { source.planToReplayUnder = .some(plans[key.app] ?? nil) }
            var part: [Candidate] = []
            var bytes = 0
            for candidate in group {
                let isFull =
                    part.count >= Self.requestEventsMax || bytes + candidate.text.count > Self.requestBytesMax
                    || (part.count == 1 && ReplayBody.takesOne(key.format))
                if isFull, !part.isEmpty {
                    try await send(part, key, source, &report)
                    part = []
                    bytes = 0
                }
                part.append(candidate)
                bytes += candidate.text.count
            }
            if !part.isEmpty { try await send(part, key, source, &report) }
        }
    }

    /// One request: intent, durable append, outcome.
    private func send(
        _ part: [Candidate], _ key: GroupKey, _ source: CaptureSource, _ report: inout ReplayReport
    ) async throws {
        func actions(_ state: QuarantineAction.State, _ more: (Int, inout QuarantineAction) -> Void)
            -> [QuarantineAction]
        {
            part.enumerated().map { index, candidate in
                var action = QuarantineAction(
                    receipt: candidate.row.receipt, place: candidate.row.index, app: key.app, eventID: candidate.id,
                    state: state, at: clock.now)
                more(index, &action)
                return action
            }
        }
        try await ledger.write(actions(.replaying) { _, _ in }, org: source.org)
        let (body, format) = ReplayBody.of(part.map(\.text), key.format, sentAt: key.sentAt)
        let receipt = try await capture.submit(
            body, format: format, source: source, receivedAt: Timestamp(microseconds: key.receivedAt))
        var outcomes = [EventOutcome](repeating: .stored, count: part.count)
        for problem in try await store.receipt(receipt.id, org: source.org)?.problems ?? []
        where outcomes.indices.contains(problem.index) {
            outcomes[problem.index] = problem.outcome
        }
        for (index, candidate) in part.enumerated() where outcomes[index] == .duplicate && candidate.wasBegun {
            if let first = try await firstReplay(candidate, source) { outcomes[index] = first }
        }
        let done = actions(.replayed) { index, action in
            action.outcome = outcomes[index]
            action.replayReceipt = receipt.id
        }
        try await leaving { try await ledger.write(done, org: source.org) }
        policies.quota.leave(part.reduce(0) { $0 + $1.row.text.count })
        for outcome in outcomes { report.count(outcome) }
    }

    /// The outcome of an earlier replay of the same event whose end was not written down; nil when the event that is
    /// there already came another way.
    private func firstReplay(_ candidate: Candidate, _ source: CaptureSource) async throws -> EventOutcome? {
        guard let record = try await store.outcome(eventID: candidate.id, org: source.org, app: source.app) else {
            return nil
        }
        let event = try await BlockingWork.value { [store] in try store.event(at: record.position) }
        return event?.extra["replay_of"]?.string == candidate.row.receipt ? record.outcome : nil
    }
}

/// The body of a request of quarantined events.
enum ReplayBody {
    /// Formats whose route takes one event and says its type.
    static func takesOne(_ format: WireFormat) -> Bool {
        format != .json && !format.isLines && !format.isBatch
    }

    static func of(_ texts: [[UInt8]], _ format: WireFormat, sentAt: Int64?) -> ([UInt8], WireFormat) {
        if format.isTranslated { return (Array(texts.joined(separator: [0x0a])) + [0x0a], format) }
        let list = [0x5b] + texts.joined(separator: [0x2c]) + [0x5d]
        switch format {
        // Events of documents may hold line ends.
        case .ndjson, .json: return (Array(list), .json)
        case _ where format.isBatch:
            var body = Array("{\"batch\":".utf8) + list
            if let sentAt {
                body += Array(",\"sentAt\":\"\(Timestamp(microseconds: sentAt).rfc3339)\"".utf8)
            }
            return (body + [0x7d], format)
        default: return (texts.first ?? [], format)
        }
    }
}

/// What capture would say of a quarantined event now, without storing anything.
final class ReplayJudge {
    struct Verdict {
        var reason = QuarantineReason.none
        /// Where it breaks the plan.
        var path: String?
        var id: String?
        var hasTime = false
    }

    private var parser = EventParser()
    private let limits: EventLimits

    init(limits: EventLimits) { self.limits = limits }

    deinit { parser.deallocate() }

    func verdict(_ raw: [UInt8], _ request: RequestView, plan: CompiledPlan?) -> Verdict {
        var verdict = Verdict()
        let padded = raw + [UInt8](repeating: 0, count: ByteScan.padding)
        padded.withUnsafeBufferPointer { buffer in
            guard let start = buffer.baseAddress else { return }
            verdict = judge(start, raw.count, request, plan)
        }
        return verdict
    }

    private func judge(
        _ start: UnsafePointer<UInt8>, _ count: Int, _ request: RequestView, _ plan: CompiledPlan?
    ) -> Verdict {
        guard count <= limits.eventBytesMax else { return Verdict(reason: .eventTooLarge) }
        guard ByteScan.isUTF8(start, count) else { return Verdict(reason: .badUnicode) }
        parser.newlineIsSpace = true
        let rules = ContractRules(
            flavour: request.format.flavour, impliedType: request.format.impliedType, receivedAt: request.receivedAt,
            envelopeSentAt: request.envelopeSentAt, isHistorical: request.isHistorical)
        guard parser.parse(start, base: start) == start + count, parser.conclude(rules) else {
            return Verdict(reason: parser.reason == .none ? .notJSON : parser.reason)
        }
        var verdict = Verdict()
        if parser.isFilled(.id) {
            let (bytes, count) = parser.decoded(parser.slice(.id))
            verdict.id = String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
        }
        verdict.hasTime = parser.has(.timestamp) || parser.has(.originalTimestamp)
        if let violation = plan?.check(&parser) {
            (verdict.reason, verdict.path) = (violation.rule.reason, violation.path)
        }
        return verdict
    }
}
