package import AurumCore
package import Events
internal import Synchronization

/// A definition with the times at which it is in force.
package struct DefinitionInForce: Sendable, Equatable {
    package var definition: ConversionDefinition
    package var version: Int
    /// Microseconds since 1970: `from` ≤ time < `to`.
    package var from: Int64
    package var to: Int64

    package init(_ definition: ConversionDefinition, version: Int = 0, from: Int64 = .min, to: Int64 = .max) {
        (self.definition, self.version, self.from, self.to) = (definition, version, from, to)
    }
}

/// What one run over the log computes.
package struct LogRunRequest: Sendable {
    package var org: String
    /// Every conversion that is computed, with each of its versions.
    package var definitions: [DefinitionInForce]
    /// The event that w-shaped models call the milestone; nil knows none.
    package var milestone: ConversionDefinition?
    /// Conversions with `from` ≤ time < `to`.
    package var from: Timestamp?
    package var to: Timestamp?
    /// What the organisation's apps call a session.
    package var sessions = SessionRules()
    /// What matches of installs add to journeys.
    package var joined: [JoinedTouch] = []
    package var settings = LogRunSettings()
    /// Every version of the windows of networks and campaigns.
    package var windows: [WindowOverride] = []
    /// Touches that get no credit.
    package var rejected = RejectedTouches()

    package init(org: String, definitions: [DefinitionInForce], from: Timestamp? = nil, to: Timestamp? = nil) {
        (self.org, self.definitions, self.from, self.to) = (org, definitions, from, to)
    }

    /// The longest window that a touch may have.
    var reach: Duration {
        let defined = definitions.map { max($0.definition.window.click, $0.definition.window.view) }
        return (defined + windows.flatMap { [$0.click, $0.view].compactMap(\.self) }).max() ?? .zero
    }
}

/// Bounds of a run.
package struct LogRunSettings: Sendable, Equatable {
    /// Threads; 0 means one a core.
    package var workers = 0
    /// Files that persons are divided among; 0 takes as many as keep one of them in memory.
    package var partitions = 0
    /// Records of one partition that are sorted at a time, at most.
    package var partitionBytes = 48 << 20
    /// Most bytes that one partition may have: a person whose events alone are more cannot be computed.
    package var partitionBytesMax = 256 << 20
    /// Combinations of conversion, campaign, channel, currency and day of the result.
    package var resultRowsMax = 1_000_000
    /// Combinations that the threads hold together before they bring them to those of the result: 128 bytes and a
    /// dictionary's entry each. With the result, sorting, one large partition and paths it is about 1.2 GB at worst.
    package var threadRowsMax = 1_000_000
    /// Room that the volume of the temporary files must keep.
    package var freeBytesMin = 0
    package static let partitionsMax = 512
    /// Memory for sorting, twice the records, that all threads keep together; also for partitions that need more than
    /// a thread's share.
    package static let sortingBytes = 384 << 20
    /// Paths that the threads tell apart together, and the least that each has for a conversion.
    static let threadPathsMax = 400_000
    static let pathsMin = 2000
    /// Conversions of one run, and versions of all of them together.
    package static let conversionsMax = 60
    package static let versionsMax = 1000

    package init() {}
}

/// Told to stop from outside; says how far it is.
package final class LogRunControl: Sendable {
    private let isOver = Atomic<Bool>(false)
    private let done = Atomic<Int>(0)
    private let all = Atomic<Int>(1)

    package init() {}

    package func cancel() { isOver.store(true, ordering: .relaxed) }

    /// 0…1 of the blocks and partitions.
    package var fraction: Double {
        min(1, Double(done.load(ordering: .relaxed)) / Double(max(1, all.load(ordering: .relaxed))))
    }

    func begin(steps: Int) { all.store(max(1, steps), ordering: .relaxed) }

    /// - Throws: `cancelled`.
    func check() throws(LogAttributionError) {
        if isOver.load(ordering: .relaxed) { throw .cancelled }
    }

    /// To be called before each block and partition.
    /// - Throws: `cancelled`.
    func step() throws(LogAttributionError) {
        try check()
        done.wrappingAdd(1, ordering: .relaxed)
    }
}

/// A request with everything numbered, shared by all threads.
final class LogRunPlan: Sendable {
    struct Conversion: Sendable {
        var filter: RowFilter
        var definition: ConversionDefinition
        /// Of the definition; 0 for what is built in.
        var version: Int
        /// Place in `names`.
        var name: Int
        /// Windows in microseconds.
        var click: Int64
        var view: Int64
        var halfLifeSeconds: Double
        /// Minor units and currency number of a fixed value.
        var fixed: (minor: Int64, currency: UInt32)?
        /// nil computes no custom model.
        var custom: ChannelWeights?
    }

    /// Conversions of any time whose orders refunds may name.
    struct Order: Sendable {
        var filter: RowFilter
        /// Place in `conversions`; `Order.none` for those that the run does not look at.
        var number: UInt32
        /// Place in `names`.
        var name: Int
        /// Of a fixed value; nil where events say it.
        var currency: UInt32?

