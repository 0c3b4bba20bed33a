package import AurumCore
internal import Foundation

/// PostHog's bodies as lines of our own. Source: PostHog's client libraries and its capture API.
///
/// Takes one event, an array of events, or `{api_key, batch}`; plain, packed, or as base64 in the form field `data`.
package enum PostHogBody {
    /// - Throws: `malformedBody` with the offset in the decoded text, `tooManyEvents`.
    package static func translate(
        _ body: UnsafeRawBufferPointer, limits: EventLimits, receivedAt: Timestamp
    ) throws(CaptureError) -> TranslatedBody {
        guard let start = body.baseAddress?.assumingMemoryBound(to: UInt8.self) else {
            throw .malformedBody(offset: 0)
        }
        var grammar = JSONGrammar(start, end: start + body.count)
        var translator = PostHogTranslator(limits: limits, receivedAt: receivedAt, capacity: body.count * 5 / 4)
        let isWhole = try translator.document(&grammar)
        grammar.skipSpace()
        guard isWhole, grammar.isAtEnd else { throw .malformedBody(offset: grammar.cursor - start) }
        return translator.result
    }

    /// The JSON text of a body: the form field `data` and gzip undone, whoever announced them or not.
    ///
    /// - Throws: as `BodyEncoding.decode`.
    package static func text(
        _ body: UnsafeRawBufferPointer, limits: EventLimits, bodyBytesMax: Int
    ) throws(CaptureError) -> [UInt8] {
        let encoding = body.starts(with: gzipMagic) ? BodyEncoding.gzip : .identity
        var bytes = try encoding.decode(body, limits: limits, bodyBytesMax: bodyBytesMax)
        if let field = formField(bytes) { bytes = bytesOfField(field) }
        guard bytes.starts(with: gzipMagic) else { return bytes }
        return try BodyEncoding.gzip.decode(bytes, limits: limits, bodyBytesMax: bodyBytesMax)
    }

    private static let gzipMagic: [UInt8] = [0x1f, 0x8b]

    /// The value of `data` in a form, percent escapes resolved; nil when the body is no form.
    private static func formField(_ body: [UInt8]) -> String? {
        guard let first = body.first, first != 0x7b, first != 0x5b else { return nil }
        let text = "?" + String(decoding: body, as: UTF8.self)
        return AdvertisingFacts.parameters(text).first { $0.0 == "data" }?.1
    }

    /// Base64, or the JSON itself. A plus sign that was not escaped has become a space.
    private static func bytesOfField(_ field: String) -> [UInt8] {
        if field.hasPrefix("{") || field.hasPrefix("[") { return Array(field.utf8) }
        let text = field.replacingOccurrences(of: " ", with: "+").replacingOccurrences(of: "-", with: "+")
            .replacingOccurrences(of: "_", with: "/")
        let padding = String(repeating: "=", count: (4 - text.utf8.count % 4) % 4)
        return Data(base64Encoded: text + padding).map { Array($0) } ?? Array(field.utf8)
    }
}

/// One body. Goes over the text once, and once more over the properties of each event.
struct PostHogTranslator {
    private let limits: EventLimits
    private let receivedAt: Timestamp
    private var out: LineWriter
    private var body = TranslatedBody()
    private var found: [JSONText?] = []
    private var properties: [JSONText?] = []
    private var others: [(name: UnsafeBufferPointer<UInt8>, value: JSONText)] = []
    /// A field of the event that was named twice.
    private var repeated: PostHogKeys.Member?

    init(limits: EventLimits, receivedAt: Timestamp, capacity: Int) {
        (self.limits, self.receivedAt) = (limits, receivedAt)
        out = LineWriter(capacity: capacity)
    }

    var result: TranslatedBody {
        var result = body
        result.lines = out.bytes
        return result
    }

    /// The whole body; false where the grammar breaks.
    mutating func document(_ grammar: inout JSONGrammar) throws(CaptureError) -> Bool {
        grammar.skipSpace()
        switch grammar.peek {
        case 0x5b: return try events(&grammar)
        case 0x7b:
            let whole = grammar
            guard let hasBatch = try envelope(&grammar) else { return false }
            if hasBatch { return true }
            grammar = whole
            return try event(&grammar)
        default: return false
        }
    }

