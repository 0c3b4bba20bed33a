internal import AurumCore
internal import Foundation

/// A job as `RedisJobScripts` keeps it: three texts, none of them JSON but the payload and the failures. What scripts
/// look at or change is the row.
struct RedisJobText: Sendable {
    var row: String
    /// What never changes and no script looks at.
    var body: String
    /// The note and the failed attempts; nothing when there are none.
    var extra: String

    static let separator = UInt8(ascii: "|")
    private static let rowFields = 26
    private static let bodyFields = 12

    private static let states: [(letter: String, state: JobState)] = [
        ("w", .waiting), ("s", .scheduled), ("p", .parked), ("r", .running), ("d", .done), ("x", .dead),
        ("c", .cancelled),
    ]

    static func letter(_ state: JobState) -> String { states.first { $0.state == state }?.letter ?? "" }

    static func state(_ letter: String) -> JobState? { states.first { $0.letter == letter }?.state }

    /// A number of a job with 16 digits: its text sorts like it.
    static func place(_ seq: Int64) -> String {
        let digits = String(seq)
        return String(repeating: "0", count: max(0, 16 - digits.count)) + digits
    }

    // MARK: writing

    init(_ job: JobRecord, revision: Int64) {
        // A time beyond the calendar's end could not be read again.
        func text(_ moment: Timestamp?) -> String {
            moment.map { String(min(max($0.microseconds, 0), Timestamp.end.microseconds)) } ?? ""
        }
        let fields: [String] = [
            String(revision), Self.letter(job.state), String(job.fence), job.worker?.hex ?? "", text(job.leaseUntil),
            text(job.startedAt), String(job.attempt), text(job.readyAt),
            // A tick is taken as long as its job is there.
            job.isUniqueHeld || job.tick != nil ? "1" : "0", String(job.children), text(job.dueAt),
            text(job.cancelAt), String(job.parentsOpen), text(job.finishedAt), text(job.keepUntil),
            job.hasKeys ? "1" : "0", Self.scope(job), String(job.priority.rank),
            String(min(job.keepsDone.microseconds, Timestamp.end.microseconds)), job.id.hex,
            Self.group(job.org, job.type),
            Self.escape(job.concurrency?.key ?? ""), Self.unique(job) ?? "", String(job.losses),
            job.progressMillionths.map { String($0) } ?? "", job.deadReason?.rawValue ?? "",
        ]
        row = fields.joined(separator: "|")
        body = [
            String(job.version), String(job.attemptsMax), text(job.createdAt), job.uniqueness?.text ?? "",
            job.concurrency.map { String($0.limit) } ?? "", Self.escape(job.rate?.key ?? ""),
            job.rate.map { String($0.count) } ?? "", job.rate.map { String($0.period.microseconds) } ?? "",
            job.traceID?.hex ?? "", Self.escape(job.schedule ?? ""), text(job.tick), job.payload,
        ].joined(separator: "|")
        extra =
            job.note == nil && job.failures.isEmpty
            ? "" : (job.note.map { "n" + Self.escape($0) } ?? "") + "|" + (job.failuresText ?? "")
    }

    /// What a script has to know of how long a key is held: `s` until started, `d` until done, `l` for a time, `t` a
    /// tick.
    private static func scope(_ job: JobRecord) -> String {
        if job.tick != nil { return "t" }
        return switch job.uniqueness {
        case .untilStarted: "s"
        case .untilDone: "d"
        case .lasting: "l"
        case nil: ""
        }
    }

    private static func unique(_ job: JobRecord) -> String? {
        if let tick = job.tick { return "t" + escape(job.schedule ?? "") + "@" + String(tick.microseconds) }
        return job.uniqueKey.map { "k" + escape($0) }
    }

    private static let groupSeparator = "\t"

    private static func group(_ org: String, _ type: String) -> String {
        escape(org) + groupSeparator + escape(type)
    }

