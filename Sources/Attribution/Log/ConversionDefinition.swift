package import AurumCore
package import Events

/// What counts as a conversion, what it is worth, and which touchpoints may earn credit for it.
package struct ConversionDefinition: Sendable, Equatable {
    package enum Value: Sendable, Equatable {
        /// What the event itself says; nothing where it says nothing.
        case event
        case fixed(Money)
    }

    /// Which of one person's events count.
    package enum Repeats: String, Sendable, CaseIterable {
        case each
        /// The first of each order id; events without one count each.
        case perOrderID = "per_order_id"
        case oncePerPerson = "once_per_person"
    }

    package var name: String
    /// Empty means the events of all apps.
    package var app = ""
    /// A condition in the text of the query language, as it follows `where`.
    package var condition: String
    package var value = Value.event
    package var repeats = Repeats.each
    package var window = WindowPreset.standard.window
    package var halfLifeHours = JourneyCredit.halfLifeSeconds / 3600
    /// Those of the model `custom`; nil has no such model.
    package var custom: CustomWeights?
    /// What takes money off its conversions; nil for nothing.
    package var refunds: RefundRule?

    package init(name: String, condition: String, repeats: Repeats = .each) {
        (self.name, self.condition, self.repeats) = (name, condition, repeats)
    }

    /// Hours after which a click is too old, at least and at most.
    package static let clickHours: ClosedRange<Double> = 1...(365 * 24)
    package static let viewHours: ClosedRange<Double> = 1...(30 * 24)
    package static let halfLife: ClosedRange<Double> = 1...(365 * 24)
    package static let nameBytesMax = 64

    /// What is known without anybody saving it. Source: the specification of attribution, section 1.
    package static let builtIn: [ConversionDefinition] = [
        ConversionDefinition(name: "install", condition: "type = install", repeats: .oncePerPerson),
        lead,
        ConversionDefinition(
            name: "purchase",
            condition: "type in (conversion, track) and name in (purchase, \"Order Completed\", order_completed)",
            repeats: .perOrderID),
        ConversionDefinition(
            name: "signup",
            condition: "type in (conversion, track) and name in (signup, sign_up, \"Signed Up\")",
            repeats: .oncePerPerson),
        ConversionDefinition(
            name: "subscription",
            condition: "type in (conversion, track) and name in (subscription, subscribe, \"Subscription Started\")"),
        ConversionDefinition(
            name: "trial_start",
            condition: "type in (conversion, track) and name in (trial_start, start_trial, \"Trial Started\")",
            repeats: .oncePerPerson),
    ]

    private static let lead: ConversionDefinition = {
        var lead = ConversionDefinition(
            name: "lead",
            condition: "(type in (conversion, track) and name in (lead, \"Lead Submitted\", generate_lead))"
                + " or (type = internal and name = \"lead.created\")")
        lead.window = WindowPreset.leadSale.window
        return lead
    }()

    /// The definition whose first event is the milestone of the w-shaped models.
    package static let milestone = "lead"
}

/// Windows that suit a trade. Source: the specification of attribution, section 1.
package enum WindowPreset: String, Sendable, CaseIterable {
    case standard = "default"
    case gaming
    case leadSale = "lead_sale"
    case eCommerce = "e_commerce"
    case travel
    case reEngagement = "re_engagement"

    package var window: LookbackWindow {
        let (click, view): (Int, Int) =
            switch self {
            case .standard: (7 * 24, 24)
            case .gaming: (3 * 24, 6)
            case .leadSale: (30 * 24, 24)
            case .eCommerce: (14 * 24, 3 * 24)
            case .travel: (30 * 24, 7 * 24)
            case .reEngagement: (30 * 24, 24)
            }
        return LookbackWindow(click: .seconds(click * 3600), view: .seconds(view * 3600))
    }
}