    /// The members around the events; whether a `batch` was among them, nil where the grammar breaks.
    private mutating func envelope(_ grammar: inout JSONGrammar) throws(CaptureError) -> Bool? {
        var hasBatch = false
        var isFirst = true
        grammar.advance()
        while true {
            switch grammar.nextName(&isFirst) {
            case .broken: return nil
            case .end: return hasBatch
            case .name(let name):
                let code = PostHogKeys.envelope.code(name)
                if code == PostHogKeys.batch {
                    guard grammar.peek == 0x5b, try events(&grammar) else { return nil }
                    hasBatch = true
                    continue
                }
                guard let value = grammar.text() else { return nil }
                switch code {
                case PostHogKeys.key: body.key = value.string ?? body.key
                case PostHogKeys.sentAt:
                    body.sentAt = value.string.flatMap { Timestamp(rfc3339: ForeignTime.fixed($0)) }
                case PostHogKeys.historical: body.isHistorical = value.isTrue
                default: break
                }
            }
        }
    }

    private mutating func events(_ grammar: inout JSONGrammar) throws(CaptureError) -> Bool {
        var isFirst = true
        grammar.advance()
        while true {
            switch grammar.nextElement(&isFirst) {
            case .broken: return false
            case .end: return true
            case .element: guard try event(&grammar) else { return false }
            }
        }
    }

    // MARK: one event

    private mutating func event(_ grammar: inout JSONGrammar) throws(CaptureError) -> Bool {
        body.events += 1
        guard body.events <= limits.batchEventsMax else { throw .tooManyEvents }
        let start = grammar.cursor
        guard grammar.peek == 0x7b else {
            guard let text = grammar.text() else { return false }
            out.verbatim(text)
            return true
        }
        guard collect(&grammar) else { return false }
        let text = JSONText(start: start, count: grammar.cursor - start)
        if text.count > limits.eventBytesMax { out.verbatim(text) } else { write(text) }
        return true
    }

    private mutating func collect(_ grammar: inout JSONGrammar) -> Bool {
        found = Array(repeating: nil, count: PostHogKeys.Member.allCases.count)
        properties = Array(repeating: nil, count: PostHogKeys.Property.allCases.count)
        others.removeAll(keepingCapacity: true)
        repeated = nil
        var isFirst = true
        grammar.advance()
        while true {
            switch grammar.nextName(&isFirst) {
            case .broken: return false
            case .end:
                lookIntoProperties()
                return true
            case .name(let name):
                guard let value = grammar.text() else { return false }
                let code = PostHogKeys.members.code(name)
                guard code != KeyTable.unknown, let member = PostHogKeys.Member(rawValue: code) else {
                    others.append((name, value))
                    continue
                }
                if found[code] != nil { repeated = member }
                found[code] = value.isNull ? nil : value
            }
        }
    }

    private mutating func lookIntoProperties() {
        let all = self[.properties]
        all?.members { name, value in
            let code = PostHogKeys.properties.code(name)
            if code != KeyTable.unknown { properties[code] = value.isNull ? nil : value }
        }
        if body.key == nil { body.key = (self[.apiKey] ?? self[.token] ?? self[property: .token])?.string }
    }

    private subscript(member: PostHogKeys.Member) -> JSONText? { found[member.rawValue] }
    private subscript(property property: PostHogKeys.Property) -> JSONText? { properties[property.rawValue] }

    private mutating func write(_ text: JSONText) {
        let kind = PostHogKeys.Kind(self[.event])
        out.begin()
        writeID(text)
        out.member("type", literal: kind.type)
        if let event = self[.event], kind == .other { out.member("name", event) }
        writeTime()
        writeIdentifiers(kind)
        writePage(kind)
        writeTraits(kind)
        writeContext()
        writeProperties()
        for other in others {
            out.member(own: other.name, prefix: ForeignNames.collides(other.name) ? "posthog_" : "", other.value)
        }
        // Named twice: the contract refuses the event for it and says which field.
        if let repeated { out.member(repeated.contractName, literal: "null") }
        out.end()
    }

    private mutating func writeID(_ text: JSONText) {
        let id = self[.uuid] ?? self[property: .insertID]
        guard id == nil, self[.timestamp] == nil, offsetMilliseconds != nil else { return out.identifier("id", id) }
        // Its time is counted back from the receipt: the line of a repeated request is another one, its text is not.
        let event = UnsafeBufferPointer(start: text.start, count: text.count)
        out.member("id", string: DerivedID.fromBytes(app: "", index: body.events - 1, event))
    }

