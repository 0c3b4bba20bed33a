/// What one model says of every channel.
package struct ModelResult: Sendable {
    package let model: ModelChoice
    package let conversions: [Double]
    package let values: [Double]
    /// Removal effect of each channel; Markov models only.
    package var removalEffects: [Double]?
    /// Change of the conversion rate; the rate game only, and then `conversions` is empty.
    package var rateEffects: [Double]?
    /// Probability that a path converts; Markov models only.
    package var conversionProbability: Double?
    package var states: Int?
}

/// What to compute.
package struct AttributionRequest: Sendable {
    package var models: [ModelChoice]
    /// Whether the models were named one by one: then one that cannot be computed is an error, and not left out.
    package var isExplicit = false
    /// Steps to the last touch after which half of the credit is gone, for input without times.
    package var halfLifeSteps: Double?
    package var halfLifeSeconds = JourneyCredit.halfLifeSeconds
    /// The channel that `last_non_direct` passes over, in upper or lower case.
    package var directChannel = "direct"
    package var custom: CustomWeights?
    /// Whether consecutive equal states are one in Markov models.
    package var collapse = true

    package init(models: [ModelChoice]) { self.models = models }
}

/// Runs models over a table of paths.
package struct AttributionRun: Sendable {
    package private(set) var results: [ModelResult] = []
    /// Models that were left out, and why.
    package private(set) var notes: [String] = []

    /// Why nothing can be answered.
    package enum Failure: Error, Sendable, Equatable {
        case noConversions
        case model(String)

        package var sentence: String {
            switch self {
            case .noConversions: MarkovError.noConversions.sentence
            case .model(let sentence): sentence
            }
        }
    }

    /// - Parameter progress: called with a sentence before and during long steps.
    package init(
        _ table: PathTable, _ request: AttributionRequest, progress: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(Failure) {
        guard table.totalConversions + table.organicConversions > 0 else { throw .noConversions }
        if table.organicConversions > 0 {
            let count = table.organicConversions.formattedShort
            notes.append("\(count) conversions have no touch before them and belong to no channel.")
        }
        var single: [ModelChoice] = []
        for model in request.models {
            if let reason = Self.obstacle(model, table, request) {
                if request.isExplicit { throw .model(reason) }
                notes.append("\(model.key) is left out: \(reason)")
                continue
            }
            switch model {
            case .credit, .custom: single.append(model)
            case .markov, .shapley, .shapleyRate: continue
            }
        }
        let passed = Self.onePass(single, table, request)
        for model in request.models where Self.obstacle(model, table, request) == nil {
            if let found = passed.first(where: { $0.model == model }) {
                results.append(found)
                continue
            }
            progress("fitting \(model.title)")
            do { results.append(try Self.fitted(model, table, request, progress)) } catch {
                if request.isExplicit { throw error }
                notes.append("\(model.key) is left out: \(error.sentence)")
            }
        }
    }

    /// Why a model cannot be computed on this input; nil when it can.
    private static func obstacle(_ model: ModelChoice, _ table: PathTable, _ request: AttributionRequest) -> String? {
        switch model {
        case .credit(.timeDecay) where !table.hasTimes && request.halfLifeSteps == nil:
            "needs_half_life: the input has no times; give --half-life-steps."
        case .custom where request.custom == nil: "needs_weights: give them with --custom."
        case .markov where !table.hasNulls: MarkovError.needsNullColumn.sentence
        default: nil
        }
    }

    private static func fitted(
        _ model: ModelChoice, _ table: PathTable, _ request: AttributionRequest,
        _ progress: @escaping @Sendable (String) -> Void
    ) throws(Failure) -> ModelResult {
        switch model {
        case .markov(let order):
            do {
                let fit = try MarkovModel(table, order: order, collapse: request.collapse) { sweep in
                    if sweep % 1000 == 0 { progress("\(model.title): sweep \(sweep)") }
                }
                return ModelResult(
                    model: model, conversions: fit.conversions, values: fit.values,
                    removalEffects: fit.removalEffects, conversionProbability: fit.conversion, states: fit.states)
            } catch MarkovError.noConversions { throw .noConversions } catch { throw .model(error.sentence) }
        case .shapleyRate:
            do {
                let effects = try ShapleyModel.rateEffects(table)
                return ModelResult(model: model, conversions: [], values: [], rateEffects: effects)
            } catch { throw .model(error.sentence) }
        case .shapley, .credit, .custom:
            let credits = ShapleyModel.credits(table)
            return ModelResult(model: model, conversions: credits.conversions, values: credits.values)
        }
    }

    /// Every model that needs the journey alone, in one pass over the paths that converted.
    private static func onePass(
        _ models: [ModelChoice], _ table: PathTable, _ request: AttributionRequest
    ) -> [ModelResult] {
        let channels = table.channels.count
        let name = request.directChannel.lowercased()
        let isDirect = table.channels.map { $0.lowercased() == name }
        let direct = isDirect.contains(true) ? isDirect : []
        let factors = request.custom.map { custom in
            table.channels.map { custom.channelFactors[$0] ?? custom.channelFactors["*"] ?? 1 }
        }
        var conversions = models.map { _ in [Double](repeating: 0, count: channels) }
        var values = conversions
        var facts = JourneyFacts()
        var weights: [Double] = []
        for row in 0..<table.count where table.conversions[row] > 0 {
            let path = table.range(row)
            fill(&facts, table, row, path, direct, factors)
            for (place, model) in models.enumerated() {
                switch model {
                case .credit(let model):
                    let halfLife = table.hasTimes ? request.halfLifeSeconds : request.halfLifeSteps ?? 1
                    JourneyCredit.weights(model, facts, halfLife: halfLife, into: &weights)
                default:
                    guard let custom = request.custom else { continue }
                    JourneyCredit.weights(custom, facts, into: &weights)
                }
                let (c, v) = (table.conversions[row], table.values[row])
                for (index, weight) in weights.enumerated() where weight != 0 {
                    let channel = Int(table.tokens[path.lowerBound + index])
                    conversions[place][channel] += weight * c
                    values[place][channel] += weight * v
                }
            }
        }
        return models.enumerated().map { place, model in
            ModelResult(model: model, conversions: conversions[place], values: values[place])
        }
    }

    private static func fill(
        _ facts: inout JourneyFacts, _ table: PathTable, _ row: Int, _ path: Range<Int>, _ direct: [Bool],
        _ factors: [Double]?
    ) {
        facts.count = path.count
        facts.ages.removeAll(keepingCapacity: true)
        if table.hasTimes {
            facts.ages.append(contentsOf: table.ages[path])
        } else {
            for index in 0..<path.count { facts.ages.append(Double(path.count - 1 - index)) }
        }
        facts.isDirect.removeAll(keepingCapacity: true)
        if !direct.isEmpty { for index in path { facts.isDirect.append(direct[Int(table.tokens[index])]) } }
        facts.factors.removeAll(keepingCapacity: true)
        if let factors { for index in path { facts.factors.append(factors[Int(table.tokens[index])]) } }
        facts.milestone =
            table.milestones.isEmpty || table.milestones[row] < 0 ? nil : Int(table.milestones[row])
    }
}

extension Double {
    /// Whole numbers without a point, others with at most four digits after it.
    var formattedShort: String {
        if self == rounded(), magnitude < 1e15 { return String(Int64(self)) }
        let scaled = (self * 10_000).rounded() / 10_000
        return "\(scaled)"
    }
}
