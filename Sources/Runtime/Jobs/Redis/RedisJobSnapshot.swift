internal import AurumCore

/// Rows in an order that the server keeps.
enum RedisJobIndex: Hashable, Sendable {
    /// Scheduled jobs of a priority whose time has come.
    case due(JobPriority)
    case ready
    case lost
    case running
    /// Running jobs that were told to stop so long ago.
    case disobedient(Duration)
    case parked(JobKeyPlace)
    case dead(org: String, type: String?, finishedAt: Timestamp, seq: Int64)
}

/// What a transaction wants to know before it can go on.
enum RedisJobWish: Hashable, Sendable {
    case rows([Int64])
    case ids([UID])
    case index(RedisJobIndex, Int)
    /// Who holds unique keys and ticks, by `RedisJobText.heldField`.
    case held([String])
    case usages([JobKeyPlace])
    case rates([JobKeyPlace])
    case children(UID)
    case parents(UID)
    case schedules
    case waiting(String)
    case fences(Int)
    case seqs(Int)
    /// Only this transaction may write for a while.
    case gate(token: String, Duration)
}

/// A transaction met what it has not read; it is run again from its beginning when that is there.
struct RedisJobMissing: Error {
    let wishes: [RedisJobWish]

    init(_ wishes: [RedisJobWish]) { self.wishes = wishes }
}

/// What a transaction has read, as it was then. It is right if none of it has changed when the transaction is written.
struct RedisJobSnapshot {
    struct Known {
        /// In the server's order.
        var seqs: [Int64]
        /// Whether there was no more.
        var isAll: Bool
    }

    struct Link: Hashable {
        let parent: UID
        let child: UID
    }

    private(set) var now: Timestamp?
    /// Nil for numbers that no job has.
    private(set) var rows: [Int64: (job: JobRecord, revision: Int64)?] = [:]
    private(set) var ids: [UID: Int64?] = [:]
    private(set) var indexes: [RedisJobIndex: Known] = [:]
    private(set) var held: [String: Int64?] = [:]
    /// The texts that the server has; empty where there is none.
    private(set) var usages: [JobKeyPlace: String] = [:]
    private(set) var rates: [JobKeyPlace: String] = [:]
    private(set) var links: Set<Link> = []
    private(set) var childrenOf: Set<UID> = []
    private(set) var parentsOf: Set<UID> = []
    private(set) var schedules: [String: (schedule: JobSchedule, text: String)]?
    private(set) var waiting: [String: Int] = [:]
    private(set) var fences: [Int64] = []
    private(set) var seqs: [Int64] = []
    private(set) var isAlone = false

    // MARK: asking

    static func arguments(_ wishes: [RedisJobWish]) -> [any RedisArgument] {
        var all: [any RedisArgument] = []
        func list(_ name: String, _ texts: [String]) {
            all += [name, texts.count]
            for text in texts { all.append(text) }
        }
        for wish in wishes {
            switch wish {
            case .rows(let seqs): list("rows", seqs.map(RedisJobText.place))
            case .ids(let ids): list("ids", ids.map(\.hex))
            case .index(let index, let limit): all += arguments(index, limit)
            case .held(let fields): list("held", fields)
            case .usages(let places): list("usage", places.map(RedisJobText.keyField))
            case .rates(let places): list("rate", places.map(RedisJobText.keyField))
            case .children(let id): all += ["links", "kids", id.hex]
            case .parents(let id): all += ["links", "parents", id.hex]
            case .schedules: all.append("schedules")
            case .waiting(let org): all += ["waiting", RedisJobText.escape(org)]
            case .fences(let count): all += ["draw", "fence", count]
            case .seqs(let count): all += ["draw", "seq", count]
            case .gate(let token, let life): all += ["gate", token, Int(life.microseconds / 1000)]
            }
        }
        return all
    }

    private static func arguments(_ index: RedisJobIndex, _ limit: Int) -> [any RedisArgument] {
        switch index {
        case .due(let priority): ["range", "due:\(priority.rank)", "0", limit]
        case .ready: ["range", "ready", "0", limit]
        case .lost: ["range", "running", "0", limit]
        case .running: ["range", "running", "inf", limit]
        case .disobedient(let grace): ["range", "cancelling", String(grace.microseconds), limit]
        case .parked(let place): ["range", "parked:\(RedisJobText.keyField(place))", "inf", limit]
        case .dead(let org, let type, let finishedAt, let seq):
            [
                "dead", RedisJobText.escape(org), RedisJobText.escape(type ?? ""), String(finishedAt.microseconds),
                RedisJobText.place(seq), limit,
            ]
        }
    }

    // MARK: answers

    /// The jobs of an answer, in its order.
    static func jobs(_ value: RESPValue) throws(RedisError) -> [JobRecord] {
        try texts(value).map(\.job)
    }

