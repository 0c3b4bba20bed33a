import Attribution
import AurumCore
import Events
import TestSupport

/// What one event of the tests says, and the line that says it.
struct NaiveEvent {
    enum Kind: Int { case visit = 1, view, click, page, conversion, lead }

    var id: String
    var kind: Kind
    /// Milliseconds since 1970.
    var time: Int64
    var anonymous: String?
    var user: String?
    var campaign: String?
    var channel = "direct"
    var source: (source: String, medium: String)?
    /// Said with the campaign.
    var network: String?
    var click: String?
    var order: String?
    var value: (cents: Int64, currency: String)?
    var isBot = false
    var refuses = false

    var line: String {
        var members = ["\"id\":\"\(id)\"", "\"ts\":\(time)"]
        switch kind {
        case .click: members.append("\"type\":\"click\"")
        case .view: members.append("\"type\":\"impression\"")
        case .visit, .page: members.append("\"type\":\"page\",\"url\":\"https://shop.example/p\"")
        case .conversion: members.append("\"type\":\"conversion\",\"name\":\"purchase\"")
        case .lead: members.append("\"type\":\"conversion\",\"name\":\"lead\"")
        }
        if let anonymous { members.append("\"anonymous_id\":\"\(anonymous)\"") }
        if let user { members.append("\"user_id\":\"\(user)\"") }
        if let click { members.append("\"click_id\":\"\(click)\"") }
        if let order { members.append("\"order_id\":\"\(order)\"") }
        if let value {
            let sign = value.cents < 0 ? "-" : ""
            let cents = value.cents.magnitude
            members.append(
                "\"value\":\(sign)\(cents / 100).\(cents % 100 / 10)\(cents % 10),\"currency\":\"\(value.currency)\"")
        }
        if let campaign, let source {
            let network = network.map { ",\"network\":\"\($0)\"" } ?? ""
            members.append(
                "\"campaign\":{\"name\":\"\(campaign)\",\"source\":\"\(source.source)\","
                    + "\"medium\":\"\(source.medium)\"\(network)}")
        }
        if isBot { members.append("\"context\":{\"user_agent\":\"Googlebot/2.1\"}") }
        if refuses { members.append("\"consent\":{\"ads\":\"denied\"}") }
        return "{" + members.joined(separator: ",") + "}"
    }
}

/// A line of a result as the naive model and the run both say it.
struct NaiveKey: Hashable, Comparable {
    var model: String
    var campaign: String
    var channel: String
    var day: Int
    var currency: String

    static func < (left: NaiveKey, right: NaiveKey) -> Bool {
        (left.model, left.campaign, left.channel, left.day, left.currency)
            < (right.model, right.campaign, right.channel, right.day, right.currency)
    }
}

/// Attribution of one conversion, written from the text of the specification and nothing else: lists that are looked
/// through from the beginning, one person after another.
struct NaiveLogRun {
    struct Touch {
        var time: Int64
        var kind: NaiveEvent.Kind
        var campaign: String
        var channel: String
        var clicks: Set<String>
    }

    var definition: ConversionDefinition
    var windows: [WindowOverride] = []
    var from = Int64.min
    private(set) var sums: [NaiveKey: (ppm: Int64, minor: Int64)] = [:]
    private(set) var conversions = 0
    private var paths: [(channels: [String], conversions: Double, nulls: Double)] = []
    private var fitted: [(touches: [Touch], day: Int, value: (minor: Int64, currency: String))] = []

    init(_ definition: ConversionDefinition) { self.definition = definition }

    /// - Parameter person: who the events belong to.
    mutating func run(_ events: [NaiveEvent], person: (NaiveEvent) -> String) {
        let kept = events.filter { !$0.isBot && !($0.refuses && $0.kind.rawValue <= NaiveEvent.Kind.page.rawValue) }
        for (_, own) in Dictionary(grouping: kept, by: person).sorted(by: { $0.key < $1.key }) {
            walk(own.sorted { ($0.time, $0.id) < ($1.time, $1.id) })
        }
        fit()
    }