    /// The organisation and the type of a group.
    static func readGroup(_ group: ArraySlice<UInt8>) -> (org: String, type: String)? {
        guard let cut = group.firstIndex(of: UInt8(ascii: "\t")) else { return nil }
        return (unescape(group[..<cut]), unescape(group[(cut + 1)...]))
    }

    /// Where it is written who holds the job's unique key or tick; nil for one without.
    static func heldField(_ job: JobRecord) -> String? {
        unique(job).map { group(job.org, job.type) + groupSeparator + $0 }
    }

    static func heldField(_ key: JobUniqueKey) -> String {
        group(key.org, key.type) + groupSeparator + "k" + escape(key.key)
    }

    static func keyField(_ place: JobKeyPlace) -> String { "\(escape(place.org))|\(escape(place.key))" }

    /// Without separators and control characters.
    static func escape(_ text: String) -> String {
        func isPlain(_ byte: UInt8) -> Bool { byte >= 0x20 && byte != separator && byte != UInt8(ascii: "%") }
        if text.utf8.allSatisfy(isPlain) { return text }
        var bytes: [UInt8] = []
        for byte in text.utf8 {
            if isPlain(byte) { bytes.append(byte) } else { bytes += "%\(Hex.encode([byte]))".utf8 }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func unescape(_ text: some Collection<UInt8>) -> String {
        guard text.contains(UInt8(ascii: "%")) else { return String(decoding: text, as: UTF8.self) }
        var (bytes, rest) = ([UInt8](), Array(text)[...])
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "%"), rest.count >= 2, let high = Hex.value(rest[rest.startIndex]),
                let low = Hex.value(rest[rest.startIndex + 1])
            {
                bytes.append(UInt8(high) << 4 | UInt8(low))
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    // MARK: reading

    /// What the server has is not what this program writes.
    private static let unreadable = RedisError.protocolError("a job on Redis cannot be read")

    /// - Throws: `RedisError.protocolError` where the texts are none of ours.
    static func read(
        seq: [UInt8], row: [UInt8], body: [UInt8], extra: [UInt8]
    ) throws(RedisError) -> (job: JobRecord, revision: Int64) {
        let (row, body) = (
            RedisJobFields(row, count: rowFields), RedisJobFields(body, count: bodyFields)
        )
        guard row.isWhole, body.isWhole, let seq = RedisJobFields.number(seq[...]), let revision = row.number(0),
            let state = state(row.text(1)), let rank = row.number(17), let priority = JobPriority(rank: Int(rank)),
            let id = row.uid(19), let group = readGroup(row.bytes(20)), let due = row.time(10),
            let created = body.time(2), let version = body.int(0), let attemptsMax = body.int(1),
            let keeps = row.number(18)
        else { throw unreadable }
        var job = JobRecord(
            id: id, org: group.org, type: group.type, version: version, payload: body.text(11),
            priority: priority, state: state, dueAt: due, attemptsMax: attemptsMax,
            keepsDone: .microseconds(keeps), createdAt: created)
        job.seq = seq
        job.fence = row.number(2) ?? 0
        job.worker = row.uid(3)
        job.leaseUntil = row.time(4)
        job.startedAt = row.time(5)
        job.attempt = row.int(6) ?? 0
        job.readyAt = row.time(7)
        job.children = row.int(9) ?? 0
        job.cancelAt = row.time(11)
        job.parentsOpen = row.int(12) ?? 0
        job.finishedAt = row.time(13)
        job.keepUntil = row.time(14)
        job.losses = row.int(23) ?? 0
        job.progressMillionths = row.int(24)
        job.deadReason = DeadReason(rawValue: row.text(25))
        job.traceID = body.uid(8)
        readKeys(&job, row, body)
        try readExtra(&job, extra)
        return (job, revision)
    }

    private static func readKeys(_ job: inout JobRecord, _ row: RedisJobFields, _ body: RedisJobFields) {
        if let limit = body.int(4) { job.concurrency = JobConcurrency(row.string(21), limit: limit) }
        if let count = body.int(6), let micros = body.number(7) {
            job.rate = JobRate(body.string(5), count: count, per: .microseconds(micros))
        }
        if let tick = body.time(10) {
            (job.schedule, job.tick) = (body.string(9), tick)
        } else if !row.isEmpty(22) {
            job.uniqueKey = unescape(row.bytes(22).dropFirst())
            job.uniqueness = JobUniqueness(text: body.text(3))
            job.isUniqueHeld = row.text(8) == "1"
        }
    }

    private static func readExtra(_ job: inout JobRecord, _ extra: [UInt8]) throws(RedisError) {
        guard !extra.isEmpty else { return }
        let fields = RedisJobFields(extra, count: 2)
        guard fields.isWhole else { throw unreadable }
        if !fields.isEmpty(0) { job.note = unescape(fields.bytes(0).dropFirst()) }
        guard !fields.isEmpty(1) else { return }
        do { job.failures = try JSONDecoder().decode([JobFailure].self, from: Data(fields.bytes(1))) } catch {
            throw unreadable
        }
    }
}

/// Texts with `|` between; the last may hold any byte.
struct RedisJobFields {
    private let parts: [ArraySlice<UInt8>]
    let isWhole: Bool

    init(_ bytes: [UInt8], count: Int) {
        parts = bytes.split(
            separator: RedisJobText.separator, maxSplits: count - 1, omittingEmptySubsequences: false)
        isWhole = parts.count == count
    }

    func bytes(_ at: Int) -> ArraySlice<UInt8> { parts[at] }
    func isEmpty(_ at: Int) -> Bool { parts[at].isEmpty }
    func text(_ at: Int) -> String { String(decoding: parts[at], as: UTF8.self) }
    func string(_ at: Int) -> String { RedisJobText.unescape(parts[at]) }
    func number(_ at: Int) -> Int64? { Self.number(parts[at]) }
    func int(_ at: Int) -> Int? { number(at).map { Int($0) } }
    func time(_ at: Int) -> Timestamp? { number(at).map { Timestamp(microseconds: $0) } }
    func uid(_ at: Int) -> UID? { parts[at].isEmpty ? nil : UID(text(at)) }

    /// Decimal digits with an optional sign; nil for nothing and for what is none or too large.
    static func number(_ bytes: ArraySlice<UInt8>) -> Int64? {
        var rest = bytes
        let isNegative = rest.first == UInt8(ascii: "-")
        if isNegative { rest = rest.dropFirst() }
        guard !rest.isEmpty, rest.count <= 18 else { return nil }
        var value: Int64 = 0
        for byte in rest {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) else { return nil }
            value = value * 10 + Int64(byte - UInt8(ascii: "0"))
        }
        return isNegative ? -value : value
    }
}

extension JobSchedule {
    /// As it is kept on Redis.
    var redisText: String {
        [
            org, planText, missedText, type, String(version), String(priority.rank), String(attemptsMax),
            String(keepsDone.microseconds), String(next.microseconds),
        ].map(RedisJobText.escape).joined(separator: "|") + "|" + payload
    }

    /// nil where the text is none of ours.
    init?(name: String, redisText: [UInt8]) {
        let fields = RedisJobFields(redisText, count: 10)
        guard fields.isWhole, let missed = Self.missed(fields.string(2)), let plan = try? Self.plan(fields.string(1)),
            let version = fields.int(4), let rank = fields.int(5), let priority = JobPriority(rank: rank),
            let attemptsMax = fields.int(6), let keeps = fields.number(7), let next = fields.time(8)
        else { return nil }
        self.init(
            name: name, org: fields.string(0), plan: plan, missed: missed, type: fields.string(3), version: version,
            priority: priority, attemptsMax: attemptsMax, keepsDone: .microseconds(keeps), payload: fields.text(9),
            next: next)
    }
}