/// Why a definition, or a question about a run over the log, is refused.
package enum LogAttributionError: Error, Sendable, Equatable {
    /// A member of the body, and what is wrong with it.
    case invalid(String, String)
    case unknownConversion(String)
    /// The conversion is credited only when somebody asks.
    case unknownSchedule
    /// The network or campaign has no windows of its own.
    case unknownWindow
    /// Nothing was computed yet for this conversion.
    case noResult(String)
    /// The newest run could not fit a model to its journeys; the model, and why where the run says it.
    case notFitted(String, String?)
    /// The definitions that the run went by have no custom weights; the conversion.
    case noCustomWeights(String)
    /// A bound of one run, as a sentence.
    case tooLarge(String)
    /// The temporary files could not be written or read.
    case storage(String)
    /// Other runs work and wait in this process.
    case busy
    case cancelled
    /// No event of the log has this id.
    case unknownEvent
    /// The event was taken out, with its person or by its age.
    case erasedEvent
    /// The event came into the log after the run had read it.
    case notYetRun
    /// The run credits the event to nobody; why, as a sentence.
    case notCredited(String)
    /// A question about single conversions took too long, after so many rows.
    case slow(Int)

    /// Stable tag.
    package var tag: String {
        switch self {
        case .invalid: "bad_definition"
        case .unknownConversion: "conversion_unknown"
        case .unknownSchedule: "schedule_unknown"
        case .unknownWindow: "window_unknown"
        case .noResult: "attribution_not_computed"
        case .notFitted: "model_not_fitted"
        case .noCustomWeights: "no_custom_weights"
        case .tooLarge: "attribution_too_large"
        case .storage: "attribution_storage"
        case .busy: "attribution_busy"
        case .cancelled: "attribution_cancelled"
        case .unknownEvent: "event_unknown"
        case .erasedEvent: "event_erased"
        case .notYetRun: "not_yet_run"
        case .notCredited: "not_credited"
        case .slow: "attribution_timeout"
        }
    }

    package var sentence: String {
        switch self {
        case .invalid(let member, let detail): "\(member) \(detail)"
        case .unknownConversion: "There is no conversion of this name."
        case .unknownSchedule: "This conversion has no schedule."
        case .unknownWindow: "This network or campaign has no windows of its own."
        case .noResult:
            "Nothing was computed for this conversion yet, or not under this version; "
                + "POST /v1/attribution/recompute or aurum attribution run computes it."
        case .notFitted(let model, let reason):
            reason ?? "The newest run has no \(model): no journey with a touchpoint converted; ask for another model."
        case .noCustomWeights(let name):
            "The definition of \(name) that the run went by has no custom weights: save it with custom, then run anew."
        case .tooLarge(let sentence): sentence
        case .storage(let sentence): sentence
        case .busy: "Other runs work and wait; this one is tried again."
        case .cancelled: "The run was given up before its end; the result before it stays."
        case .unknownEvent: "No event of the log has this id."
        case .erasedEvent: "The event is not kept any more: its person was erased, or it is too old."
        case .notYetRun:
            "The event came after the run had read the log; POST /v1/attribution/recompute or aurum attribution run "
                + "credits it."
        case .notCredited(let sentence): sentence
        case .slow(let rows):
            "The question took longer than it may; \(rows) rows of the log were read, which has no index by person."
        }
    }
}

extension ConversionDefinition {
    /// The condition, read.
    package func filter(now: Timestamp) throws(LogAttributionError) -> EventCondition {
        let query: EventQuery
        do throws(QueryParseError) {
            query = try QueryTextParser.query("count where " + condition, now: now)
        } catch { throw .invalid("where", error.sentence) }
        var plain = EventQuery()
        plain.filter = query.filter
        guard let filter = query.filter, query == plain else {
            throw .invalid("where", "must be a condition and nothing else.")
        }
        return filter
    }

