package import AurumCore

/// Bodies of GA4's Measurement Protocol as lines of our own. Source: Google's reference of the protocol.
///
/// The body names the person once, around its events; every event becomes one line that says it itself.
package enum MeasurementBody {
    /// - Throws: `malformedBody` or `unexpectedShape` with the offset in the decoded text, `tooManyEvents`.
    package static func translate(
        _ body: UnsafeRawBufferPointer, limits: EventLimits
    ) throws(CaptureError) -> TranslatedBody {
        guard let start = body.baseAddress?.assumingMemoryBound(to: UInt8.self) else {
            throw .malformedBody(offset: 0)
        }
        var grammar = JSONGrammar(start, end: start + body.count)
        grammar.skipSpace()
        let wanted = "an object with an array named events"
        guard !grammar.isAtEnd else { throw .malformedBody(offset: grammar.cursor - start) }
        guard grammar.peek == 0x7b else {
            throw .unexpectedShape(offset: grammar.cursor - start, wanted: wanted)
        }
        guard let whole = grammar.text() else { throw .malformedBody(offset: grammar.cursor - start) }
        grammar.skipSpace()
        guard grammar.isAtEnd else { throw .malformedBody(offset: grammar.cursor - start) }
        var translator = MeasurementTranslator(limits: limits, capacity: body.count * 2)
        translator.readEnvelope(whole)
        guard let events = translator.envelope.events, events.start.pointee == 0x5b else {
            throw .unexpectedShape(
                offset: (translator.envelope.events?.start ?? whole.start) - start, wanted: wanted)
        }
        try translator.translate(events)
        return translator.result
    }

    /// Messages of the debug route: what capture would refuse, in Google's shape. Empty means that all is well.
    package static func messages(
        _ body: UnsafeRawBufferPointer, limits: EventLimits, receivedAt: Timestamp
    ) -> [JSONValue] {
        let translated: TranslatedBody
        do throws(CaptureError) {
            translated = try translate(body, limits: limits)
        } catch {
            return [message("", error.sentence, "VALUE_INVALID")]
        }
        if translated.events == 0 { return [message("events", "The request has no event.", "VALUE_REQUIRED")] }
        let verdicts = translated.lines.withUnsafeBytes {
            try? ContractChecker(limits: limits).verdicts($0, format: .measurement, receivedAt: receivedAt).get()
        }
        return (verdicts ?? []).enumerated().compactMap { index, verdict in
            guard verdict.outcome == .quarantined else { return nil }
            let code =
                switch verdict.reason {
                case "missing_field", "missing_identifier": "VALUE_REQUIRED"
                case "too_long", "event_too_large", "too_deep", "too_many_keys": "VALUE_OUT_OF_BOUNDS"
                default: "VALUE_INVALID"
                }
            let reason = QuarantineReason.allCases.first { $0.tag == verdict.reason } ?? .none
            return message("events[\(index)].\(verdict.field)", reason.detail, code)
        }
    }

    private static func message(_ path: String, _ description: String, _ code: String) -> JSONValue {
        ["fieldPath": .string(path), "description": .string(description), "validationCode": .string(code)]
    }
}

struct MeasurementTranslator {
    /// What stands around the events.
    struct Envelope {
        var events: JSONText?
        var clientID: JSONText?
        var appInstanceID: JSONText?
        var userID: JSONText?
        var time: JSONText?
        var userProperties: JSONText?
        var consent: JSONText?
        var isNotPersonalised = false
        var address: JSONText?
        var userAgent: JSONText?
        var device: [String: JSONText] = [:]
        var others: [(name: UnsafeBufferPointer<UInt8>, value: JSONText)] = []
    }

    /// How many times the largest body its lines may be.
    static let growthMax = 4
    private let limits: EventLimits
    private var out: LineWriter
    private var body = TranslatedBody()
    private(set) var envelope = Envelope()

    init(limits: EventLimits, capacity: Int) {
        self.limits = limits
        out = LineWriter(capacity: capacity)
    }

    var result: TranslatedBody {
        var result = body
        result.lines = out.bytes
        return result
    }

    mutating func readEnvelope(_ text: JSONText) {
        text.members { name, value in
            if value.isNull { return }
            switch JSONText.decoded(name) {
            case "events": envelope.events = value
            case "client_id": envelope.clientID = value
            case "app_instance_id": envelope.appInstanceID = value
            case "user_id": envelope.userID = value
            case "timestamp_micros": envelope.time = value
            case "user_properties": envelope.userProperties = value
            case "consent": envelope.consent = value
            case "ip_override": envelope.address = value
            case "user_agent": envelope.userAgent = value
            case "device":
                value.members { envelope.device[JSONText.decoded($0)] = $1 }
                envelope.others.append((name, value))
            case "non_personalized_ads":
                envelope.isNotPersonalised = value.isTrue
                envelope.others.append((name, value))
            default: envelope.others.append((name, value))
            }
        }
    }

    mutating func translate(_ events: JSONText) throws(CaptureError) {
        var grammar = JSONGrammar(events.start, end: events.start + events.count)
        var isFirst = true
        grammar.advance()
        while case .element = grammar.nextElement(&isFirst), let event = grammar.text() {
            body.events += 1
            guard body.events <= limits.batchEventsMax else { throw .tooManyEvents }
            if event.isObject, event.count <= limits.eventBytesMax { write(event) } else { out.verbatim(event) }
            // What stands around the events is written into each of them.
            guard out.bytes.count <= limits.bodyBytesMax * Self.growthMax else { throw .bodyTooLarge }
        }
    }