        static let none: UInt32 = 0xffff
    }

    /// Events that take money off the conversions of a name.
    struct Refund: Sendable {
        var filter: RowFilter
        var rule: RefundRule
        /// Place in `names`.
        var name: Int
    }

    let request: LogRunRequest
    let names: [String]
    let conversions: [Conversion]
    /// Both are empty where no definition names refunds. They are of all times: a refund may come long after its order.
    let orders: [Order]
    let refunds: [Refund]
    /// Windows of the newest version of each conversion: those of journeys that led to nothing.
    let windows: [(click: Int64, view: Int64)?]
    let milestone: RowFilter?
    /// Models that are computed while persons are walked: the rules, and custom weights where a definition has some.
    let ruleModels: Int
    let touches: RowFilter
    /// Conversions are credited from here on; earlier ones only count as repeated.
    let from: Int64
    /// Within so long the other events of a person need no records but the first and the last: microseconds, no more
    /// than any session's gap.
    let othersWithin: Int64
    private static let othersWithinMax: Int64 = 600_000_000
    let apps = LabelTable(textsMax: 250)
    let campaigns = LabelTable(textsMax: TouchLabel.campaignsMax)
    let currencies = LabelTable(textsMax: LogRunPlan.currenciesMax)
    static let currenciesMax = 1000
    /// Networks with windows of their own, in lower case, from 1 up.
    private let networks: [String: UInt32]
    var hasNetworks: Bool { !networks.isEmpty }
    let resolver: any PersonResolver

    /// - Throws: `LogAttributionError` for conditions that cannot be read and for too many definitions.
    init(_ request: LogRunRequest, resolver: any PersonResolver, now: Timestamp) throws(LogAttributionError) {
        (self.request, self.resolver) = (request, resolver)
        let names = Set(request.definitions.map(\.definition.name)).sorted()
        let marked = Set(request.windows.filter { $0.scope == .network }.map(\.name)).sorted()
        networks = Dictionary(
            uniqueKeysWithValues: marked.prefix(TouchLabel.networksMax).enumerated().map { ($1, UInt32($0) + 1) })
        guard names.count <= LogRunSettings.conversionsMax, request.definitions.count <= LogRunSettings.versionsMax
        else {
            throw .tooLarge("One run takes \(LogRunSettings.conversionsMax) conversions at most; name one.")
        }
        self.names = names
        from = request.from?.microseconds ?? .min
        let until = request.to?.microseconds ?? .max
        var made: [Conversion] = []
        var orders: [Order] = []
        // How refunds are read goes by the newest version: it is no matter of when the conversion was.
        let refunds = try Self.refunds(request, names, now: now)
        let earliest = Self.earliest(request, from)
        for known in request.definitions {
            let definition = known.definition
            // What was repeated is only known from the beginning; and what is before the range ends journeys in it.
            let first = definition.repeats == .each ? max(earliest, known.from) : known.from
            let last = min(until, known.to)
            let name = names.firstIndex(of: definition.name) ?? 0
            var fixed: (minor: Int64, currency: UInt32)?
            if case .fixed(let money) = definition.value {
                fixed = (money.minorUnits, currencies.code(money.currency.code))
            }
            let isRead = first < last || last == .max
            if refunds.contains(where: { $0.name == name }) {
                let filter = try Self.filter(definition, request, from: known.from, to: known.to, now: now)
                let number = isRead ? UInt32(made.count) : Order.none
                orders.append(Order(filter: filter, number: number, name: name, currency: fixed?.currency))
            }
            guard isRead else { continue }
            let (click, view) = (definition.window.click.microseconds, definition.window.view.microseconds)
            made.append(
                Conversion(
                    filter: try Self.filter(definition, request, from: first, to: last, now: now),
                    definition: definition, version: known.version, name: name, click: click, view: view,
                    halfLifeSeconds: definition.halfLifeHours * 3600, fixed: fixed,
                    custom: definition.custom.map { ChannelWeights($0) }))
        }
        (conversions, self.orders, self.refunds) = (made, orders, refunds)
        ruleModels = LogModel.rules.count + (made.contains { $0.custom != nil } ? 1 : 0)
        othersWithin = request.sessions.apps.values.map(\.gap).reduce(
            min(request.sessions.standard.gap, Self.othersWithinMax)
        ) { min($0, $1) }
        windows = names.map { name in
            request.definitions.last { $0.definition.name == name }.map {
                ($0.definition.window.click.microseconds, $0.definition.window.view.microseconds)
            }
        }
        touches = RowFilter(
            nil, org: request.org, from: Self.bound(earliest), to: Self.bound(until))
        if let definition = request.milestone {
            milestone = RowFilter(
                try definition.filter(now: now), org: request.org,
                apps: definition.app.isEmpty ? [] : [definition.app], to: Self.bound(until))
        } else {
            milestone = nil
        }
    }

