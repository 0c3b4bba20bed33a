internal import AurumCore
internal import Synchronization

/// How long the events of an app are kept, in days of their own time.
struct StoragePeriod: Sendable, Equatable {
    var days = 400
    var daysByType: [UInt8: Int] = [:]

    init(days: Int = 400, daysByType: [UInt8: Int] = [:]) { (self.days, self.daysByType) = (days, daysByType) }

    init(_ settings: AppSettings) {
        days = settings.retentionDays
        for (type, days) in settings.retentionDaysByType { daysByType[type.rawValue] = days }
    }

    func days(of type: UInt8) -> Int { daysByType[type] ?? days }

    var shortest: Int { daysByType.values.reduce(days) { min($0, $1) } }
    var longest: Int { daysByType.values.reduce(days) { max($0, $1) } }
}

/// Which rows of the log nobody may see any more, whatever is still on disk: those past their app's retention, and
/// those of erased persons. The one place where that is decided; every reader of blocks goes through it.
final class LogVisibility: Sendable {
    private struct State: Sendable {
        /// The second in which the shortest retention was asked for, and its days.
        var second: Int64 = .min
        var shortest = 0
        var erasures: [PendingErasure] = []
        /// Rises with every change to the erasures.
        var version: UInt64 = 0
    }

    private static let hourMicroseconds: Int64 = 3_600_000_000
    private static let dayMicroseconds: Int64 = 86_400_000_000
    private static let daysForEver = 1_000_000
    private let secret: InstallationSecret
    private let clock: any WallClock
    private let policies: EventPolicies?
    private let state = Mutex(State())

    init(secret: InstallationSecret, clock: any WallClock, policies: EventPolicies?) {
        (self.secret, self.clock, self.policies) = (secret, clock, policies)
    }

    // MARK: retention

    /// Now, in whole hours: what expires does so by the hour, so that answers can be kept for one.
    private var hour: Int64 {
        clock.now.microseconds.quotientRoundingDown(Self.hourMicroseconds) * Self.hourMicroseconds
    }

    private func rule(org: String, app: String) -> StoragePeriod {
        // Where nobody can say how long events are kept, they are.
        guard let policies else { return StoragePeriod(days: Self.daysForEver) }
        return StoragePeriod(policies.apps.state(org: org, app: app).settings)
    }

    /// Days after which nothing of any app is kept.
    var longestDays: Int { policies?.apps.longestRetentionDays ?? Self.daysForEver }

    /// Rows of this time and later are within the retention of every app. Asked for once a second.
    private func safeFloor(_ hour: Int64) -> Int64 {
        guard let policies else { return Self.floor(Self.daysForEver, hour: hour) }
        let second = clock.now.microseconds.quotientRoundingDown(1_000_000)
        if let known = state.withLock({ $0.second == second ? $0.shortest : nil }) {
            return Self.floor(known, hour: hour)
        }
        let shortest = policies.apps.shortestRetentionDays
        state.withLock { ($0.second, $0.shortest) = (second, shortest) }
        return Self.floor(shortest, hour: hour)
    }

    /// The earliest time that is kept of what is kept for so many days.
    static func floor(_ days: Int, hour: Int64) -> Int64 { hour - Int64(days) * dayMicroseconds }

    /// Whether every row of these apps up to a time is past its retention.
    func isExpired(_ sources: [CaptureSource], latest: Int64) -> Bool {
        let hour = hour
        guard latest < safeFloor(hour) else { return false }
        return sources.allSatisfy { latest < Self.floor(rule(org: $0.org, app: $0.app).longest, hour: hour) }
    }

    /// Whether some row of these apps may be past its retention.
    func mayExpire(_ sources: [CaptureSource], earliest: Int64) -> Bool {
        let hour = hour
        guard earliest < safeFloor(hour) else { return false }
        return sources.contains { earliest < Self.floor(rule(org: $0.org, app: $0.app).shortest, hour: hour) }
    }

    /// A number that changes when something of these blocks vanishes: what was worked out from them holds no longer.
    func stamp(_ blocks: [BlockSummary]) -> UInt64 {
        let (version, hour) = (state.withLock { $0.version }, hour)
        let bound = safeFloor(hour)
        var stamp = version
        for block in blocks where block.earliest < bound && mayExpire(block.sources, earliest: block.earliest) {
            for source in block.sources {
                let rule = rule(org: source.org, app: source.app)
                stamp = (stamp ^ UInt64(rule.shortest) << 20 ^ UInt64(rule.longest)) &* 0x9E37_79B9_7F4A_7C15
            }
            stamp = (stamp ^ UInt64(bitPattern: hour)) &* 0xD6E8_FEB8_6659_FD93
        }
        return stamp == version ? version : stamp >> 24
    }