    /// Four texts a job.
    private static func texts(_ value: RESPValue) throws(RedisError) -> [(job: JobRecord, revision: Int64)] {
        guard let texts = value.array, texts.count.isMultiple(of: 4) else { throw unreadable }
        var all: [(job: JobRecord, revision: Int64)] = []
        all.reserveCapacity(texts.count / 4)
        for at in stride(from: 0, to: texts.count, by: 4) {
            guard let seq = texts[at].bytes, let row = texts[at + 1].bytes, let body = texts[at + 2].bytes,
                let extra = texts[at + 3].bytes
            else { throw unreadable }
            all.append(try RedisJobText.read(seq: seq, row: row, body: body, extra: extra))
        }
        return all
    }

    static let unreadable = RedisError.protocolError("the script of the jobs answered something else")

    /// Takes in what `RedisJobScripts.read` answered.
    mutating func add(_ answer: RESPValue, to wishes: [RedisJobWish]) throws(RedisError) {
        guard let values = answer.array, values.count == wishes.count + 1, let micros = values[0].integer else {
            throw Self.unreadable
        }
        now = now ?? Timestamp(microseconds: micros)
        for (wish, value) in zip(wishes, values.dropFirst()) { try add(value, to: wish) }
    }

    private mutating func add(_ value: RESPValue, to wish: RedisJobWish) throws(RedisError) {
        switch wish {
        case .rows(let seqs):
            let found = try addRows(value)
            for seq in Set(seqs).subtracting(found) where rows[seq] == nil { rows.updateValue(nil, forKey: seq) }
        case .ids(let wanted):
            _ = try addRows(value)
            for id in wanted where ids[id] == nil { ids.updateValue(nil, forKey: id) }
        case .index(let index, let limit):
            let found = try addRows(value)
            indexes[index] = Known(seqs: found, isAll: found.count < limit)
        case .held(let fields): try addHeld(value, fields)
        case .usages(let places): try addTexts(value, places) { usages[$0] = $1 }
        case .rates(let places): try addTexts(value, places) { rates[$0] = $1 }
        case .children(let id):
            for seq in try addRows(value) { if let job = row(seq) { links.insert(Link(parent: id, child: job.id)) } }
            childrenOf.insert(id)
        case .parents(let id):
            for seq in try addRows(value) { if let job = row(seq) { links.insert(Link(parent: job.id, child: id)) } }
            parentsOf.insert(id)
        case .schedules: try addSchedules(value)
        case .waiting(let org): waiting[org] = Int(value.integer ?? 0)
        case .fences(let count): fences += try Self.drawn(value, count)
        case .seqs(let count): seqs += try Self.drawn(value, count)
        case .gate: isAlone = value.integer == 1
        }
    }

    /// What is known of a job is kept: what was decided on it must all be of one moment.
    private mutating func addRows(_ value: RESPValue) throws(RedisError) -> [Int64] {
        let found = try Self.texts(value)
        for read in found where rows[read.job.seq] == nil {
            rows[read.job.seq] = read
            ids[read.job.id] = read.job.seq
        }
        return found.map(\.job.seq)
    }

    private mutating func addHeld(_ value: RESPValue, _ fields: [String]) throws(RedisError) {
        guard let parts = value.array, parts.count == 2, let seqs = parts[0].array, seqs.count == fields.count else {
            throw Self.unreadable
        }
        _ = try addRows(parts[1])
        for (field, seq) in zip(fields, seqs) { held.updateValue(seq.integer, forKey: field) }
    }

    private func addTexts(
        _ value: RESPValue, _ places: [JobKeyPlace], _ store: (JobKeyPlace, String) -> Void
    ) throws(RedisError) {
        guard let texts = value.array, texts.count == places.count else { throw Self.unreadable }
        for (place, text) in zip(places, texts) { store(place, text.string ?? "") }
    }

    private mutating func addSchedules(_ value: RESPValue) throws(RedisError) {
        guard let pairs = value.pairs else { throw Self.unreadable }
        var all: [String: (schedule: JobSchedule, text: String)] = [:]
        for pair in pairs {
            guard let name = pair.key.string, let bytes = pair.value.bytes,
                let schedule = JobSchedule(name: name, redisText: bytes)
            else { throw Self.unreadable }
            all[name] = (schedule, String(decoding: bytes, as: UTF8.self))
        }
        schedules = all
    }

    /// The numbers after the one that the counter had.
    private static func drawn(_ value: RESPValue, _ count: Int) throws(RedisError) -> [Int64] {
        guard let last = value.integer, last >= 0, last < 1 << 53 else { throw unreadable }
        return (0..<Int64(count)).map { last + 1 + $0 }
    }

    private func row(_ seq: Int64) -> JobRecord? { rows[seq].flatMap { $0 }?.job }
}