    private var offsetMilliseconds: Int64? {
        guard let offset = self[.offset], offset.isNumber else { return nil }
        return DecimalText.integer(offset.start, offset.count, digitsMax: 12)
    }

    private mutating func writeTime() {
        if let sent = self[.sentAt]?.string.map(ForeignTime.fixed), Timestamp(rfc3339: sent) != nil {
            out.member("sent_at", string: sent)
        }
        if let time = self[.timestamp] {
            if !time.isString || ForeignTime.isPlain(time.content) { return out.member("ts", time) }
            return out.member("ts", string: ForeignTime.fixed(time.string ?? ""))
        }
        // How long before sending it happened: counted back from our own clock, which needs no correction.
        guard let milliseconds = offsetMilliseconds else { return }
        out.member("ts", string: (receivedAt - .milliseconds(milliseconds)).rfc3339)
        if self[.sentAt] == nil { out.member("sent_at", string: receivedAt.rfc3339) }
    }

    private mutating func writeIdentifiers(_ kind: PostHogKeys.Kind) {
        let distinct = self[.distinctID] ?? self[property: .distinctID]
        switch kind {
        case .identify:
            out.identifier("user_id", distinct)
            out.identifier("anonymous_id", self[property: .anonymousDistinctID])
        case .alias:
            out.identifier("user_id", self[property: .alias])
            out.identifier("previous_id", distinct)
        default: out.identifier("anonymous_id", distinct)
        }
        if kind == .group { out.identifier("group_id", self[property: .groupKey]) }
        out.copy("session_id", self[property: .sessionID], bytesMax: ContractLimits.identifierBytes)
    }

    private mutating func writePage(_ kind: PostHogKeys.Kind) {
        out.copy("url", self[property: .currentURL], bytesMax: 4096)
        // `$direct` is PostHog's word for no referrer.
        if let referrer = self[property: .referrer], !referrer.content.elementsEqual("$direct".utf8) {
            out.copy("referrer", referrer, bytesMax: 4096)
        }
        out.copy("title", self[property: .title], bytesMax: 512)
        if kind == .screen { out.identifier("screen", self[property: .screenName]) }
    }

    /// `$set` and `$set_once` stand beside the properties or among them.
    private mutating func writeTraits(_ kind: PostHogKeys.Kind) {
        let set = self[.set] ?? self[property: .set]
        if kind == .group, let traits = self[property: .groupSet] { out.member("traits", traits) }
        if kind == .identify, let set { out.member("traits", set) }
        if let set { out.member("traits_set", set) }
        if let once = self[.setOnce] ?? self[property: .setOnce] { out.member("traits_once", once) }
    }

    private mutating func writeContext() {
        let context = out.open("context")
        for (name, property) in PostHogKeys.contextTexts {
            out.copy(name, self[property: property], bytesMax: ContractLimits.stringBytesMax)
        }
        if self[property: .locale] == nil {
            out.copy("locale", self[property: .browserLanguage], bytesMax: ContractLimits.stringBytesMax)
        }
        for (name, property) in [
            ("screen_width", PostHogKeys.Property.screenWidth), ("screen_height", .screenHeight),
        ] as [(StaticString, PostHogKeys.Property)] {
            guard let value = self[property: property], value.isNumber,
                let number = DecimalText.integer(value.start, value.count, digitsMax: 6), number >= 0
            else { continue }
            out.member(name, value)
        }
        out.close(context)
        let campaign = out.open("campaign")
        for (name, property) in PostHogKeys.campaignTexts {
            out.copy(name, self[property: property], bytesMax: ContractLimits.identifierBytes)
        }
        out.close(campaign)
    }

    /// The properties as they came, but for the write key that the browser's library puts there.
    private mutating func writeProperties() {
        guard let all = self[.properties] else { return }
        guard let token = self[property: .token], ForeignCredential.isOne(token) else {
            return out.member("props", all)
        }
        let props = out.open("props")
        all.members { name, value in
            if value.start != token.start { out.member(own: name, value) }
        }
        out.close(props)
    }
}
