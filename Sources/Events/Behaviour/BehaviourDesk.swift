package import AurumCore
internal import Foundation
internal import Synchronization

/// A question about what persons do one after another.
package enum BehaviourKind: String, Sendable, CaseIterable {
    case funnel, retention, cohorts, paths, sessions
}

/// Answers questions about behaviour over everything acknowledged before the call.
package final class BehaviourService: Sendable {
    /// Queries of one organisation that run at once.
    package static let queriesMax = 4
    package static let timeLimit: Duration = .seconds(10)

    private let source: any ColumnSource
    private let resolver: @Sendable (_ org: String) -> any PersonResolver
    private let clock: any WallClock
    private let running = Mutex<[String: Int]>([:])

    /// - Parameter resolver: gives the persons after merges, for one organisation.
    package init(
        source: any ColumnSource, clock: any WallClock,
        resolver: @escaping @Sendable (_ org: String) -> any PersonResolver
    ) {
        (self.source, self.clock, self.resolver) = (source, clock, resolver)
    }

    /// The answer to a question as JSON.
    /// - Throws: `BehaviourError`, or what reading the log throws.
    package func answer(
        _ kind: BehaviourKind, _ body: JSONValue, org: String, memoryBytes: Int? = nil, workers: Int? = nil
    ) async throws -> JSONValue {
        let now = clock.now
        try enter(org)
        defer { leave(org) }
        let (source, resolver) = (source, resolver(org))
        return try await BlockingWork.value {
            let question = try Question(kind, body, org: org, now: now)
            let desk = BehaviourDesk(
                segments: try source.segments(), resolver: resolver, now: now,
                workers: workers ?? ProcessInfo.processInfo.activeProcessorCount,
                memoryBytes: memoryBytes ?? SequenceScan.memoryBytes)
            return .object(try question.answer(desk))
        }
    }

    private func enter(_ org: String) throws(BehaviourError) {
        let fits = running.withLock { running in
            guard running[org, default: 0] < Self.queriesMax else { return false }
            running[org, default: 0] += 1
            return true
        }
        if !fits { throw .busy }
    }

    private func leave(_ org: String) {
        running.withLock { running in
            let left = running[org, default: 1] - 1
            running[org] = left > 0 ? left : nil
        }
    }
}

/// One of the questions, read and checked.
private enum Question {
    case funnel(FunnelQuestion), retention(RetentionQuestion), cohorts(CohortQuestion)
    case paths(PathQuestion), sessions(SessionQuestion)

    init(_ kind: BehaviourKind, _ json: JSONValue, org: String, now: Timestamp) throws {
        let body = try BehaviourBody(json)
        switch kind {
        case .funnel: self = .funnel(FunnelQuestion(body, org: org, now: now))
        case .retention: self = .retention(RetentionQuestion(body, org: org, now: now))
        case .cohorts: self = .cohorts(CohortQuestion(body, org: org, now: now))
        case .paths: self = .paths(PathQuestion(body, org: org, now: now))
        case .sessions: self = .sessions(SessionQuestion(body, org: org, now: now))
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
    let now: Timestamp
    let workers: Int
    let memoryBytes: Int
    private let began = ContinuousClock.now

    init(segments: [ColumnSegment], resolver: any PersonResolver, now: Timestamp, workers: Int, memoryBytes: Int) {
        (self.segments, self.resolver, self.now) = (segments, resolver, now)
        (self.workers, self.memoryBytes) = (workers, memoryBytes)
    }

    func walk<Walker: SequenceWalker & Sendable>(
        _ plan: SequencePlan, _ makeWalker: @escaping @Sendable () -> Walker
    ) throws -> (walker: Walker, stats: SequenceStats) {
        let scan = SequenceScan(
            plan, segments: segments, resolver: resolver, workers: workers, memoryBytes: memoryBytes,
            deadline: began + BehaviourService.timeLimit)
        return try scan.run(makeWalker)
    }

    /// What the answer covers and what it cost.
    func facts(_ stats: SequenceStats, _ scope: BehaviourScope) -> [String: JSONValue] {
        let position = try? LogCursor.lastPosition(of: segments)
        return [
            "as_of": .string(now.rfc3339), "position": position.map { .string($0.description) } ?? .null,
            "from": scope.from.map { .string($0.rfc3339) } ?? .null,
            "to": scope.to.map { .string($0.rfc3339) } ?? .null, "timezone": .string(scope.zone),
            "rows_scanned": .integer(Int64(stats.rowsScanned)), "rows_selected": .integer(Int64(stats.rowsSelected)),
            "passes": .integer(Int64(stats.passes)), "memory_exceeded": .bool(stats.passes > 1),
            "elapsed_ms": Figure.rounded((ContinuousClock.now - began).seconds * 1000),
        ]
    }
}
