internal import AurumCore
internal import Synchronization

/// What the policy says of one event.
enum PolicyVerdict {
    case asIs
    /// The log gets this text instead. `flags` are those of the row.
    case rewrite([UInt8], flags: UInt8, isBot: Bool)
    case quarantine(QuarantineReason, EventField)
}

/// The policy of an app for the events of one request. Confined to the thread that parses the request until its answer.
final class RequestPolicy: @unchecked Sendable {  // confined as said above
    private let policies: EventPolicies
    private let app: AppState
    private let hasGPC: Bool
    /// Sent by a page and not by a server: bots are looked for.
    private let isBrowser: Bool
    /// Whether clients put traits and addresses into the properties of any event.
    private let repeatsTraits: Bool
    private let keys: IdentityKeys
    private let plan: CompiledPlan?
    /// Whether an event that breaks the plan is quarantined, and not only marked.
    private let refuses: Bool
    private let receivedAt: Int64
    private var changes: [ConsentChange] = []
    /// Bytes that this request has put into the quarantine.
    private var quarantined = 0
    private(set) var isQuarantineFull = false

    private static let dayMicroseconds: Int64 = 86_400_000_000

    init(
        _ policies: EventPolicies, app: AppState, source: CaptureSource, format: WireFormat, receivedAt: Int64,
        keys: IdentityKeys, plan: CompiledPlan?, refuses: Bool
    ) {
        (self.policies, self.app, self.receivedAt) = (policies, app, receivedAt)
        (hasGPC, isBrowser) = (source.hasGPC, source.isBrowser)
        repeatsTraits = format == .postHog
        (self.keys, self.plan, self.refuses) = (keys, plan, refuses)
    }

    var settings: AppSettings { app.settings }
    /// The version of the plan that events are held against; nil without one.
    var planVersion: Int? { plan?.version }
    var latenessMicroseconds: Int64 { Int64(app.settings.latenessHours) * 3_600_000_000 }

    /// Judges one event that the contract has accepted.
    ///
    /// - Parameter index: place of the event in its request.
    func judge(
        _ parser: inout EventParser, _ start: UnsafePointer<UInt8>, _ count: Int, _ rules: ContractRules, index: Int
    ) -> PolicyVerdict {
        var warning: PlanViolation?
        if let plan {
            Self.readAgain(&parser, start, rules)
            warning = plan.check(&parser)
            if refuses, let violation = warning { return .quarantine(violation.rule.reason, .props) }
        }
        let bots = isBrowser || policies.datacentres != nil ? botReasons(&parser, start, count) : []
        let consent = consent(&parser)
        let isPersonal = EventRewrite.isNeeded(&parser, app.personalKeys) || repeatsTraits
        if warning == nil, consent == nil, !isPersonal, bots.isEmpty { return .asIs }
        Self.readAgain(&parser, start, rules)
        return rewrite(&parser, start, count, index, warning, consent, bots)
    }

    /// Lets the parser itself read an event that was known by its form: only it says where every part stands.
    @inline(never)
    private static func readAgain(
        _ parser: inout EventParser, _ start: UnsafePointer<UInt8>, _ rules: ContractRules
    ) {
        _ = parser.parse(start, base: parser.base)
        _ = parser.conclude(rules)
    }

    /// What speaks against a person, beside the user agent.
    @inline(never)
    private func botReasons(
        _ parser: inout EventParser, _ start: UnsafePointer<UInt8>, _ count: Int
    ) -> [BotReason] {
        var reasons: [BotReason] = []
        var rewrite = rewriting(parser, start, count)
        if isBrowser {
            reasons = rewrite.signals(&parser)
            if let person = persons(&parser).first, policies.rates.isOver(person, at: receivedAt) {
                reasons.append(.rate)
            }
        }
        if let ranges = policies.datacentres, parser.has(.ip),
            let address = NetworkAddress.cut(rewrite.text(&parser, .ip))?.address, ranges.holds(address)
        {
            reasons.append(.datacentreIP)
        }
        return reasons
    }

    private func rewriting(_ parser: EventParser, _ start: UnsafePointer<UInt8>, _ count: Int) -> EventRewrite {
        EventRewrite(
            raw: UnsafeBufferPointer(start: start, count: count), shift: start - parser.base, org: app.org,
            keys: app.personalKeys, sealer: policies.sealer, day: Int(receivedAt / Self.dayMicroseconds))
    }

    @inline(never)
    private func rewrite(
        _ parser: inout EventParser, _ start: UnsafePointer<UInt8>, _ count: Int, _ index: Int,
        _ warning: PlanViolation?, _ consent: ConsentState?, _ bots: [BotReason]
    ) -> PolicyVerdict {
        var rewrite = rewriting(parser, start, count)
        if consent?.analytics == .denied {
            rewrite.makeAnonymous(&parser)
        } else {
            rewrite.makePrivate(&parser)
        }
        if let consent { rewrite.stamp(consent, &parser) }
        if let warning, let plan {
            rewrite.edits.add("plan_warning", JSONValue.quoted("\(warning.rule.rawValue) \(warning.path)"))
            rewrite.edits.add("plan_version", String(plan.version))
        }
        if !bots.isEmpty {
            rewrite.edits.add("bot_reasons", JSONValue.array(bots.map { .string($0.rawValue) }).canonical)
        }
        if rewrite.edits.isEmpty { return .asIs }
        if !parser.isFilled(.id), parser.has(.timestamp) || parser.has(.originalTimestamp) {
            // Derived from what was sent: the same request sent again gives the same id.
            let id = DerivedID.fromBytes(app: app.app, index: index, rewrite.raw)
            rewrite.put("messageId", ["id"], "\"\(id)\"", field: .id, &parser)
        }
        return .rewrite(
            rewrite.edits.applied(to: rewrite.raw), flags: warning == nil ? 0 : BlockContent.Flag.planWarning,
            isBot: BotVerdict(bots) == .bot)
    }