    private mutating func walk(_ events: [NaiveEvent]) {
        let candidates = Self.candidates(events)
        var seenOrders: Set<String> = []
        var last: Int64?
        let milestone = events.first { $0.kind == .lead }?.time
        for event in events where event.kind == .conversion {
            switch definition.repeats {
            case .each: break
            case .oncePerPerson: if last != nil { continue }
            case .perOrderID: if let order = event.order, !seenOrders.insert(order).inserted { continue }
            }
            last = event.time
            if event.time < from { continue }
            credit(event, journey(candidates, of: candidates, at: event.time), milestone: milestone)
        }
        // What came after the last conversion led to nothing.
        let rest = candidates.filter { $0.time > last ?? .min }
        guard let newest = rest.last, newest.time >= from else { return }
        let path = journey(rest, of: candidates, at: newest.time)
        if !path.isEmpty { paths.append((path.map(\.channel), 0, 1)) }
    }

    /// The touchpoints that are eligible at a time: made of the events that are, and of no others.
    /// - Parameter all: touches of the person, which say whose click an event is of.
    private func journey(_ candidates: [NaiveEvent], of all: [NaiveEvent], at time: Int64) -> [Touch] {
        let known = all.filter { $0.time <= time }
        let eligible = candidates.filter { event in
            let window = window(event, known, at: time)
            return event.time <= time && time - event.time <= Int64((window.seconds * 1000).rounded())
        }
        return Array(Self.touches(eligible).suffix(200))
    }

    /// That of the campaign, else of the network, of the strongest event of the click id; else the definition's.
    private func window(_ event: NaiveEvent, _ known: [NaiveEvent], at time: Int64) -> Duration {
        let ofClick = event.click == nil ? [event] : known.filter { $0.click == event.click }
        let most = ofClick.map(\.kind.rawValue).max()
        let strongest = ofClick.first { $0.kind.rawValue == most } ?? event
        for (scope, name) in [(WindowOverride.Scope.campaign, strongest.campaign), (.network, strongest.network)] {
            let versions = windows.filter {
                $0.scope == scope && $0.name == name?.lowercased() && $0.startsAt.milliseconds <= time
            }
            let newest = versions.max { $0.version < $1.version }
            if let window = strongest.kind == .view ? newest?.view : newest?.click { return window }
        }
        return event.kind == .view ? definition.window.view : definition.window.click
    }

    /// Clicks, views, and of each session the visit that stands for it.
    private static func candidates(_ events: [NaiveEvent]) -> [NaiveEvent] {
        // A session's first page with an origin is its visit; a session without any is one direct visit. All events of
        // the person belong to sessions, whatever they are.
        var found = events.filter { $0.kind == .click || $0.kind == .view }
        var session: [NaiveEvent] = []
        func close() {
            let pages = session.filter { $0.kind == .visit || $0.kind == .page }
            if let visit = pages.first(where: { $0.kind == .visit }) ?? pages.first { found.append(visit) }
            session = []
        }
        for event in events {
            let isOver =
                (session.last.map { event.time - $0.time > 30 * 60_000 } ?? false)
                || (session.first.map { event.time - $0.time > 86_400_000 } ?? false)
            if isOver { close() }
            session.append(event)
        }
        close()
        return found.map { event in
            var event = event
            if event.kind == .page { event.kind = .visit }
            return event
        }.sorted { ($0.time, $0.id) < ($1.time, $1.id) }
    }