    // MARK: one event

    private mutating func write(_ event: JSONText) {
        var name: JSONText?
        var params: JSONText?
        var time = envelope.time
        var others: [(name: UnsafeBufferPointer<UInt8>, value: JSONText)] = []
        event.members { own, value in
            switch JSONText.decoded(own) {
            case "name": name = value
            case "params": params = value.isNull ? nil : value
            case "timestamp_micros": time = value.isNull ? time : value
            default: others.append((own, value))
            }
        }
        var values: [String: JSONText] = [:]
        params?.members { if !$1.isNull { values[JSONText.decoded($0)] = $1 } }
        let type = Self.type(name?.string ?? "")
        out.begin()
        out.member("type", string: type.name)
        if let name, type != .page, type != .screen { out.member("name", name) }
        if let time { writeTime(time) }
        out.identifier("anonymous_id", envelope.clientID)
        out.identifier("device_id", envelope.appInstanceID)
        out.identifier("user_id", envelope.userID)
        writePage(values)
        writeMoney(values, isSale: type == .conversion)
        writeTraits()
        writeConsent()
        writeContext(values)
        if let params { out.member("props", params) }
        for other in envelope.others + others {
            out.member(own: other.name, prefix: ForeignNames.collides(other.name) ? "ga4_" : "", other.value)
        }
        out.end()
    }

    /// Names that Google reserves. All keep their name; only their type says what they are.
    private static func type(_ name: String) -> EventType {
        switch name {
        case "page_view": .page
        case "screen_view": .screen
        case "purchase", "refund", "sign_up", "generate_lead": .conversion
        default: .track
        }
    }

    private mutating func writeTime(_ time: JSONText) {
        guard let moment = time.string.flatMap({ Int64($0) }).map(Timestamp.init(microseconds:)), moment.isPlausible
        else { return out.member("ts", time) }
        out.member("ts", string: moment.rfc3339)
    }

    private mutating func writePage(_ values: [String: JSONText]) {
        out.copy("url", values["page_location"], bytesMax: 4096)
        out.copy("referrer", values["page_referrer"], bytesMax: 4096)
        out.copy("title", values["page_title"], bytesMax: 512)
        if let screen = values["screen_name"] ?? values["firebase_screen"] { out.copy("screen", screen, bytesMax: 512) }
        if let session = values["session_id"] ?? values["ga_session_id"], session.isNumber || session.isString {
            if session.decodedCount <= ContractLimits.identifierBytes { out.identifier("session_id", session) }
        }
        let campaign = out.open("campaign")
        for (name, parameter) in [
            ("id", "campaign_id"), ("name", "campaign"), ("source", "source"), ("medium", "medium"), ("term", "term"),
            ("content", "content"),
        ] as [(StaticString, String)] {
            out.copy(name, values[parameter], bytesMax: ContractLimits.identifierBytes)
        }
        out.close(campaign)
    }

    /// `value` is money where a currency says so, and in sales, which default to the app's currency. What cannot be
    /// read as money is left for the contract to refuse: it would be missing from every sum and nobody would know.
    private mutating func writeMoney(_ values: [String: JSONText], isSale: Bool) {
        out.copy("order_id", values["transaction_id"], bytesMax: ContractLimits.identifierBytes)
        if let number = values["transaction_id"], number.isNumber { out.identifier("order_id", number) }
        let currency = values["currency"]
        guard let value = values["value"], currency != nil || isSale else { return }
        out.member("value", value)
        if let currency { out.member("currency", currency) }
    }

    /// `{"plan":{"value":"pro"}}` says `{"plan":"pro"}`.
    private mutating func writeTraits() {
        guard let all = envelope.userProperties else { return }
        guard all.isObject else { return out.member("traits", all) }
        let traits = out.open("traits")
        all.members { name, property in
            var value = property
            property.members { if $0.elementsEqual("value".utf8) { value = $1 } }
            out.member(own: name, value)
        }
        out.close(traits)
    }

    private mutating func writeConsent() {
        var states: [String: String] = [:]
        envelope.consent?.members { name, value in states[JSONText.decoded(name)] = value.string?.lowercased() }
        let known: Set<String> = ["granted", "denied"]
        let personal = envelope.isNotPersonalised ? "denied" : states["ad_personalization"]
        let consent = out.open("consent")
        if let ads = states["ad_user_data"], known.contains(ads) { out.member("ads", string: ads) }
        if let personal, known.contains(personal) { out.member("personalisation", string: personal) }
        out.close(consent)
    }

    private mutating func writeContext(_ values: [String: JSONText]) {
        let context = out.open("context")
        let bytesMax = ContractLimits.stringBytesMax
        out.copy("ip", envelope.address, bytesMax: bytesMax)
        out.copy("user_agent", envelope.userAgent, bytesMax: bytesMax)
        out.copy("locale", envelope.device["language"] ?? values["language"], bytesMax: bytesMax)
        out.copy("os", envelope.device["operating_system"], bytesMax: bytesMax)
        out.copy("os_version", envelope.device["operating_system_version"], bytesMax: bytesMax)
        out.copy("device_model", envelope.device["model"], bytesMax: bytesMax)
        out.copy("device_maker", envelope.device["brand"], bytesMax: bytesMax)
        out.close(context)
    }
}