    // MARK: consent

    /// The consent that counts, where the event does not say it itself; nil when there is nothing to write.
    @inline(__always)
    private func consent(_ parser: inout EventParser) -> ConsentState? {
        let isChange = parser.type == Int(EventType.consent.rawValue)
        if !hasGPC, !isChange, !parser.has(.consent), policies.consents.isEmpty,
            app.settings.defaultConsent.isSilent
        {
            return nil
        }
        return settled(&parser, isChange)
    }

    @inline(never)
    private func settled(_ parser: inout EventParser, _ isChange: Bool) -> ConsentState? {
        let own = parser.ownConsent()
        var browser = ConsentState()
        browser.gpc = hasGPC
        var all = own.mostRestrictive(with: browser).mostRestrictive(with: app.settings.defaultConsent)
        if isChange || !policies.consents.isEmpty {
            let persons = persons(&parser)
            if isChange {
                let change = ConsentChange(
                    persons: persons, state: own.mostRestrictive(with: browser), at: parser.moment)
                policies.consents.apply(change, org: app.org)
                changes.append(change)
            }
            if let last = policies.consents.state(org: app.org, persons: persons) {
                all = all.mostRestrictive(with: last)
            }
        }
        return all == own && all.analytics != .denied ? nil : all
    }

    /// Keyed hashes of the person's identifiers.
    private func persons(_ parser: inout EventParser) -> [UInt64] {
        let fields: [(EventField, PersonIdentifier.Namespace)] = [
            (.userID, .user), (.anonymousID, .anonymous), (.deviceID, .device), (.contextDeviceID, .device),
        ]
        return fields.compactMap { field, namespace in
            guard parser.isFilled(field) else { return nil }
            let (bytes, count) = parser.decoded(parser.slice(field))
            return keys.person(namespace, bytes, count).high
        }
    }

    /// Calls `done` when what the request decided is as durable as its events.
    func settling(
        _ done: @escaping @Sendable (Result<Receipt, CaptureError>) -> Void
    ) -> @Sendable (Result<Receipt, CaptureError>) -> Void {
        { [self] result in
            guard case .success = result else {
                policies.quota.leave(quarantined)
                return done(result)
            }
            if changes.isEmpty { return done(result) }
            policies.consents.save(changes, org: app.org) { isDurable in
                // Sent again, the events are duplicates and the decision is taken again.
                done(isDurable ? result : .failure(.overloaded))
            }
        }
    }

    // MARK: quarantine

    /// The text that the log keeps of an event that is quarantined; nil when there is no room, and the whole request
    /// must be refused.
    func quarantineText(_ raw: UnsafeBufferPointer<UInt8>, id: String?) -> [UInt8]? {
        let place = SealedPlace(org: app.org, field: SealedQuarantine.field)
        var members: [String] = []
        if let id { members.append("\"id\":\(JSONValue.quoted(policies.storedForm(id, org: app.org)))") }
        if let plan { members.append("\"plan_version\":\(plan.version)") }
        if hasGPC { members.append("\"gpc\":true") }
        members.append("\"sealed\":\"\(policies.sealer.seal(Array(raw), place))\"")
        let text = Array("{\(members.joined(separator: ","))}".utf8)
        guard policies.quota.enter(text.count) else {
            isQuarantineFull = true
            return nil
        }
        quarantined += text.count
        return text
    }

    /// Takes back what a request counted that is refused.
    func giveUp() {
        policies.quota.leave(quarantined)
        quarantined = 0
        changes = []
    }
}

/// The text of a quarantined event in the log: its id, what its request said, and the sealed bytes.
struct SealedQuarantine {
    static let field = "quarantine"
    private static let members: Set<String> = ["id", "plan_version", "gpc", "sealed"]

    /// The bytes as they were sent; nil when the key that sealed them is gone.
    var raw: [UInt8]?
    /// The plan it was held against.
    var planVersion: Int?
    var hasGPC = false

    /// - Parameter text: what the log keeps; events from before sealing are themselves.
    init(_ text: [UInt8], org: String, sealer: any PersonalFieldSealer) {
        raw = text
        guard let members = try? text.withUnsafeBufferPointer({ try JSONReader.object($0) }),
            let sealed = members["sealed"]?.string, sealed.hasPrefix(InstallationKeySealer.prefix),
            Self.members.isSuperset(of: members.keys)
        else { return }
        raw = sealer.open(sealed, SealedPlace(org: org, field: Self.field))
        planVersion = members["plan_version"]?.integer.map { Int($0) }
        hasGPC = members["gpc"]?.bool ?? false
    }
}
