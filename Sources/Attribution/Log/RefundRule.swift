internal import AurumCore
internal import Events

/// Which events of the log take money off the conversions of a definition, found by the id of the order.
package struct RefundRule: Sendable, Equatable {
    package var event = "refund"
    /// Where the event holds the id of the order; conversions hold theirs in `order_id`.
    package var order = Self.standardOrder
    /// Where the event says how much; what says nothing takes off all.
    package var amount = Self.standardAmount

    package static let standardOrder = "order_id"
    package static let standardAmount = "value"
    package static let bytesMax = 128
    private static let members: Set = ["event", "order_id", "amount"]

    package init() {}

    /// Reads what `json` writes; members that are left out are the standard.
    /// - Throws: `LogAttributionError.invalid` with the member that is wrong.
    init(_ body: JSONValue) throws(LogAttributionError) {
        guard let members = body.object, Self.members.isSuperset(of: members.keys) else {
            throw .invalid("refunds", "must be an object of \(Self.members.sorted().joined(separator: ", ")).")
        }
        if let member = members["event"] {
            guard let name = member.string, Self.isEvent(name) else {
                throw .invalid(
                    "refunds.event", "must be the name of an event, of at most \(Self.bytesMax) bytes, without quotes.")
            }
            event = name
        }
        order = try Self.field(members["order_id"], "order_id", Self.standardOrder)
        amount = try Self.field(members["amount"], "amount", Self.standardAmount)
    }

    private static func isEvent(_ name: String) -> Bool {
        (1...bytesMax).contains(name.utf8.count) && name.utf8.allSatisfy { $0 >= 32 && $0 != 34 && $0 != 92 }
    }

    /// The standard field, or a property of the event.
    private static func field(
        _ member: JSONValue?, _ name: String, _ standard: String
    ) throws(LogAttributionError) -> String {
        guard let member else { return standard }
        let prefix = "props."
        let isField = member.string.map { path in
            path == standard
                || path.hasPrefix(prefix) && (prefix.utf8.count + 1...bytesMax).contains(path.utf8.count)
                    && path.utf8.allSatisfy { $0 > 32 && $0 != 34 && $0 != 92 }
        }
        guard let path = member.string, isField == true else {
            throw .invalid("refunds.\(name)", "must be \(standard) or a property, such as props.\(name).")
        }
        return path
    }

    /// The events that it names, as a condition.
    func filter(now: Timestamp) throws(LogAttributionError) -> EventCondition {
        let condition = "type in (conversion, track) and name = \"\(event)\""
        return try ConversionDefinition(name: "refund", condition: condition).filter(now: now)
    }

    var json: JSONValue { ["event": .string(event), "order_id": .string(order), "amount": .string(amount)] }
}

/// What became of the refunds of one conversion.
package struct RefundTally: Sendable, Equatable {
    /// Events that found the conversion of their order. They take nothing off one that the repeat rule leaves out, or
    /// that has nothing left.
    package var taken = 0
    /// Events without an order id, or whose order no conversion has.
    package var unmatched = 0
    package var otherCurrency = 0
    /// Their amount is no number.
    package var unreadable = 0
    /// The same event once more.
    package var repeated = 0
    /// Credited conversions of which nothing is left.
    package var returned = 0
    package var partlyReturned = 0

    mutating func add(_ other: RefundTally) {
        taken += other.taken
        unmatched += other.unmatched
        otherCurrency += other.otherCurrency
        unreadable += other.unreadable
        repeated += other.repeated
        returned += other.returned
        partlyReturned += other.partlyReturned
    }

    var members: [String: JSONValue] {
        [
            "refunds": .integer(Int64(taken)), "unmatched_refunds": .integer(Int64(unmatched)),
            "refunds_other_currency": .integer(Int64(otherCurrency)),
            "refunds_unreadable": .integer(Int64(unreadable)), "refunds_repeated": .integer(Int64(repeated)),
            "returned": .integer(Int64(returned)), "partly_returned": .integer(Int64(partlyReturned)),
        ]
    }
}

/// Money that refunds take off a conversion: millionths of its currency's unit.
enum RefundAmount {
    /// Whatever the conversion is worth.
    static let all = Int64.max

    /// Minor units that go, from nothing to all that there is.
    static func minor(_ amount: Int64, of worth: Int64, unit: Int64) -> Int64 {
        guard worth > 0 else { return 0 }
        return amount == all ? worth : min(worth, LogRunPlan.minor(amount, unit: unit))
    }

    /// Whether nothing is left of the conversion; one without a value is only returned by a refund of all.
    static func isAll(_ amount: Int64, returned: Int64, of worth: Int64) -> Bool {
        amount == all ? worth >= 0 : worth > 0 && returned == worth
    }

    /// Senders write what they paid back with either sign. The largest stands for all.
    static func of(_ value: Int64) -> Int64 { Int64(clamping: min(value.magnitude, UInt64(all) - 1)) }

    /// nil for what is no number, or too large for one.
    static func of(_ text: String) -> Int64? {
        guard let number = Double(text), number.magnitude < 9e12 else { return nil }
        return of(Int64((number * 1_000_000).rounded()))
    }
}
