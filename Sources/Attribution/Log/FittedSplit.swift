/// The models that are fitted to all journeys of a run: their effects, and how they divide one conversion.
package struct LogFit: Sendable, Equatable {
    package var model: LogModel
    /// Probability that a journey converts; nil for Shapley.
    package var conversion: Double?
    package var states: Int?
    /// RE of each channel that was met.
    package var effects: [String: Double]
    /// What the model gives to each channel of all conversions with touchpoints: other numbers than the sums of what
    /// it gives to single conversions.
    package var totals: [String: Double]
}

/// The fits of one conversion.
struct ConversionFits: Sendable {
    /// By place in `LogModel.fitted`: an effect for each of 32 channels; nil where a model could not be fitted.
    var effects: [[Double]?] = []
    var fits: [LogFit] = []
    var notes: [String] = []

    /// - Parameters:
    ///   - counts: of orders 1 to 3.
    ///   - converted: conversions that had touchpoints.
    init(_ counts: ArraySlice<MarkovChain.Counts>, name: String, converted: Int) {
        let names = TouchChannel.names
        for (place, model) in LogModel.fitted.enumerated() {
            guard case .markov = model else {
                effects.append([Double](repeating: 1, count: 32))
                continue
            }
            do throws(MarkovError) {
                let chain = try MarkovChain(counts[counts.startIndex + place], channels: names)
                let fit = try MarkovModel(chain, conversions: Double(converted), value: 0)
                effects.append(fit.removalEffects + [Double](repeating: 0, count: 32 - names.count))
                var known = LogFit(
                    model: model, conversion: fit.conversion, states: fit.states, effects: [:], totals: [:])
                for (channel, effect) in fit.removalEffects.enumerated() where effect > 0 {
                    known.effects[names[channel]] = effect
                    known.totals[names[channel]] = fit.conversions[channel]
                }
                fits.append(known)
            } catch {
                effects.append(nil)
                if converted > 0 { notes.append("\(model.name) of \(name) is left out: \(error.sentence)") }
            }
        }
    }
}

/// Divides converted journeys under the fitted models. One a thread.
struct FittedSplit: ~Copyable {
    private let fits: [ConversionFits]
    private var weights = JourneyWeights()
    private let slots: UnsafeMutablePointer<Int32>
    private let times: UnsafeMutablePointer<Int64>
    private let effects: UnsafeMutablePointer<Double>
    private var tally = CreditSums(models: LogModel.fitted.count)
    private let sums: SharedSums
    private let rowsMax: Int
    var facts: [ConversionTally]

    /// - Parameters:
    ///   - fits: by conversion.
    ///   - sums: where credits end up, after `finish()` all of them.
    ///   - rowsMax: combinations of campaign, channel, currency and day that this thread holds before.
    init(_ fits: [ConversionFits], sums: SharedSums, rowsMax: Int) {
        (self.fits, self.sums, self.rowsMax) = (fits, sums, rowsMax)
        slots = .allocate(capacity: JourneyWeights.touchesMax)
        slots.initialize(repeating: 0, count: JourneyWeights.touchesMax)
        times = .allocate(capacity: JourneyWeights.touchesMax)
        times.initialize(repeating: 0, count: JourneyWeights.touchesMax)
        let each = 32 * LogModel.fitted.count
        effects = .allocate(capacity: max(1, fits.count * each))
        effects.initialize(repeating: 0, count: max(1, fits.count * each))
        for (name, fit) in fits.enumerated() {
            for (model, known) in fit.effects.enumerated() {
                for (channel, effect) in (known ?? []).enumerated() {
                    effects[name * each + model * 32 + channel] = effect
                }
            }
        }
        facts = fits.map { _ in ConversionTally() }
    }

    deinit {
        slots.deallocate()
        times.deallocate()
        effects.deallocate()
    }

    mutating func finish() throws(LogAttributionError) { try sums.take(&tally) }

    mutating func add(
        _ name: Int, _ currency: UInt32, _ day: Int32, _ minor: Int64, _ returned: Int64,
        _ labels: UnsafeBufferPointer<UInt32>
    ) throws(LogAttributionError) {
        guard let base = labels.baseAddress, fits.indices.contains(name) else { return }
        try sums.take(&tally, from: rowsMax)
        var returnSlots: [Int] = []
        for index in labels.indices {
            let key = CreditTally.Key(name: name, currency: currency, day: day, label: labels[index])
            slots[index] = Int32(truncatingIfNeeded: try tally.credited.slot(key))
            if returned != 0 { returnSlots.append(try tally.returned.slot(key)) }
        }
        let known = JourneyWeights.Facts(count: labels.count, times: UnsafePointer(times), labels: base)
        for model in LogModel.fitted.indices where fits[name].effects[model] != nil {
            let place = effects + (name * LogModel.fitted.count + model) * 32
            if !weights.weigh(effects: UnsafePointer(place), known) { facts[name].flat += 1 }
            try weights.share(minor, count: labels.count, slots: UnsafePointer(slots), model: model, &tally.credited)
            if returned != 0 {
                try weights.share(returned: returned, of: minor, slots: returnSlots, model: model, &tally.returned)
            }
        }
    }
}
