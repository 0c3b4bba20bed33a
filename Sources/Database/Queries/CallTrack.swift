internal import AurumCore
internal import Synchronization

/// What one read or write does between its call and its answer: where the time goes, which statement took most of it.
/// One allocation a call; the thread of the engine writes it, anybody may look.
package final class CallTrack: Sendable {
    /// Statements of a transaction that are named when it stays open for long.
    package static let statementsListedMax = 32

    /// One statement that ran; its text holds no values.
    struct Line: Sendable {
        let text: String
        let took: Duration
        let rows: Int
    }

    struct State: Sendable {
        var begun: ContinuousClock.Instant?
        /// Begin of the last run: a closure may run again.
        var lastBegun: ContinuousClock.Instant?
        var ended: ContinuousClock.Instant?
        var statements = 0
        var rows = 0
        /// Time within statements of the last run.
        var engine = Duration.zero
        var slowest: SQLStatement?
        var slowestTook = Duration.zero
        var first: Line?
        var more: [Line] = []
        var trace: UID?
        var isWarned = false
        /// How often each text ran in the last run, where a request counts them.
        var runs: [String: Int] = [:]
    }

    let statement: StatementStats
    let kind: CallKind
    let limit: StatementLimit
    let started: ContinuousClock.Instant
    /// The request that the call belongs to.
    private let scope = RequestScope.current
    private let tracker: QueryTracker
    private let state = Mutex(State())

    init(
        _ statement: StatementStats, _ kind: CallKind, limit: StatementLimit, tracker: QueryTracker,
        at now: ContinuousClock.Instant
    ) {
        (self.statement, self.kind, self.limit, self.tracker, started) = (statement, kind, limit, tracker, now)
    }

    /// A run of the closure begins: what an earlier one did was undone.
    package func begin(at now: ContinuousClock.Instant = .now) {
        state.withLock { state in
            if state.begun == nil { state.begun = now }
            state.lastBegun = now
            state.ended = nil
            (state.statements, state.rows, state.engine) = (0, 0, .zero)
            state.first = nil
            state.more.removeAll(keepingCapacity: true)
            state.runs.removeAll(keepingCapacity: true)
        }
        tracker.opened(self)
    }

    /// A statement ended, with an answer or an error.
    package func ran(
        _ sql: SQLStatement, rows: Int, from began: ContinuousClock.Instant,
        to now: ContinuousClock.Instant = .now
    ) {
        let took = now - began
        state.withLock { state in
            state.statements += 1
            state.rows += rows
            state.engine += took
            if scope != nil { state.runs[sql.text, default: 0] += 1 }
            if took > state.slowestTook {
                state.slowest = sql
                state.slowestTook = took
            }
            let line = Line(text: sql.text, took: took, rows: rows)
            if state.first == nil {
                state.first = line
            } else if state.more.count < Self.statementsListedMax - 1 {
                state.more.append(line)
            }
        }
    }

    /// The closure returned, or threw.
    package func end(at now: ContinuousClock.Instant = .now) {
        state.withLock { $0.ended = now }
        tracker.closed(self, at: now)
    }

    /// The call is answered: what it ran counts for its request.
    func settle() { scope?.add(statement.name, now.runs) }

    /// The trace that the change belongs to.
    func trace(_ id: UID?) {
        guard let id else { return }
        state.withLock { $0.trace = id }
    }

    var now: State { state.withLock { $0 } }

    /// True once: for the first who wants to warn of it.
    func takeWarning() -> Bool {
        state.withLock { state in
            defer { state.isWarned = true }
            return !state.isWarned
        }
    }
}

package enum CallKind: String, Sendable { case read, write }

extension CallTrack.State {
    /// The statements of the last run, as far as they are kept.
    var lines: [CallTrack.Line] { (first.map { [$0] } ?? []) + more }

    /// Where the time of a call went that began at `started` and was answered at `now`.
    func parts(from started: ContinuousClock.Instant, to now: ContinuousClock.Instant) -> CallParts {
        guard let begun, let lastBegun else { return CallParts(pool: now - started) }
        let ended = min(ended ?? now, now)
        return CallParts(
            pool: begun - started, lock: lastBegun - begun, engine: engine,
            own: max(.zero, ended - lastBegun - engine), commit: now - ended)
    }
}

/// Where the time of a call went. The parts make up the whole.
package struct CallParts: Sendable, Equatable {
    /// Waiting for a connection, or for the turn of a write.
    package var pool = Duration.zero
    /// Runs that others were in the way of, and waiting to run again. A row that another transaction holds counts as
    /// time of the statement that waited for it.
    package var lock = Duration.zero
    /// Within statements.
    package var engine = Duration.zero
    /// Within the closure, between its statements.
    package var own = Duration.zero
    /// From the end of the closure until the answer: the commit, and others that share it.
    package var commit = Duration.zero

    static func += (left: inout CallParts, right: CallParts) {
        left.pool += right.pool
        left.lock += right.lock
        left.engine += right.engine
        left.own += right.own
        left.commit += right.commit
    }

    /// Milliseconds by name.
    var json: [String: JSONValue] {
        [
            "pool_ms": pool.shownMilliseconds, "lock_ms": lock.shownMilliseconds,
            "engine_ms": engine.shownMilliseconds, "own_ms": own.shownMilliseconds,
            "commit_ms": commit.shownMilliseconds,
        ]
    }
}

extension Duration {
    /// Milliseconds with three decimals.
    var shownMilliseconds: JSONValue { .number((seconds * 1_000_000).rounded() / 1000) }
}
