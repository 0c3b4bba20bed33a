package import AurumCore

/// One call that took longer than the threshold. It holds no value of any parameter.
package struct SlowCall: Sendable {
    /// Longest text of a statement that is kept, in characters.
    static let textMax = 4000
    /// Parameters that are described.
    static let parametersMax = 64

    /// Counts slow calls since the start.
    package internal(set) var serial = 0
    package let name: String
    package let kind: CallKind
    package let outcome: CallOutcome
    package let at: Timestamp
    package let duration: Duration
    package let parts: CallParts
    package let rows: Int
    /// How many statements the call ran.
    package let statements: Int
    /// The trace of what the call wrote, where it is known.
    package let trace: UID?
    /// The statement that took longest; nil when none ran.
    package let text: String?
    package let textTook: Duration
    /// Its parameters as types and lengths.
    package let parameters: [String]
    /// How the engine runs that statement, taken afterwards.
    package internal(set) var plan: String?

    init(_ track: CallTrack, _ outcome: CallOutcome, to now: ContinuousClock.Instant, at: Timestamp) {
        let state = track.now
        name = track.statement.name
        kind = track.kind
        self.outcome = outcome
        self.at = at
        duration = now - track.started
        parts = state.parts(from: track.started, to: now)
        rows = state.rows
        statements = state.statements
        trace = state.trace
        text = state.slowest.map { String($0.text.prefix(Self.textMax)) }
        textTook = state.slowestTook
        parameters = state.slowest?.shapes ?? []
    }

    /// The record as it stands in the API.
    package var json: JSONValue {
        var members = parts.json
        members["serial"] = .integer(Int64(serial))
        members["statement"] = .string(name)
        members["kind"] = .string(kind.rawValue)
        members["outcome"] = .string(outcome.rawValue)
        members["at"] = .string(at.rfc3339)
        members["duration_ms"] = duration.shownMilliseconds
        members["rows"] = .integer(Int64(rows))
        members["statements"] = .integer(Int64(statements))
        members["trace_id"] = Self.shown(trace?.hex)
        members["sql"] = Self.shown(text)
        members["sql_ms"] = textTook.shownMilliseconds
        members["parameters"] = .array(parameters.map { .string($0) })
        members["plan"] = Self.shown(plan)
        return .object(members)
    }

    private static func shown(_ value: String?) -> JSONValue {
        if let value { .string(value) } else { .null }
    }
}

extension SQLStatement {
    /// Types and lengths of the parameters, never what they hold.
    var shapes: [String] {
        let shown = values.prefix(SlowCall.parametersMax).map(\.shape)
        return values.count > shown.count ? shown + ["and \(values.count - shown.count) more"] : shown
    }
}

extension SQLValue {
    fileprivate var shape: String {
        switch self {
        case .null, .integer, .real: typeName
        case .text(let text): "text of \(text.utf8.count) bytes"
        case .bytes(let bytes): "bytes of \(bytes.count)"
        }
    }
}

/// The last slow calls, in bounded memory.
package struct SlowRing: Sendable {
    package let capacity: Int
    private var calls: [SlowCall] = []
    private var next = 0

    package init(capacity: Int) { self.capacity = capacity }

    package var count: Int { calls.count }
    /// Calls that were ever kept.
    package var total: Int { next }

    /// Keeps a call in place of the oldest, and answers its number.
    @discardableResult
    package mutating func append(_ call: SlowCall) -> Int {
        var call = call
        call.serial = next
        if calls.count < capacity { calls.append(call) } else { calls[next % capacity] = call }
        next += 1
        return call.serial
    }

    /// Gives calls of one statement that have none their plan.
    package mutating func put(plan: String, name: String, text: String) {
        for index in calls.indices where calls[index].plan == nil {
            if calls[index].name == name, calls[index].text == text { calls[index].plan = plan }
        }
    }

    /// Newest first.
    package func newest(_ limit: Int) -> [SlowCall] {
        guard !calls.isEmpty else { return [] }
        return (0..<min(limit, calls.count)).map { calls[(next - 1 - $0) % capacity] }
    }
}
