internal import AurumCore
package import Database
internal import Foundation

/// The columns of the table in their order, which a migration that is never edited has fixed. A test compares.
package enum JobColumn: Int, CaseIterable {
    case seq, org, id, type, version, payload, priority, state, dueAt, place, attempt, attemptsMax, losses, fence
    case worker, leaseUntil, cancelAt, uniqueKey, uniqueScope, uniqueHeld, concurrencyKey, concurrencyLimit
    case rateKey, rateCount, rateMicros, readyAt, parentsOpen, children, progressPpm, note, failures
    case deadReason, traceId, schedule, tick, keepsMicros, createdAt, startedAt, finishedAt, keepUntil

    /// As it stands in the table.
    package var name: String {
        "\(self)".reduce(into: "") { $0 += $1.isUppercase ? "_" + $1.lowercased() : String($1) }
    }
}

/// Reads columns by their place: a claim reads hundreds of rows.
private struct JobCells {
    let row: Row

    private func wrong(_ column: JobColumn, _ expected: String) -> RowError {
        .wrongType(column: column.name, expected: expected, found: "another")
    }

    func integer(_ column: JobColumn) throws(RowError) -> Int64? {
        switch try row.value(at: column.rawValue) {
        case .integer(let value): value
        case .null: nil
        default: throw wrong(column, "integer")
        }
    }

    func text(_ column: JobColumn) throws(RowError) -> String? {
        switch try row.value(at: column.rawValue) {
        case .text(let value): value
        case .null: nil
        default: throw wrong(column, "text")
        }
    }

    func uid(_ column: JobColumn) throws(RowError) -> UID? {
        let value = try row.value(at: column.rawValue)
        if value == .null { return nil }
        guard let id = UID(sqlValue: value) else { throw wrong(column, "16 bytes") }
        return id
    }

    func number(_ column: JobColumn) throws(RowError) -> Int {
        guard let value = try integer(column) else { throw .null(column: column.name) }
        return Int(value)
    }

    func string(_ column: JobColumn) throws(RowError) -> String {
        guard let value = try text(column) else { throw .null(column: column.name) }
        return value
    }

    func id(_ column: JobColumn) throws(RowError) -> UID {
        guard let value = try uid(column) else { throw .null(column: column.name) }
        return value
    }

    func time(_ column: JobColumn) throws(RowError) -> Timestamp? {
        try integer(column).map { Timestamp(microseconds: $0) }
    }
}

extension JobRecord: RowDecodable {
    package init(row: Row) throws {
        let cells = JobCells(row: row)
        guard let priority = JobPriority(rank: try cells.number(.priority)),
            let state = JobState(rawValue: try cells.string(.state))
        else { throw RowError.wrongType(column: "state", expected: "a state", found: "text") }
        self.init(
            id: try cells.id(.id), org: try cells.string(.org), type: try cells.string(.type),
            version: try cells.number(.version), payload: try cells.string(.payload), priority: priority, state: state,
            dueAt: Timestamp(microseconds: Int64(try cells.number(.dueAt))),
            attemptsMax: try cells.number(.attemptsMax),
            keepsDone: .microseconds(try cells.number(.keepsMicros)),
            createdAt: Timestamp(microseconds: Int64(try cells.number(.createdAt))))
        seq = Int64(try cells.number(.seq))
        attempt = try cells.number(.attempt)
        losses = try cells.number(.losses)
        fence = Int64(try cells.number(.fence))
        worker = try cells.uid(.worker)
        leaseUntil = try cells.time(.leaseUntil)
        cancelAt = try cells.time(.cancelAt)
        parentsOpen = try cells.number(.parentsOpen)
        children = try cells.number(.children)
        progressMillionths = try cells.integer(.progressPpm).map { Int($0) }
        note = try cells.text(.note)
        if let text = try cells.text(.failures) {
            failures = try JSONDecoder().decode([JobFailure].self, from: Data(text.utf8))
        }
        deadReason = try cells.text(.deadReason).flatMap { DeadReason(rawValue: $0) }
        traceID = try cells.uid(.traceId)
        schedule = try cells.text(.schedule)
        tick = try cells.time(.tick)
        startedAt = try cells.time(.startedAt)
        finishedAt = try cells.time(.finishedAt)
        keepUntil = try cells.time(.keepUntil)
        try readKeys(cells)
    }

