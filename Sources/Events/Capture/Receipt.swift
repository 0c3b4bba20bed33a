internal import AurumCore

/// What became of the events of one request: the answer to its sender.
package struct Receipt: Sendable, Equatable {
    package let id: String
    package let received: Int
    package let stored: Int
    package let duplicate: Int
    package let quarantined: Int
    package let bot: Int
    package let late: Int
    /// The first events that were not plainly stored.
    package let problems: [EventProblem]

    /// The body of the `202`.
    package var json: String { document.canonicalInOrder }

    private var document: ReceiptDocument {
        ReceiptDocument(
            receipt: id, received: received,
            counts: OutcomeCounts(stored: stored, duplicate: duplicate, quarantined: quarantined, bot: bot, late: late),
            problems: problems)
    }
}

/// One event of a request that was not plainly stored.
package struct EventProblem: Sendable, Equatable {
    /// Place in the request, from 0.
    package let index: Int
    package let id: String?
    package let outcome: EventOutcome
    package let reason: String?
    package let field: String?
    package let detail: String?

    var document: String {
        var members = ["\"index\":\(index)"]
        members.append("\"id\":\(id.map(JSONValue.quoted) ?? "null")")
        members.append("\"outcome\":\"\(outcome.name)\"")
        for (name, value) in [("reason", reason), ("field", field), ("detail", detail)] {
            if let value { members.append("\"\(name)\":\(JSONValue.quoted(value))") }
        }
        return "{" + members.joined(separator: ",") + "}"
    }
}

/// Events by outcome.
package struct OutcomeCounts: Sendable, Equatable {
    package var stored = 0
    package var duplicate = 0
    package var quarantined = 0
    package var bot = 0
    package var late = 0

    package init(stored: Int = 0, duplicate: Int = 0, quarantined: Int = 0, bot: Int = 0, late: Int = 0) {
        self.stored = stored
        self.duplicate = duplicate
        self.quarantined = quarantined
        self.bot = bot
        self.late = late
    }

    package var total: Int { stored + duplicate + quarantined + bot + late }

    package subscript(outcome: EventOutcome) -> Int {
        get {
            switch outcome {
            case .stored: stored
            case .duplicate: duplicate
            case .quarantined: quarantined
            case .bot: bot
            case .late: late
            }
        }
        set {
            switch outcome {
            case .stored: stored = newValue
            case .duplicate: duplicate = newValue
            case .quarantined: quarantined = newValue
            case .bot: bot = newValue
            case .late: late = newValue
            }
        }
    }

    package static func += (left: inout OutcomeCounts, right: OutcomeCounts) {
        for outcome in EventOutcome.allCases { left[outcome] += right[outcome] }
    }
}

/// The members of a receipt in the order in which the specification lists them.
struct ReceiptDocument {
    var receipt: String
    var received: Int
    var counts: OutcomeCounts
    var problems: [EventProblem]
    var more: [(String, String)] = []

    var canonicalInOrder: String {
        var text = "{\"receipt\":\"\(receipt)\",\"final\":true,\"received\":\(received)"
        text.reserveCapacity(256)
        for outcome in EventOutcome.allCases { text += ",\"\(outcome.name)\":\(counts[outcome])" }
        for (name, value) in more { text += ",\"\(name)\":\(value)" }
        text += ",\"problems\":["
        for (index, problem) in problems.enumerated() {
            if index > 0 { text += "," }
            text += problem.document
        }
        return text + "]}"
    }
}

/// The text of a receipt id: where the request stands in the log, and a check that cannot be guessed.
struct ReceiptID: Equatable {
    var segment: UInt32
    var offset: UInt32
    var request: UInt16
    var check: UInt64

    static let prefix = "rcp_"

    var text: String {
        Self.prefix + hex(UInt64(segment), 8) + hex(UInt64(offset), 8) + hex(UInt64(request), 4) + hex(check, 16)
    }

    init(segment: UInt32, offset: UInt32, request: UInt16, check: UInt64) {
        self.segment = segment
        self.offset = offset
        self.request = request
        self.check = check
    }

    /// nil for anything but the exact text of a receipt id, upper case included.
    init?(_ text: String) {
        let digits = Array(text.utf8.dropFirst(Self.prefix.utf8.count))
        guard text.hasPrefix(Self.prefix), digits.count == 36 else { return nil }
        func number(_ range: Range<Int>) -> UInt64? {
            var value: UInt64 = 0
            for byte in digits[range] {
                guard (48...57).contains(byte) || (97...102).contains(byte), let digit = Hex.value(byte) else {
                    return nil
                }
                value = value << 4 | UInt64(digit)
            }
            return value
        }
        guard let segment = number(0..<8), let offset = number(8..<16), let request = number(16..<20),
            let check = number(20..<36)
        else { return nil }
        self.init(
            segment: UInt32(truncatingIfNeeded: segment), offset: UInt32(truncatingIfNeeded: offset),
            request: UInt16(truncatingIfNeeded: request), check: check)
    }

    private func hex(_ value: UInt64, _ width: Int) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: width - digits.utf8.count) + digits
    }
}