    private static func touches(_ candidates: [NaiveEvent]) -> [Touch] {
        var touches: [Touch] = []
        for event in candidates {
            let campaign = event.campaign ?? "(none)"
            if let click = event.click, let known = touches.firstIndex(where: { $0.clicks.contains(click) }) {
                if event.kind.rawValue > touches[known].kind.rawValue {
                    touches[known].kind = event.kind
                    (touches[known].campaign, touches[known].channel) = (campaign, event.channel)
                }
                continue
            }
            let same = touches.lastIndex {
                event.time - $0.time <= 10_000 && $0.kind == event.kind && $0.campaign == campaign
                    && $0.channel == event.channel
            }
            if let same {
                if let click = event.click { touches[same].clicks.insert(click) }
                continue
            }
            touches.append(
                Touch(
                    time: event.time, kind: event.kind, campaign: campaign, channel: event.channel,
                    clicks: event.click.map { [$0] } ?? []))
        }
        return touches
    }

    // MARK: credit

    private mutating func credit(_ event: NaiveEvent, _ journey: [Touch], milestone: Int64?) {
        conversions += 1
        let day = Int((Double(event.time) / 86_400_000).rounded(.down))
        var value: (minor: Int64, currency: String) = (0, "")
        if let stated = event.value { value = (stated.cents, stated.currency) }
        guard let newest = journey.last else {
            for model in LogModel.standard {
                add(model.name, "(organic)", "organic", day, value.currency, 1_000_000, value.minor)
            }
            return
        }
        var facts = JourneyFacts()
        facts.count = journey.count
        facts.ages = journey.map { Duration.milliseconds(newest.time - $0.time).seconds }
        facts.isDirect = journey.map { $0.channel == "direct" }
        if let milestone, milestone <= event.time {
            facts.milestone = journey.lastIndex { $0.time <= milestone }
        }
        for model in CreditModel.allCases {
            var weights: [Double] = []
            JourneyCredit.weights(model, facts, halfLife: definition.halfLifeHours * 3600, into: &weights)
            share(model.rawValue, journey, weights, day, value)
        }
        paths.append((journey.map(\.channel), 1, 0))
        fitted.append((journey, day, value))
    }

    private mutating func share(
        _ model: String, _ journey: [Touch], _ weights: [Double], _ day: Int, _ value: (minor: Int64, currency: String)
    ) {
        let credits = Apportionment.divide(1_000_000, weights: weights)
        let amounts = Apportionment.divide(value.minor, weights: weights)
        for (index, touch) in journey.enumerated() {
            add(model, touch.campaign, touch.channel, day, value.currency, credits[index], amounts[index])
        }
    }

    private mutating func add(
        _ model: String, _ campaign: String, _ channel: String, _ day: Int, _ currency: String, _ ppm: Int64,
        _ minor: Int64
    ) {
        let key = NaiveKey(model: model, campaign: campaign, channel: channel, day: day, currency: currency)
        let known = sums[key] ?? (0, 0)
        sums[key] = (known.ppm + ppm, known.minor + minor)
    }

    private mutating func fit() {
        let names = Channel.allCases.map(\.rawValue).sorted()
        var table = PathTable(channels: names)
        for path in paths {
            table.append(
                path.channels.map { UInt16(names.firstIndex(of: $0) ?? 0) }, conversions: path.conversions, value: 0,
                nulls: path.nulls)
        }
        let (all, known) = (fitted, names.indices)
        for order in 1...3 {
            guard let model = try? MarkovModel(table, order: order) else { continue }
            let effects = Dictionary(uniqueKeysWithValues: known.map { (names[$0], model.removalEffects[$0]) })
            for one in all { split("markov\(order)", one, names) { effects[$0] ?? 0 } }
        }
        for one in all { split("shapley", one, names) { _ in 1 } }
    }

    private mutating func split(
        _ model: String, _ one: (touches: [Touch], day: Int, value: (minor: Int64, currency: String)),
        _ names: [String], _ effect: (String) -> Double
    ) {
        let used = Set(one.touches.map(\.channel))
        let sum = names.filter { used.contains($0) }.reduce(0.0) { $0 + effect($1) }
        let weights = one.touches.map { touch -> Double in
            let count = Double(one.touches.count { $0.channel == touch.channel })
            return sum > 0 ? effect(touch.channel) / sum / count : 1 / Double(one.touches.count)
        }
        share(model, one.touches, weights, one.day, one.value)
    }
}
