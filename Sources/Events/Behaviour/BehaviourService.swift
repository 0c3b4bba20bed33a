package import AurumCore

/// A question about what persons do one after another.
package enum BehaviourKind: String, Sendable, CaseIterable {
    case funnel, retention, cohorts, paths, sessions
}

/// Answers questions about behaviour over everything acknowledged before the call, under the rules of the query engine.
package final class BehaviourService: Sendable {
    private let engine: QueryEngine
    private let clock: any WallClock

    private let sessions: @Sendable (_ org: String) -> SessionRules

    /// - Parameter sessions: what the apps of an organisation call a session.
    package init(
        engine: QueryEngine, clock: any WallClock,
        sessions: @escaping @Sendable (_ org: String) -> SessionRules = { _ in SessionRules() }
    ) {
        (self.engine, self.clock, self.sessions) = (engine, clock, sessions)
    }

    /// The answer to a question as JSON.
    /// - Parameter memoryBytes: for the rows of persons, if other than the engine's bound.
    /// - Throws: `BehaviourError` for a question that is wrong, `QueryError` for one without an answer.
    package func answer(
        _ kind: BehaviourKind, _ body: JSONValue, org: String, memoryBytes: Int? = nil
    ) async throws -> JSONValue {
        let now = clock.now
        let question = try Question(kind, body, org: org, now: now, sessions: sessions(org))
        let engine = engine
        return try await engine.run(kind.label, org: org) { context in
            let desk = BehaviourDesk(
                segments: try engine.source.segments(), resolver: engine.resolver(of: org), context: context, now: now,
                workers: engine.limits.threads > 0 ? engine.limits.threads : ScanThreads.count,
                memoryBytes: memoryBytes ?? engine.limits.memoryBytesMax)
            return .object(try question.answer(desk))
        }
    }
}

extension BehaviourKind {
    fileprivate var label: QueryKind {
        switch self {
        case .funnel: .funnel
        case .retention: .retention
        case .cohorts: .cohorts
        case .paths: .paths
        case .sessions: .sessions
        }
    }
}

/// One of the questions, read and checked.
private enum Question: Sendable {
    case funnel(FunnelQuestion), retention(RetentionQuestion), cohorts(CohortQuestion)
    case paths(PathQuestion), sessions(SessionQuestion)

    init(_ kind: BehaviourKind, _ json: JSONValue, org: String, now: Timestamp, sessions: SessionRules) throws {
        let body = try BehaviourBody(json)
        switch kind {
        case .funnel: self = .funnel(FunnelQuestion(body, org: org, now: now))
        case .retention: self = .retention(RetentionQuestion(body, org: org, now: now))
        case .cohorts: self = .cohorts(CohortQuestion(body, org: org, now: now))
        case .paths: self = .paths(PathQuestion(body, org: org, now: now))
        case .sessions: self = .sessions(SessionQuestion(body, org: org, now: now, rules: sessions))
        }
        try body.finish()
    }

    func answer(_ desk: BehaviourDesk) throws -> [String: JSONValue] {
        switch self {
        case .funnel(let question): try question.answer(desk)
        case .retention(let question): try question.answer(desk)
        case .cohorts(let question): try question.answer(desk)
        case .paths(let question): try question.answer(desk)
        case .sessions(let question): try question.answer(desk)
        }
    }
}

/// One snapshot of the log, and what a question needs to walk it.
struct BehaviourDesk {
    let segments: [ColumnSegment]
    let resolver: any PersonResolver
    let context: QueryContext
    let now: Timestamp
    let workers: Int
    let memoryBytes: Int
    private let began = ContinuousClock.now

    init(
        segments: [ColumnSegment], resolver: any PersonResolver, context: QueryContext, now: Timestamp, workers: Int,
        memoryBytes: Int
    ) {
        (self.segments, self.resolver, self.context) = (segments, resolver, context)
        (self.now, self.workers, self.memoryBytes) = (now, workers, memoryBytes)
    }

    func walk<Walker: SequenceWalker & Sendable>(
        _ plan: SequencePlan, _ makeWalker: @escaping @Sendable () -> Walker
    ) throws -> (walker: Walker, stats: SequenceStats) {
        let scan = SequenceScan(
            plan, segments: segments, resolver: resolver, workers: workers, memoryBytes: memoryBytes, context: context)
        return try scan.run(makeWalker)
    }

    /// What the answer covers and what it cost.
    func facts(_ stats: SequenceStats, _ scope: BehaviourScope) -> [String: JSONValue] {
        let position = try? LogCursor.lastPosition(of: segments)
        var facts: [String: JSONValue] = [
            "as_of": .string(now.rfc3339), "position": position.map { .string($0.description) } ?? .null,
            "from": scope.from.map { .string($0.rfc3339) } ?? .null,
            "to": scope.to.map { .string($0.rfc3339) } ?? .null, "timezone": .string(scope.zone),
            "rows_scanned": .integer(Int64(stats.rowsScanned)), "rows_selected": .integer(Int64(stats.rowsSelected)),
            "passes": .integer(Int64(stats.passes)), "memory_exceeded": .bool(stats.passes > 1),
            "elapsed_ms": Figure.rounded((ContinuousClock.now - began).seconds * 1000),
        ]
        if stats.damagedBlocks > 0 { facts["damaged_blocks"] = .integer(Int64(stats.damagedBlocks)) }
        return facts
    }
}
