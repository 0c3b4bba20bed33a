package import AurumCore
package import Logging
internal import Synchronization
package import Telemetry

/// What kinds of questions there are: the label of their metric.
package enum QueryKind: String, Sendable, CaseIterable {
    case aggregate, funnel, retention, cohorts, paths, sessions, export, tail
}

/// Answers queries over the log's columns: admits them, gives them a deadline and a bound of memory, runs them on
/// threads of their own, and keeps partial answers.
package final class QueryEngine: Sendable {
    package let limits: QueryLimits
    package let source: any ColumnSource
    private let persons: @Sendable (String) -> any PersonResolver
    private let replayed: @Sendable (String) async throws -> ReplayedRows
    private let clock: any WallClock
    private let logger: Logger
    private let kept: KeptAnswers
    private let running = Mutex<[String: Int]>([:])
    private let durations: [QueryKind: Histogram]
    private let rowsScanned: Counter
    private let rowsKept: Counter
    private let refused: [String: Counter]

    /// - Parameters:
    ///   - persons: who is who in an organisation at the moment of the call, after merges.
    ///   - replayed: which events of an organisation were sent again out of the quarantine.
    package init(
        source: any ColumnSource,
        persons: @escaping @Sendable (String) -> any PersonResolver = { _ in UnmergedPersons() },
        replayed: @escaping @Sendable (String) async throws -> ReplayedRows = { _ in .none },
        limits: QueryLimits = QueryLimits(), registry: MetricRegistry, clock: any WallClock, logger: Logger
    ) {
        (self.source, self.persons, self.replayed, self.limits) = (source, persons, replayed, limits)
        (self.clock, self.logger) = (clock, logger)
        kept = KeptAnswers(bytesMax: limits.keptBytesMax)
        durations = Dictionary(
            uniqueKeysWithValues: QueryKind.allCases.map { ($0, registry.histogram(.queryDuration, $0.rawValue)) })
        rowsScanned = registry.counter(.queryRowsScanned)
        rowsKept = registry.counter(.queryRowsKept)
        let reasons = [
            "bad_query", "too_many_queries", "query_timeout", "query_too_large", "query_cancelled", "query_storage",
        ]
        refused = Dictionary(uniqueKeysWithValues: reasons.map { ($0, registry.counter(.queryRefused, $0)) })
    }

    package func resolver(of org: String) -> any PersonResolver { persons(org) }

    /// The query of a document, or of a text under its member `q`.
    package func query(_ document: JSONValue) throws(QueryError) -> EventQuery {
        do throws(QueryParseError) {
            return try QueryDocument.query(document, now: clock.now, limits: limits)
        } catch {
            refused["bad_query"]?.increment()
            throw .malformed(error)
        }
    }

    /// Answers a query of one organisation from everything that was acknowledged before the call.
    package func answer(_ query: EventQuery, org: String) async throws(QueryError) -> QueryAnswer {
        let asOf = clock.now
        let began = ContinuousClock.now
        var hidden = ReplayedRows.none
        if query.rowFilter(org: org).outcomes & 1 << EventOutcome.quarantined.rawValue != 0 {
            do { hidden = try await replayed(org) } catch { throw .storage }
        }
        let known = hidden
        return try await run(.aggregate, org: org) { [self] context in
            let plan = QueryPlan(query, org: org, replayed: known)
            let resolver = persons(org)
            let run = QueryRun(
                plan: plan, context: context, resolver: resolver, kept: limits.keptBytesMax > 0 ? kept : nil,
                limits: limits)
            let outcome = try run.run(try source.segments())
            let builder = AnswerBuilder(plan, outcome.answer, resolver)
            let groups = builder.groups
            return QueryAnswer(
                columns: builder.columns, rows: builder.rows(groups), groupCount: groups.count, query: query,
                asOf: asOf, position: outcome.position, rowsScanned: context.rowsScanned,
                rowsKept: context.rowsKept, elapsed: ContinuousClock.now - began,
                isApproximate: outcome.answer.isEstimated, damagedBlocks: outcome.answer.damagedBlocks)
        }
    }

    /// Runs any kind of query under the same rules: so many at once, a deadline, metrics and the log of slow ones.
    ///
    /// `body` runs where blocking is allowed, and calls `check()` of its context before each block.
    package func run<Value: Sendable>(
        _ kind: QueryKind, org: String, _ body: @escaping @Sendable (QueryContext) throws -> Value
    ) async throws(QueryError) -> Value {
        try admit(org)
        let context = QueryContext(limits: limits)
        let began = ContinuousClock.now
        let result: Result<Value, any Error>
        do {
            result = .success(
                try await withTaskCancellationHandler {
                    try await BlockingWork.value { try body(context) }
                } onCancel: {
                    context.cancel()
                })
        } catch { result = .failure(error) }
        leave(org)
        record(kind, context, ContinuousClock.now - began)
        switch result {
        case .success(let value): return value
        case .failure(let error):
            let error = error as? QueryError ?? .storage
            refused[error.code]?.increment()
            throw error
        }
    }

    private func admit(_ org: String) throws(QueryError) {
        let isAdmitted = running.withLock { running in
            guard running.values.reduce(0, +) < limits.concurrent,
                running[org, default: 0] < limits.concurrentPerOrganisation
            else { return false }
            running[org, default: 0] += 1
            return true
        }
        guard isAdmitted else {
            refused["too_many_queries"]?.increment()
            throw .busy(limit: limits.concurrentPerOrganisation)
        }
    }

    private func leave(_ org: String) {
        running.withLock { running in
            let left = running[org, default: 1] - 1
            running[org] = left == 0 ? nil : left
        }
    }

    private func record(_ kind: QueryKind, _ context: QueryContext, _ elapsed: Duration) {
        durations[kind]?.observe(elapsed)
        rowsScanned.increment(by: context.rowsScanned)
        rowsKept.increment(by: context.rowsKept)
        guard elapsed >= limits.slow else { return }
        logger.warning(
            "a query was slow",
            metadata: [
                "code": "query_slow", "kind": "\(kind.rawValue)", "elapsed_ms": "\(Int(elapsed.seconds * 1000))",
                "rows_scanned": "\(context.rowsScanned)", "rows_kept": "\(context.rowsKept)",
            ])
    }
}