    /// Reads what `json` writes. Members that are left out take what the preset, or the default, says.
    /// - Throws: `LogAttributionError.invalid` with the member that is wrong.
    package init(_ body: JSONValue, name: String, now: Timestamp) throws(LogAttributionError) {
        guard let members = body.object else { throw .invalid("body", "must be an object.") }
        let known: Set = [
            "name", "app", "where", "value", "repeat", "preset", "click_hours", "view_hours", "half_life_hours",
            "custom", "refunds", "starts_at", "version", "built_in",
        ]
        guard known.isSuperset(of: members.keys) else {
            throw .invalid("body", "has other members than \(known.sorted().joined(separator: ", ")).")
        }
        guard Self.isName(name) else {
            throw .invalid("name", "must be 1 to \(Self.nameBytesMax) of a-z, 0-9, _ and -.")
        }
        guard let condition = members["where"]?.string else { throw .invalid("where", "must be a condition.") }
        self.init(name: name, condition: condition)
        if let text = members["app"] {
            guard let text = text.string else { throw .invalid("app", "must be text.") }
            app = text
        }
        if let text = members["repeat"] {
            guard let rule = text.string.flatMap({ Repeats(rawValue: $0) }) else {
                let rules = Repeats.allCases.map(\.rawValue).joined(separator: ", ")
                throw .invalid("repeat", "must be one of \(rules).")
            }
            repeats = rule
        }
        if let text = members["preset"] {
            guard let preset = text.string.flatMap({ WindowPreset(rawValue: $0) }) else {
                let presets = WindowPreset.allCases.map(\.rawValue).joined(separator: ", ")
                throw .invalid("preset", "must be one of \(presets).")
            }
            window = preset.window
        }
        try readHours(members)
        if let weights = members["custom"], weights != .null { custom = try CustomWeights(weights) }
        if let value = members["value"] { self.value = try Self.value(value) }
        if let body = members["refunds"], body != .null { refunds = try RefundRule(body) }
        _ = try filter(now: now)
    }

    private mutating func readHours(_ members: [String: JSONValue]) throws(LogAttributionError) {
        func hours(_ name: String, _ range: ClosedRange<Double>) throws(LogAttributionError) -> Double? {
            guard let member = members[name] else { return nil }
            guard let hours = member.double, range.contains(hours) else {
                throw .invalid(name, "must be from \(Int(range.lowerBound)) to \(Int(range.upperBound)) hours.")
            }
            return hours
        }
        if let click = try hours("click_hours", Self.clickHours) { window.click = Self.duration(click) }
        if let view = try hours("view_hours", Self.viewHours) { window.view = Self.duration(view) }
        halfLifeHours = try hours("half_life_hours", Self.halfLife) ?? halfLifeHours
    }

    private static func value(_ json: JSONValue) throws(LogAttributionError) -> Value {
        switch json["source"]?.string {
        case "event": return .event
        case "fixed":
            guard let currency = json["currency"]?.string.flatMap({ Currency($0) }) else {
                throw .invalid("value.currency", "must be three letters.")
            }
            guard let amount = json["amount"]?.string.flatMap({ Money(decimal: $0, currency: currency) }) else {
                throw .invalid("value.amount", "must be an amount as text, such as \"12.50\".")
            }
            return .fixed(amount)
        default: throw .invalid("value.source", "must be event or fixed.")
        }
    }

    package static func isName(_ name: String) -> Bool {
        (1...nameBytesMax).contains(name.utf8.count)
            && name.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 95 || $0 == 45 }
    }

    /// Whole milliseconds: the windows' own precision.
    private static func duration(_ hours: Double) -> Duration { .milliseconds(Int64((hours * 3_600_000).rounded())) }

    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "name": .string(name), "where": .string(condition), "repeat": .string(repeats.rawValue),
            "click_hours": .number(window.click.seconds / 3600), "view_hours": .number(window.view.seconds / 3600),
            "half_life_hours": .number(halfLifeHours),
        ]
        if !app.isEmpty { members["app"] = .string(app) }
        if let custom { members["custom"] = custom.json }
        if let refunds { members["refunds"] = refunds.json }
        switch value {
        case .event: members["value"] = ["source": "event"]
        case .fixed(let money):
            members["value"] = [
                "source": "fixed", "amount": .string(money.decimal), "currency": .string(money.currency.code),
            ]
        }
        return .object(members)
    }
}
