/// What one walk over persons is asked about: which conversions it credits, and of one of them what became of every
/// touch and how every model divides it. One thread.
final class JourneyWitness {
    /// Which event, as records name it.
    struct Spot: Hashable {
        var time: Int64
        var id: UInt64
        var tail: UInt16

        init(time: Int64, id: UInt64, tail: UInt16) { (self.time, self.id, self.tail) = (time, id, tail) }
        init(_ record: LogRecord) { self.init(time: record.time, id: record.id, tail: record.tail) }

        /// Later events first.
        static func isNewer(_ left: Spot, _ right: Spot) -> Bool {
            (left.time, left.id, left.tail) > (right.time, right.id, right.tail)
        }
    }

    /// What became of a touch at the conversion.
    enum Fate: Equatable {
        /// The place in the journey that it makes.
        case touchpoint(Int)
        /// The place in the journey that an event before it made and that it belongs to.
        case merged(Int)
        /// Its session has another page that stands for it.
        case inSession
        case rejected
        /// Of a click that the fraud rules bar.
        case rejectedClick
        case outsideWindow
        /// More were eligible than a journey keeps.
        case tooMany
        case after
        case noConsent
        case bot
        case duplicate

        /// The word in answers; nil for what made a touchpoint.
        var reason: String? {
            switch self {
            case .touchpoint: nil
            case .merged: "same_touchpoint"
            case .inSession: "same_session"
            case .rejected: "fraud"
            case .rejectedClick: "fraud_click"
            case .outsideWindow: "outside_window"
            case .tooMany: "older_than_newest_200"
            case .after: "after_conversion"
            case .noConsent: "no_consent"
            case .bot: "bot"
            case .duplicate: "duplicate"
            }
        }
    }

    struct Touch: Equatable {
        var time: Int64
        var label: UInt32
        /// `LogRecord.Kind`.
        var kind: UInt8
    }

    /// One model's way with the journey, a number a touch.
    struct Weighed {
        var model: LogModel
        /// As the formula has them.
        var raw: [Double]
        /// Adding up to 1.
        var weights: [Double]
        /// Millionths of the conversion, and its money; each adds up exactly.
        var credits: [Int64]
        var parts: [Int64]
        /// What refunds took of the parts.
        var returned: [Int64]
        /// All effects were 0.
        var isFlat = false
    }

    struct Seen {
        var record: LogRecord
        /// Of the conversion in the plan.
        var number: Int
        var minor: Int64
        /// Number of the currency in the plan.
        var currency: UInt32
        /// Minor units that refunds took, and whether they left nothing.
        var returned: Int64 = 0
        var isReturned = false
        var isWhole = true
        /// The person's first milestone, microseconds since 1970.
        var milestone: Int64?
        /// The touch that the w-shaped models call the milestone; -1 without one.
        var milestonePlace = -1
        var journey: [Touch] = []
        var touches: [(record: LogRecord, fate: Fate)] = []
        /// Empty without touchpoints.
        var models: [Weighed] = []
    }

    /// How long the walk may take; nil for as long as it does.
    var budget: ReadingBudget?
    /// The conversion that is asked about; nil asks about none.
    private let wanted: Spot?
    /// By place in `LogModel.fitted`: an effect for each of 32 channels; nil where a model was not fitted.
    private let effects: [[Double]?]
    private(set) var allCredited: Set<Spot> = []
    private(set) var seen: Seen?
    /// Whether the conversion that is asked about was left out by its repeat rule.
    private(set) var isLeftOut = false

    init(wanted: Spot? = nil, effects: [[Double]?] = []) { (self.wanted, self.effects) = (wanted, effects) }

    /// - Throws: `slow`, `cancelled`.
    func check() throws(LogAttributionError) { try budget?.take(0) }

    /// - Returns: whether more is to be told of it.
    func credited(_ record: LogRecord) -> Bool {
        let spot = Spot(record)
        allCredited.insert(spot)
        return spot == wanted
    }

    func leftOut(_ record: LogRecord) {
        if Spot(record) == wanted { isLeftOut = true }
    }

    func tell(_ seen: Seen) { self.seen = seen }

    /// Every model's way with a journey of one touch at least, by the arithmetic of runs.
    /// - Parameters:
    ///   - returned: minor units that refunds took, from 0 to `minor`.
    ///   - custom: the weights of the conversion's definition; nil where it has none.
    func weigh(
        _ weights: inout JourneyWeights, _ facts: JourneyWeights.Facts, minor: Int64, returned: Int64,
        custom: ChannelWeights?
    ) -> [Weighed] {
        let count = facts.count
        func list<Value>(_ values: UnsafePointer<Value>) -> [Value] {
            Array(UnsafeBufferPointer(start: values, count: count))
        }
        var all: [Weighed] = []
        for model in LogModel.rules {
            let raw = list(weights.weigh(model, facts, isRaw: true))
            let made = list(weights.weigh(model, facts))
            all.append(
                Weighed(
                    model: .rule(model), raw: raw, weights: made,
                    credits: list(weights.divide(1_000_000, count: count)),
                    parts: list(weights.divide(minor, count: count)),
                    returned: weights.divide(returned: returned, of: minor, count: count)))
        }
        if let custom {
            let raw = list(weights.weigh(custom, facts, isRaw: true))
            let made = list(weights.weigh(custom, facts))
            all.append(
                Weighed(
                    model: .custom, raw: raw, weights: made, credits: list(weights.divide(1_000_000, count: count)),
                    parts: list(weights.divide(minor, count: count)),
                    returned: weights.divide(returned: returned, of: minor, count: count),
                    isFlat: raw.allSatisfy { $0 == 0 }))
        }
        for (place, model) in LogModel.fitted.enumerated() where place < effects.count {
            guard let known = effects[place], known.count >= 32 else { continue }
            let isFlat = known.withUnsafeBufferPointer { known -> Bool in
                guard let start = known.baseAddress else { return true }
                return !weights.weigh(effects: start, facts)
            }
            let made = list(weights.weighed)
            let raw = (0..<count).map { known[Int(TouchLabel.channel(facts.labels[$0]))] }
            all.append(
                Weighed(
                    model: model, raw: raw, weights: made, credits: list(weights.divide(1_000_000, count: count)),
                    parts: list(weights.divide(minor, count: count)),
                    returned: weights.divide(returned: returned, of: minor, count: count), isFlat: isFlat))
        }
        return all
    }
}
