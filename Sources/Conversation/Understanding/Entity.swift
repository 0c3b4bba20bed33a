/// Something found in a message that may fill a slot.
struct Entity: Equatable {
    /// The reading: a value, or the type of a value that was tried and makes no sense.
    enum Reading: Equatable {
        case value(SlotValue)
        case invalid(SlotType)
        /// A span of time in tenths of a month, for choices that are spans.
        case months(tenths: Int)
    }

    var reading: Reading
    /// Scalar offsets, end exclusive.
    var start: Int
    var end: Int
    /// Basis points of certainty.
    var confidence: Int
    /// Whether the form itself says what it is ("$240", "my name is"), so that it counts when something else was asked.
    var explicit: Bool

    var type: SlotType? {
        switch reading {
        case .value(let value): value.type
        case .invalid(let type): type
        case .months: nil
        }
    }
}

extension Entity {
    /// Whether two spans share a scalar.
    func overlaps(_ other: Entity) -> Bool { start < other.end && other.start < end }
}