    private mutating func readKeys(_ cells: JobCells) throws {
        if let key = try cells.text(.uniqueKey) {
            uniqueKey = key
            uniqueness = JobUniqueness(text: try cells.string(.uniqueScope))
            isUniqueHeld = try cells.text(.uniqueHeld) != nil
        }
        if let key = try cells.text(.concurrencyKey) {
            concurrency = JobConcurrency(key, limit: try cells.number(.concurrencyLimit))
        }
        if let key = try cells.text(.rateKey) {
            rate = JobRate(
                key, count: try cells.number(.rateCount), per: .microseconds(try cells.number(.rateMicros)))
        }
        readyAt = try cells.time(.readyAt)
    }

    /// nil before the first failure.
    var failuresText: String? {
        guard !failures.isEmpty, let data = try? JSONEncoder().encode(failures) else { return nil }
        return String(decoding: data, as: UTF8.self)
    }

    var heldKey: String? { isUniqueHeld ? uniqueKey : nil }
}

extension JobUniqueness {
    var text: String {
        switch self {
        case .untilStarted: "untilStarted"
        case .untilDone: "untilDone"
        case .lasting(let duration): String(duration.microseconds)
        }
    }

    init(text: String) {
        switch text {
        case "untilStarted": self = .untilStarted
        case "untilDone": self = .untilDone
        default: self = .lasting(.microseconds(Int64(text) ?? 0))
        }
    }
}

extension JobSchedule: RowDecodable {
    package init(row: Row) throws {
        let missedText = try row.get("missed", as: String.self)
        guard let missed = Self.missed(missedText), let priority = JobPriority(rank: try row.get("priority")) else {
            throw RowError.wrongType(column: "missed", expected: "a policy", found: "text")
        }
        self.init(
            name: try row.get("name"), org: try row.get("org"), plan: try Self.plan(try row.get("plan")),
            missed: missed, type: try row.get("type"), version: try row.get("version"), priority: priority,
            attemptsMax: try row.get("attempts_max"),
            keepsDone: .microseconds(try row.get("keeps_micros", as: Int64.self)), payload: try row.get("payload"),
            next: try row.get("next_at"))
    }
}

struct ClaimRow: RowDecodable {
    let claim: JobClaim

    init(row: Row) throws { claim = JobClaim(seq: try row.get("seq"), fence: try row.get("fence")) }
}

struct HeldRow: RowDecodable {
    let held: HeldJob

    init(row: Row) throws {
        held = HeldJob(
            claim: JobClaim(seq: try row.get("seq"), fence: try row.get("fence")),
            isCancelled: try row.optional("cancel_at", as: Timestamp.self) != nil)
    }
}

struct RateRow: RowDecodable {
    let state: JobRateState

    init(row: Row) throws {
        state = JobRateState(used: try row.get("used_at"), promised: try row.get("promised_at"))
    }
}

struct UsageRow: RowDecodable {
    let place: JobKeyPlace
    let running: Int

    init(row: Row) throws {
        place = JobKeyPlace(org: try row.get("org"), key: try row.get("key"))
        running = try row.get("running")
    }
}

struct KeyedRateRow: RowDecodable {
    let place: JobKeyPlace
    let state: JobRateState

    init(row: Row) throws {
        place = JobKeyPlace(org: try row.get("org"), key: try row.get("key"))
        state = try RateRow(row: row).state
    }
}

struct LeavingRow: RowDecodable {
    let seq: Int64
    let leaving: JobLeaving

    init(row: Row) throws {
        seq = try row.get("seq")
        leaving = JobLeaving(
            org: try row.get("org"), key: try row.optional("key"), isRunning: try row.get("leaves"),
            job: try row.optional("job"))
    }
}

struct PurgedRow: RowDecodable {
    let seq: Int64
    let org: String
    let id: UID

    init(row: Row) throws {
        seq = try row.get("seq")
        org = try row.get("org")
        id = try row.get("id")
    }
}
