internal import Synchronization

/// A model of reports over the log: a rule, one that is fitted to all journeys of a run, the weights of a conversion's
/// own definition, or what experiments leave of a fitted one.
package enum LogModel: Sendable, Hashable, CaseIterable {
    case rule(CreditModel)
    case markov(Int)
    case shapley
    case custom
    /// Markov credit of order 1 of each channel times what an experiment says of it, worked out when it is asked for.
    case dataDriven

    /// Those that every run stores credit of.
    package static let standard: [LogModel] = CreditModel.allCases.map { .rule($0) } + fitted
    /// Those that runs store credit of, in the order of their rows; `custom` where a definition has weights.
    package static let stored: [LogModel] = standard + [.custom]
    package static let allCases: [LogModel] = stored + [.dataDriven]

    /// The word in answers and tables.
    package var name: String {
        switch self {
        case .rule(let model): model.rawValue
        case .markov(let order): "markov\(order)"
        case .shapley: "shapley"
        case .custom: "custom"
        case .dataDriven: "data_driven"
        }
    }

    package init?(name: String) {
        guard let model = LogModel.allCases.first(where: { $0.name == name }) else { return nil }
        self = model
    }

    /// nil for what is fitted, and for custom weights.
    package var rule: CreditModel? { if case .rule(let model) = self { model } else { nil } }

    static let rules = CreditModel.allCases
    static let fitted: [LogModel] = [.markov(1), .markov(2), .markov(3), .shapley]
    static let ordersMax = 3
}

/// Credits by conversion, campaign, channel, currency and day under some models, as whole numbers, so that no sum
/// depends on the order in which journeys were met. One a thread.
struct CreditTally: Sendable {
    /// Packed: 6 bits conversion, 10 currency, 16 day, 32 campaign and channel.
    struct Key: Hashable, Sendable {
        var bits: UInt64

        init(name: Int, currency: UInt32, day: Int32, label: UInt32) {
            let when = UInt64(UInt16(clamping: Int(day)))
            bits = UInt64(name & 63) << 58 | UInt64(min(1023, currency)) << 48 | when << 32 | UInt64(label)
        }

        var name: Int { Int(bits >> 58) }
        var currency: UInt32 { UInt32(truncatingIfNeeded: bits >> 48) & 1023 }
        /// Days since 1970.
        var day: Int { Int(bits >> 32 & 0xffff) }
        var label: UInt32 { UInt32(truncatingIfNeeded: bits) }
    }

    private(set) var slots: [Key: Int32] = [:]
    /// For each slot and model: millionths of conversions, then minor units.
    private var sums: ContiguousArray<Int64> = []
    let models: Int
    private let stride: Int
    private let rowsMax: Int

    /// - Parameters:
    ///   - models: that are told apart.
    ///   - rowsMax: slots.
    init(models: Int, rowsMax: Int) { (self.models, stride, self.rowsMax) = (models, models * 2, rowsMax) }

    var count: Int { slots.count }

    /// The slot of a key.
    /// - Throws: `tooLarge`.
    @inline(__always)
    mutating func slot(_ key: Key) throws(LogAttributionError) -> Int {
        if let known = slots[key] { return Int(known) }
        guard slots.count < rowsMax else {
            throw .tooLarge(
                "The result has more than \(rowsMax) combinations of campaign, channel, currency and day; "
                    + "take a shorter range or one conversion.")
        }
        let slot = slots.count
        slots[key] = Int32(slot)
        sums.append(contentsOf: repeatElement(0, count: stride))
        return slot
    }

    /// - Throws: `tooLarge` where a sum no longer fits 64 bits.
    @inline(__always)
    mutating func add(_ slot: Int, model: Int, credit: Int64, minor: Int64) throws(LogAttributionError) {
        let place = slot &* stride &+ model &* 2
        let (credits, isOver) = sums[place].addingReportingOverflow(credit)
        let (amount, isPast) = sums[place &+ 1].addingReportingOverflow(minor)
        guard !isOver, !isPast else { throw Self.pastSums }
        sums[place] = credits
        sums[place &+ 1] = amount
    }

    static let pastSums = LogAttributionError.tooLarge(
        "The values of the conversions of one day and campaign add up to more than 64 bits hold; take a shorter range, "
            + "or leave out the events with such values in the definition.")

    func sum(_ slot: Int, model: Int) -> (credit: Int64, minor: Int64) {
        let place = slot * stride + model * 2
        return (sums[place], sums[place + 1])
    }

    /// - Throws: `tooLarge`.
    mutating func add(_ other: CreditTally) throws(LogAttributionError) {
        for (key, from) in other.slots {
            let slot = try slot(key)
            for model in 0..<min(models, other.models) {
                let part = other.sum(Int(from), model: model)
                try add(slot, model: model, credit: part.credit, minor: part.minor)
            }
        }
    }
}

/// The sums of all threads. A thread that holds many combinations brings its own here and begins anew, so that the
/// bound of a result is the same on any number of threads.
final class SharedTally: Sendable {
    private let sum: Mutex<CreditTally>

