package import AurumCore

/// What a vertical lends to its flows, by name: validators and functions.
package struct FlowFunctions: Sendable {
    package var validators: [String: FlowValidator]
    package var functions: [String: FlowFunction]

    package init(validators: [String: FlowValidator] = [:], functions: [String: FlowFunction] = [:]) {
        self.validators = validators
        self.functions = functions
    }
}

/// Checks one value. Pure and fast: it runs inside the dialogue step.
package struct FlowValidator: Sendable {
    package enum Verdict: Sendable, Equatable {
        /// The value to keep and what else is known because of it.
        case valid(SlotValue, facts: [String: SlotValue])
        /// What to tell the person, in every language.
        case invalid([Language: String])
    }

    package let type: SlotType
    /// Facts that a valid value always sets.
    package let facts: [String: SlotType]
    package let check: @Sendable (SlotValue) -> Verdict

    package init(type: SlotType, facts: [String: SlotType], check: @escaping @Sendable (SlotValue) -> Verdict) {
        self.type = type
        self.facts = facts
        self.check = check
    }
}

/// A computation that a flow starts with a `call` step. Its result re-enters the dialogue as an input.
package struct FlowFunction: Sendable {
    /// Inputs by slot or fact name that must be set.
    package let inputs: [String: SlotType]
    /// Inputs that may be unset.
    package let optionalInputs: [String: SlotType]
    /// Facts that success always sets.
    package let outputs: [String: SlotType]
    package let run: @Sendable (FunctionCall) async throws -> FunctionResult

    package init(
        inputs: [String: SlotType], optionalInputs: [String: SlotType] = [:], outputs: [String: SlotType],
        run: @escaping @Sendable (FunctionCall) async throws -> FunctionResult
    ) {
        self.inputs = inputs
        self.optionalInputs = optionalInputs
        self.outputs = outputs
        self.run = run
    }
}

/// One call of a function.
package struct FunctionCall: Sendable, Equatable {
    package var step: String
    package var function: String
    package var values: [String: SlotValue]
    package var language: Language
    package var at: Timestamp
}

package enum FunctionResult: Sendable, Equatable {
    case success(facts: [String: SlotValue], card: ResultCard?)
    /// A stable reason code, never user text.
    case refused(String)
}

/// What a vertical shows beside the words: figures with their reasons and sources.
package struct ResultCard: Sendable, Equatable, Codable {
    package struct Figure: Sendable, Equatable, Codable {
        package var name: String
        package var label: String
        /// Formatted with unit and range, ready to read.
        package var display: String
        package var low: Double?
        package var likely: Double?
        package var high: Double?
        package var unit: String?
        /// How the figure comes about, in a sentence.
        package var why: String?
        /// Where it comes from.
        package var source: String?

        package init(
            name: String, label: String, display: String, low: Double? = nil, likely: Double? = nil,
            high: Double? = nil, unit: String? = nil, why: String? = nil, source: String? = nil
        ) {
            self.name = name
            self.label = label
            self.display = display
            self.low = low
            self.likely = likely
            self.high = high
            self.unit = unit
            self.why = why
            self.source = source
        }
    }

    package var kind: String
    package var title: String
    package var figures: [Figure]
    /// Assumptions and limits.
    package var notes: [String]

    package init(kind: String, title: String, figures: [Figure], notes: [String]) {
        self.kind = kind
        self.title = title
        self.figures = figures
        self.notes = notes
    }
}
