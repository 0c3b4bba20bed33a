internal import AurumCore
package import Conversation

/// The flow `solar.qualify` and the functions it calls.
package enum SolarFlow {
    package static let id = "solar.qualify"

    /// The checked flow, ready for `ConversationService`.
    ///
    /// - Throws: every problem of the flow file, with line and column.
    package static func catalogue(territory: Territory, estimator: SolarEstimator) throws(FlowProblems) -> FlowCatalogue
    {
        try FlowCatalogue(
            sources: [.embedded("flows/solar.qualify.yaml")],
            functions: functions(territory: territory, estimator: estimator))
    }

    package static func functions(territory: Territory, estimator: SolarEstimator) -> FlowFunctions {
        FlowFunctions(
            validators: ["solar.zip": zipValidator(territory)],
            functions: ["solar.estimate": estimateFunction(territory, estimator)])
    }

    /// Knows every ZIP of the city; sets the fact `territory` to served, askBorough, askUtility or outside.
    private static func zipValidator(_ territory: Territory) -> FlowValidator {
        FlowValidator(type: .postalCode, facts: ["territory": .text]) { value in
            guard let zip = value.string else { return .invalid(notAZip) }
            switch territory.lookup(zip) {
            case .served: return .valid(value, facts: ["territory": .text("served")])
            case .askBorough(let question):
                return .valid(
                    value, facts: ["territory": .text(question.ask == .borough ? "askBorough" : "askUtility")])
            case .outside: return .valid(value, facts: ["territory": .text("outside")])
            case .mailbox: return .invalid(mailbox)
            case .invalid: return .invalid(notAZip)
            }
        }
    }

    private static let mailbox: [Language: String] = [
        .english: "That is a mailbox ZIP code; which ZIP is the house in?",
        .spanish: "Es un código postal de apartados; ¿en qué código postal está la casa?",
    ]
    private static let notAZip: [Language: String] = [
        .english: "That is not a ZIP code.", .spanish: "Eso no es un código postal.",
    ]

    /// Inputs that must be known, and those that only narrow the range. Sets the fact `estimateOutcome` to shown,
    /// noRoom, tinyUsage or commercial, and with `shown` the figures a lead carries.
    private static func estimateFunction(_ territory: Territory, _ estimator: SolarEstimator) -> FlowFunction {
        let cache = EstimateCache(estimator: estimator)
        return FlowFunction(
            inputs: ["zip": .postalCode, "bill": .money, "homeType": .choice],
            optionalInputs: [
                "statedBorough": .choice, "statedUtility": .choice, "roofType": .choice, "shade": .choice,
            ],
            outputs: ["estimateOutcome": .text]
        ) { call in
            guard let input = estimateInput(call, territory) else { return .refused("incomplete") }
            do throws(EstimateError) {
                let estimate = try cache.estimate(input)
                return .success(
                    facts: [
                        "estimateOutcome": .text("shown"), "systemWatts": .integer(Int64(estimate.systemWatts)),
                        "annualKilowattHours": .integer(Int64(estimate.annualKilowattHours)),
                        "roofCoverage": .integer(Int64(estimate.roofCoverageBasisPoints)),
                    ], card: EstimateCard(estimate: estimate, language: call.language).card)
            } catch {
                return outcome(of: error)
            }
        }
    }

    private static func outcome(of error: EstimateError) -> FunctionResult {
        switch error {
        case .tooLittleRoom: .success(facts: ["estimateOutcome": .text("noRoom")], card: nil)
        case .tooLittleUsage: .success(facts: ["estimateOutcome": .text("tinyUsage")], card: nil)
        case .notResidential: .success(facts: ["estimateOutcome": .text("commercial")], card: nil)
        case .facesNorth: .refused("facesNorth")
        case .missing: .refused("missing")
        case .outOfRange: .refused("outOfRange")
        case .noRule: .refused("noRule")
        case .production: .refused("production")
        }
    }

    private static func estimateInput(_ call: FunctionCall, _ territory: Territory) -> EstimateInput? {
        guard let zip = call.values["zip"]?.string, case .money(let bill) = call.values["bill"],
            let homeType = call.values["homeType"]?.string.flatMap(HomeType.init(rawValue:)),
            let place = place(
                territory.lookup(zip), borough: call.values["statedBorough"]?.string,
                utility: call.values["statedUtility"]?.string)
        else { return nil }
        return EstimateInput(
            place: place, date: localDate(call.at), homeType: homeType,
            usage: .monthlyBill(low: bill.lowCents, high: bill.highCents),
            roofType: call.values["roofType"]?.string.flatMap(RoofType.init(rawValue:)) ?? .unknown,
            shade: call.values["shade"]?.string.flatMap(Shade.init(rawValue:)) ?? .unknown)
    }

    /// The place of a ZIP, settled by what the person said where the ZIP crosses a border.
    static func place(_ answer: TerritoryAnswer, borough: String?, utility: String?) -> ServedPlace? {
        switch answer {
        case .served(let place): return place
        case .askBorough(let question):
            return question.choices.first {
                question.ask == .borough ? $0.borough.rawValue == borough : $0.utility.rawValue == utility
            }
        case .mailbox, .outside, .invalid: return nil
        }
    }

    /// New York's date by standard time: rules change at midnight, and an hour of summer time decides nothing.
    private static func localDate(_ moment: Timestamp) -> CivilDate { (moment - .seconds(5 * 3600)).utcDate }
}