    /// - Parameter rowsMax: combinations of the result.
    init(models: Int, rowsMax: Int) { sum = Mutex(CreditTally(models: models, rowsMax: rowsMax)) }

    /// Adds what a thread has, and empties it.
    /// - Throws: `tooLarge`.
    func take(_ tally: inout CreditTally) throws(LogAttributionError) {
        let mine = tally
        tally = CreditTally(models: mine.models, rowsMax: .max)
        try sum.withLock { (sum: inout CreditTally) throws(LogAttributionError) in try sum.add(mine) }
    }

    var total: CreditTally { sum.withLock { $0 } }
}

/// What was credited, and what of it refunds took back; both by the same keys.
struct CreditSums: Sendable {
    var credited: CreditTally
    var returned: CreditTally

    init(models: Int) {
        credited = CreditTally(models: models, rowsMax: .max)
        returned = credited
    }
}

/// `CreditSums` of all threads.
final class SharedSums: Sendable {
    private let credited: SharedTally
    private let returned: SharedTally

    /// - Parameter rowsMax: combinations of the result.
    init(models: Int, rowsMax: Int) {
        credited = SharedTally(models: models, rowsMax: rowsMax)
        returned = SharedTally(models: models, rowsMax: rowsMax)
    }

    /// Adds what a thread has, and empties it.
    /// - Parameter rowsMax: a thread may keep what is less.
    /// - Throws: `tooLarge`.
    func take(_ sums: inout CreditSums, from rowsMax: Int = 0) throws(LogAttributionError) {
        if sums.credited.count >= rowsMax { try credited.take(&sums.credited) }
        if sums.returned.count >= max(1, rowsMax) { try returned.take(&sums.returned) }
    }

    var total: CreditSums {
        var sums = CreditSums(models: 0)
        (sums.credited, sums.returned) = (credited.total, returned.total)
        return sums
    }
}

/// Journeys that converted by the channels they went through, and how often. Bounded: what comes when it is full is
/// counted together.
struct PathTally: Sendable {
    static let stepsMax = 12
    private static let more: UInt64 = 31
    static let other = UInt64.max
    /// By the packed channels, one a step of five bits, the oldest highest.
    private(set) var counts: [UInt64: Int] = [:]
    private let pathsMax: Int

    init(pathsMax: Int) { self.pathsMax = pathsMax }

    mutating func add(_ path: UnsafeBufferPointer<UInt16>) {
        var (packed, steps): (UInt64, Int) = (0, 0)
        for index in path.indices where index == 0 || path[index] != path[index &- 1] {
            steps &+= 1
            if steps > Self.stepsMax { break }
            packed = packed << 5 | UInt64(path[index]) &+ 1
        }
        // The last step of what is longer says that there is more.
        if steps > Self.stepsMax { packed = packed & ~31 | Self.more }
        add(packed, 1)
    }

    private mutating func add(_ path: UInt64, _ count: Int) {
        if counts[path] == nil, counts.count >= pathsMax { return counts[Self.other, default: 0] += count }
        counts[path, default: 0] += count
    }

    mutating func add(_ other: PathTally) {
        for (path, count) in other.counts { add(path, count) }
    }

    /// The paths in words, most frequent first, those of equal counts by their words.
    func top(_ most: Int) -> [(path: String, count: Int)] {
        Array(
            counts.map { (Self.text($0.key), $0.value) }.sorted { ($1.1, $0.0) < ($0.1, $1.0) }.prefix(most)
        ).map { (path: $0.0, count: $0.1) }
    }

    static func text(_ packed: UInt64) -> String {
        guard packed != other else { return "(other paths)" }
        var steps: [String] = []
        var rest = packed
        while rest != 0 {
            let step = rest & 31
            steps.append(step == more ? "…" : TouchChannel.name(UInt8(step - 1)))
            rest >>= 5
        }
        return steps.reversed().joined(separator: " > ")
    }
}

/// What happened in a run besides the credits, by conversion.
struct ConversionTally: Sendable, Equatable {
    var conversions = 0
    /// Conversions that no touchpoint led to.
    var organic = 0
    /// Journeys that kept their newest touches only.
    var truncated = 0
    /// Events that a repeat rule left out.
    var repeated = 0
    /// Journeys that led to nothing.
    var nulls = 0
    /// Touches of all credited journeys.
    var touches = 0
    /// Journeys that a fitted model had to split equally.
    var flat = 0
    /// Credited conversions whose version of the definition has no custom weights.
    var unweighed = 0
    /// Conversions with touchpoints of which refunds left nothing: to fitted models they did not convert.
    var undone = 0
    var refunds = RefundTally()

    mutating func add(_ other: ConversionTally) {
        conversions += other.conversions
        organic += other.organic
        truncated += other.truncated
        repeated += other.repeated
        nulls += other.nulls
        touches += other.touches
        flat += other.flat
        unweighed += other.unweighed
        undone += other.undone
        refunds.add(other.refunds)
    }
}