    private static func filter(
        _ definition: ConversionDefinition, _ request: LogRunRequest, from: Int64, to: Int64, now: Timestamp
    ) throws(LogAttributionError) -> RowFilter {
        RowFilter(
            try definition.filter(now: now), org: request.org, apps: definition.app.isEmpty ? [] : [definition.app],
            from: bound(from), to: bound(to))
    }

    private static func refunds(
        _ request: LogRunRequest, _ names: [String], now: Timestamp
    ) throws(LogAttributionError) -> [Refund] {
        var found: [Refund] = []
        for (name, text) in names.enumerated() {
            let newest = request.definitions.last { $0.definition.name == text }?.definition
            guard let newest, let rule = newest.refunds else { continue }
            let filter = RowFilter(
                try rule.filter(now: now), org: request.org, apps: newest.app.isEmpty ? [] : [newest.app])
            found.append(Refund(filter: filter, rule: rule, name: name))
        }
        return found
    }

    /// From when on events are read: as far before the range as windows reach, and a session more, so that every
    /// session with a touchpoint in it is seen from its beginning.
    private static func earliest(_ request: LogRunRequest, _ from: Int64) -> Int64 {
        let reach = request.reach.microseconds
        let gaps = request.sessions.apps.values.map(\.gap) + [request.sessions.standard.gap]
        let session = SessionRule.lengthMax + (gaps.max() ?? 0)
        return from < .min + reach + session ? .min : from - reach - session
    }

    private static func bound(_ time: Int64) -> Timestamp? {
        time == .min || time == .max ? nil : Timestamp(microseconds: time)
    }

    func mayHold(_ block: BlockSummary) -> Bool { mayHoldJourneys(block) || mayHoldOrders(block) }

    /// Whether a block may have touches, milestones or conversions.
    func mayHoldJourneys(_ block: BlockSummary) -> Bool {
        touches.mayHold(block) || milestone?.mayHold(block) == true
            || conversions.contains { $0.filter.mayHold(block) }
    }

    /// Whether a block may have refunds, or orders that they are of.
    func mayHoldOrders(_ block: BlockSummary) -> Bool {
        refunds.contains { $0.filter.mayHold(block) } || orders.contains { $0.filter.mayHold(block) }
    }

    /// Whether the run reads the conversion that a refund was found to be of.
    func looksAt(_ refund: LogRecord) -> Bool {
        guard Int(refund.label) < conversions.count else { return false }
        let filter = conversions[Int(refund.label)].filter
        return refund.time >= filter.from && refund.time < filter.to
    }

    /// 0 for a network without windows of its own.
    func networkNumber(_ name: String) -> UInt32 { networks[name.lowercased()] ?? 0 }

    /// Whether a conversion, by its place in `names`, has custom weights under one of its versions, be it one that
    /// begins after the range.
    func isWeighed(_ name: Int) -> Bool {
        request.definitions.contains { $0.definition.name == names[name] && $0.definition.custom != nil }
    }

    /// Microseconds after which the next page of an app begins another session, by the number of the app.
    var sessionGaps: [Int64] {
        (0..<256).map { number in
            let name = apps.text(UInt32(number))
            return (name.map { request.sessions.rule($0) } ?? request.sessions.standard).gap
        }
    }

    /// Apps that were met and take their sessions from the sender.
    var appsOfClients: [String] {
        apps.ranks.indices.compactMap { apps.text(UInt32($0)) }.filter { request.sessions.rule($0).isClients }.sorted()
    }

    /// Millionths in a minor unit of each currency, by its number; 10,000 where there is none.
    var minorUnits: [Int64] { (0...1001).map { Self.minorUnit(of: currencies.text(UInt32($0))) } }

    /// Millionths in a minor unit of a currency; 10,000 where there is none.
    static func minorUnit(of currency: String?) -> Int64 {
        let digits = currency.flatMap { Currency($0) }?.fractionDigits ?? 2
        return (0..<max(0, 6 - digits)).reduce(Int64(1)) { unit, _ in unit * 10 }
    }

    /// Millionths of a currency's unit as minor units, to the nearest, halves away from 0.
    @inline(__always)
    static func minor(_ millionths: Int64, unit: Int64) -> Int64 {
        let (whole, rest) = millionths.quotientAndRemainder(dividingBy: unit)
        let isUp = rest.magnitude &* 2 >= UInt64(unit) && rest != 0
        return isUp ? whole + (millionths < 0 ? -1 : 1) : whole
    }

    /// Adds what matches of installs join to journeys.
    /// - Parameter persons: of these persons alone; nil adds all.
    func addJoined(to spill: inout SpillWriter, of persons: Set<UInt64>? = nil) throws(LogAttributionError) {
        for touch in request.joined {
            guard touch.at.microseconds >= touches.from, touch.at.microseconds < touches.to else { continue }
            // Another look may have barred a touch since its install was decided.
            if request.rejected.mayHold(touch.place.order, touch.place.tail) { continue }
            guard let record = touch.record(self), persons?.contains(record.person) != false else { continue }
            try spill.add(record)
        }
    }
}