    // MARK: rows

    /// Rows that are on disk and may not be seen.
    func hiddenRows(_ block: DecodedBlock, _ outcomes: [UInt8]) throws -> [Int] {
        let expired = try expiredRows(block, outcomes)
        let erased = try erasedRows(block)
        if erased.isEmpty { return expired }
        return expired.isEmpty ? erased : Array(Set(expired + erased)).sorted()
    }

    func expiredRows(_ block: DecodedBlock, _ outcomes: [UInt8]) throws -> [Int] {
        let hour = hour
        guard block.earliest < safeFloor(hour) else { return [] }
        var rows: [Int] = []
        var types: [UInt8]?
        for request in block.view.requests {
            let rule = rule(org: request.org, app: request.app)
            // What was brought in from before is kept as long as what came that day.
            let arrived = request.isHistorical ? request.receivedAt : .min
            guard block.earliest < Self.floor(rule.shortest, hour: hour) else { continue }
            let times = try block.times()
            if types == nil, !rule.daysByType.isEmpty { types = try block.types() }
            for row in request.firstRow..<request.firstRow + request.rowCount {
                let days = rule.daysByType.isEmpty ? rule.days : rule.days(of: types?[row] ?? 0)
                if max(times[row], arrived) < Self.floor(days, hour: hour) { rows.append(row) }
            }
        }
        return rows
    }

    /// Rows that belong to erased persons and were committed before the erasure.
    func erasedRows(_ block: DecodedBlock) throws -> [Int] {
        let all = state.withLock { $0.erasures }
        guard !all.isEmpty else { return [] }
        let carriedOut = block.catalog.archive?.entry.erasures ?? 0
        var rows: Set<Int> = []
        for org in Set(block.requests.map(\.org)) {
            let erasures = all.filter {
                $0.org == org && $0.sequence > carriedOut
                    && (block.catalog.archive != nil || block.position(0) < $0.end)
            }
            guard !erasures.isEmpty else { continue }
            try erase(erasures, org, block, &rows)
        }
        return rows.sorted()
    }

    private static let identifiers: [(String, [PersonIdentifier.Namespace])] = [
        ("user_id", [.user]), ("anonymous_id", [.anonymous]), ("device_id", [.device]), ("click_id", [.click]),
        ("previous_id", [.user, .anonymous]),
    ]

    private func erase(
        _ erasures: [PendingErasure], _ org: String, _ block: DecodedBlock, _ rows: inout Set<Int>
    ) throws {
        let keys = secret.keys(org: org, app: "")
        let wanted = erasures.reduce(into: Set<UInt64>()) { $0.formUnion($1.keys) }
        for (name, namespaces) in Self.identifiers {
            guard let column = try block.text(ColumnName(name)) else { continue }
            var known: [UInt32: [UInt64]] = [:]
            for row in 0..<block.rowCount where column.codes[row] != 0 {
                let code = column.codes[row]
                var found = known[code]
                if found == nil {
                    let text = column.dictionary.text(code)
                    found = namespaces.map { keys.person(PersonIdentifier($0, text)).high }
                        .filter { wanted.contains($0) }
                    known[code] = found
                }
                guard let found, !found.isEmpty, let number = block.view.request(of: row),
                    block.view.requests[number].org == org
                else { continue }
                let place = block.position(row)
                if erasures.contains(where: { place < $0.end && !$0.keys.isDisjoint(with: found) }) {
                    rows.insert(row)
                }
            }
        }
    }

    // MARK: erasures

    /// Takes what is pending now. Those that were carried out stay: a reader may still have a file open that another
    /// took the place of. The new files pass over them.
    func set(_ erasures: [PendingErasure]) {
        state.withLock { state in
            let known = Set(state.erasures.map(\.sequence))
            let added = erasures.filter { !known.contains($0.sequence) }
            guard !added.isEmpty else { return }
            state.erasures += added
            state.version += 1
        }
    }
}

/// An erasure that is not carried out in every file yet.
struct PendingErasure: Sendable, Equatable {
    var sequence: Int64
    var org: String
    /// Keyed hashes of the person's identifiers.
    var keys: Set<UInt64>
    /// The end of the log when it was asked for: what came later is another matter.
    var end: LogPosition
}
