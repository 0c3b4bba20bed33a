#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Turns one body into rows of a block: splits it, parses each event, decides its outcome.
///
/// A value for the length of one call; everything it works on belongs to the shard.
struct BodyReader {
    private var request: PendingRequest
    private let keys: IdentityKeys
    private let limits: EventLimits
    private let eventBytesMax: Int
    private var rules: ContractRules
    private let lateness: Int64
    private var events = 0

    init(request: PendingRequest, keys: IdentityKeys, limits: EventLimits) {
        self.request = request
        self.keys = keys
        self.limits = limits
        eventBytesMax = request.format == .internalEvents ? limits.internalEventBytesMax : limits.eventBytesMax
        lateness = request.policy?.latenessMicroseconds ?? ContractLimits.latenessMicroseconds
        rules = ContractRules(
            flavour: request.format.flavour, impliedType: request.format.impliedType, receivedAt: request.receivedAt,
            isHistorical: request.isHistorical)
    }

    /// Adds the rows of `body` and the request; on an error the block is as it was.
    mutating func read(
        _ body: UnsafeRawBufferPointer, _ parser: inout EventParser, _ bots: inout BotPatterns,
        _ padded: inout RawBytes, _ block: inout BlockContent
    ) -> CaptureError? {
        let mark = block.mark
        request.firstRow = block.rowCount
        let error: CaptureError?
        if request.format == .ndjson || request.format == .internalEvents {
            error = readLines(body, &parser, &bots, &padded, &block)
        } else {
            error = readDocument(body, &parser, &bots, &padded, &block)
        }
        padded.reset(keeping: 1 << 20)
        if let error = error ?? (request.policy?.isQuarantineFull == true ? .quarantineFull : nil) {
            request.policy?.giveUp()
            block.takeBack(to: mark)
            return error
        }
        request.rowCount = block.rowCount - request.firstRow
        request.envelopeSentAt = rules.envelopeSentAt
        block.requests.append(request)
        return nil
    }

    // MARK: one event a line

    /// Lines far enough from the end are parsed where they are; the last ones are copied to where padding follows.
    private mutating func readLines(
        _ body: UnsafeRawBufferPointer, _ parser: inout EventParser, _ bots: inout BotPatterns,
        _ padded: inout RawBytes, _ block: inout BlockContent
    ) -> CaptureError? {
        guard let start = body.baseAddress?.assumingMemoryBound(to: UInt8.self), body.count > 0 else { return nil }
        parser.newlineIsSpace = false
        let isASCII = ByteScan.isASCII(start, body.count)
        var split = max(0, body.count - ByteScan.padding)
        while split > 0, start[split - 1] != 0x0a { split -= 1 }
        if let error = lines(start, start + split, isASCII, &parser, &bots, &block) { return error }
        padded.append(start + split, body.count - split)
        padded.append([0x0a] + [UInt8](repeating: 0, count: ByteScan.padding))
        let tail = UnsafePointer(padded.base.assumingMemoryBound(to: UInt8.self))
        return lines(tail, tail + (body.count - split + 1), isASCII, &parser, &bots, &block)
    }

    /// `end` follows a line end.
    private mutating func lines(
        _ start: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>, _ isASCII: Bool, _ parser: inout EventParser,
        _ bots: inout BotPatterns, _ block: inout BlockContent
    ) -> CaptureError? {
        var line = start
        while line < end {
            var first = line
            while first.pointee == 0x20 || first.pointee == 0x09 || first.pointee == 0x0d { first += 1 }
            if first.pointee == 0x0a {
                line = first + 1
                continue
            }
            if let error = countEvent() { return error }
            if let close = parser.parse(first, base: start) {
                var next = close
                while next.pointee == 0x20 || next.pointee == 0x09 || next.pointee == 0x0d { next += 1 }
                if next.pointee == 0x0a, close - first <= eventBytesMax,
                    isASCII || ByteScan.isUTF8(first, close - first)
                {
                    accept(first, close - first, &parser, &bots, &block)
                    line = next + 1
                    continue
                }
            }
            line = quarantineLine(first, end, &parser, &block)
        }
        return nil
    }

    private mutating func countEvent() -> CaptureError? {
        events &+= 1
        return events > limits.batchEventsMax ? .tooManyEvents : nil
    }

    @inline(never)
    private mutating func quarantineLine(
        _ start: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>, _ parser: inout EventParser,
        _ block: inout BlockContent
    ) -> UnsafePointer<UInt8> {
        let found = memchr(start, 0x0a, end - start)
        let lineEnd = found.map { UnsafePointer($0.assumingMemoryBound(to: UInt8.self)) } ?? end
        var last = lineEnd
        while last > start, last[-1] == 0x20 || last[-1] == 0x09 || last[-1] == 0x0d { last -= 1 }
        diagnose(start, last - start, &parser, &block)
        return lineEnd + 1
    }

    /// Decides why an event that the parser refused, or that is too large or not UTF-8, is quarantined.
    private mutating func diagnose(
        _ start: UnsafePointer<UInt8>, _ count: Int, _ parser: inout EventParser, _ block: inout BlockContent
    ) {
        var reason = parser.reason
        var field = parser.field
        if count > eventBytesMax {
            (reason, field) = (.eventTooLarge, .event)
        } else if !ByteScan.isUTF8(start, count) {
            (reason, field) = (.badUnicode, .event)
        } else if reason == .none || !JSONGrammar.isObject(start, end: start + count) {
            (reason, field) = (.notJSON, .event)
        }
        quarantine(start, count, reason, field, &block)
    }

    // MARK: documents

    private mutating func readDocument(
        _ body: UnsafeRawBufferPointer, _ parser: inout EventParser, _ bots: inout BotPatterns,
        _ padded: inout RawBytes, _ block: inout BlockContent
    ) -> CaptureError? {
        guard let source = body.baseAddress, body.count > 0 else { return .malformedBody(offset: 0) }
        padded.append(source, body.count)
        padded.append([UInt8](repeating: 0, count: ByteScan.padding))
        let start = UnsafePointer(padded.base.assumingMemoryBound(to: UInt8.self))
        let end = start + body.count
        parser.newlineIsSpace = true
        var grammar = JSONGrammar(start, end: end)
        if request.format == .segmentBatch {
            var offset = 0
            guard let scan = SegmentEnvelope.scan(body, failedAt: &offset) else {
                return .malformedBody(offset: offset)
            }
            guard let batch = scan.batchOffset else { return .malformedBody(offset: 0) }
            rules.envelopeSentAt = scan.sentAt
            grammar = JSONGrammar(start + batch, end: end)
            guard grammar.peek == 0x5b else { return .malformedBody(offset: batch) }
            return elements(&grammar, start, end, &parser, &bots, &block)
        }
        grammar.skipSpace()
        let error: CaptureError?
        switch grammar.peek {
        case 0x5b where request.format == .json: error = elements(&grammar, start, end, &parser, &bots, &block)
        case 0x7b: error = element(&grammar, start, end, &parser, &bots, &block)
        default: return .malformedBody(offset: grammar.cursor - start)
        }
        if let error { return error }
        grammar.skipSpace()
        return grammar.isAtEnd ? nil : .malformedBody(offset: grammar.cursor - start)
    }

    private mutating func elements(
        _ grammar: inout JSONGrammar, _ start: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>,
        _ parser: inout EventParser, _ bots: inout BotPatterns, _ block: inout BlockContent
    ) -> CaptureError? {
        grammar.advance()
        grammar.skipSpace()
        if grammar.take(0x5d) { return nil }
        while true {
            if let error = element(&grammar, start, end, &parser, &bots, &block) { return error }
            grammar.skipSpace()
            if grammar.take(0x5d) { return nil }
            guard grammar.take(0x2c) else { return .malformedBody(offset: grammar.cursor - start) }
            grammar.skipSpace()
        }
    }

    /// One event of a document. A contract violation quarantines it; broken grammar refuses the body.
    private mutating func element(
        _ grammar: inout JSONGrammar, _ start: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>,
        _ parser: inout EventParser, _ bots: inout BotPatterns, _ block: inout BlockContent
    ) -> CaptureError? {
        if let error = countEvent() { return error }
        let first = grammar.cursor
        if let close = parser.parse(first, base: start), close <= end, close - first <= eventBytesMax,
            ByteScan.isUTF8(first, close - first)
        {
            accept(first, close - first, &parser, &bots, &block)
            grammar = JSONGrammar(close, end: end)
            return nil
        }
        guard grammar.skipValue() else { return .malformedBody(offset: grammar.cursor - start) }
        diagnose(first, grammar.cursor - first, &parser, &block)
        return nil
    }
}

/// From a parsed event to a row.
extension BodyReader {
    @inline(__always)
    fileprivate mutating func accept(
        _ start: UnsafePointer<UInt8>, _ count: Int, _ parser: inout EventParser, _ bots: inout BotPatterns,
        _ block: inout BlockContent
    ) {
        guard parser.conclude(rules) else {
            quarantine(start, count, parser.reason, parser.field, &block)
            return
        }
        let isBot = parser.has(.userAgent) && isBot(&parser, &bots)
        switch request.policy?.judge(&parser, start, count, index: block.rowCount - request.firstRow) {
        case nil, .asIs: append(start, count, &parser, isBot, flags: 0, &block)
        case .rewrite(let text, let flags, let isMarked):
            append(text, instead: start, count, &parser, isBot || isMarked, flags, &block)
        case .quarantine(let reason, let field): quarantine(start, count, reason, field, &block)
        }
    }

    /// The same for a text that the policy made of the event: parsed again, since every place in it has moved.
    @inline(never)
    private mutating func append(
        _ text: [UInt8], instead start: UnsafePointer<UInt8>, _ count: Int, _ parser: inout EventParser, _ isBot: Bool,
        _ flags: UInt16, _ block: inout BlockContent
    ) {
        var padded = text
        padded.append(contentsOf: repeatElement(0, count: ByteScan.padding))
        padded.withUnsafeBufferPointer { buffer in
            guard let first = buffer.baseAddress, parser.parse(first, base: first) == first + text.count,
                parser.conclude(rules)
            else { return quarantine(start, count, parser.reason, parser.field, &block) }
            append(first, text.count, &parser, isBot, flags: flags, &block)
        }
    }

    @inline(__always)
    private mutating func append(
        _ start: UnsafePointer<UInt8>, _ count: Int, _ parser: inout EventParser, _ isBot: Bool, flags: UInt16,
        _ block: inout BlockContent
    ) {
        var row = BlockContent.Row()
        row.type = UInt8(truncatingIfNeeded: parser.type)
        row.time = parser.moment
        row.flags = flags | (parser.isShifted ? RowLayout.Flag.shifted : 0)
        row.name = nameHash(&parser)
        persons(&parser, &row)
        if isBot {
            row.outcome = .bot
        } else if rules.receivedAt &- row.time > lateness, !rules.isHistorical, rules.flavour != .internal {
            row.outcome = .late
        }
        if TouchRule.mayTouch(parser.type) { touch(&parser, &row, &block) }
        guard parser.isFilled(.id) else {
            acceptWithoutID(start, count, &parser, &row, &block)
            return
        }
        let (id, idCount) = parser.decoded(parser.slice(.id))
        row.id = keys.event(id, idCount)
        block.append(row, raw: start, count: count, id: id, idCount: idCount)
    }

    /// No id: one derived from the bytes when the event has a time of its own, else one that is never a duplicate.
    @inline(never)
    private mutating func acceptWithoutID(
        _ start: UnsafePointer<UInt8>, _ count: Int, _ parser: inout EventParser, _ row: inout BlockContent.Row,
        _ block: inout BlockContent
    ) {
        let index = block.rowCount - request.firstRow
        let id: String
        if parser.has(.timestamp) || parser.has(.originalTimestamp) {
            row.flags |= RowLayout.Flag.derivedID
            id = DerivedID.fromBytes(app: request.app, index: index, UnsafeBufferPointer(start: start, count: count))
        } else {
            row.flags |= RowLayout.Flag.serverID
            id = DerivedID.ofServer(nonce: request.nonce, index: index)
        }
        row.id = keys.event(id: id)
        let text = Array(id.utf8)
        text.withUnsafeBytes { bytes in
            guard let first = bytes.baseAddress else { return }
            block.append(row, raw: start, count: count, id: first, idCount: bytes.count)
        }
    }

    @inline(__always)
    private func nameHash(_ parser: inout EventParser) -> UInt32 {
        if parser.isFilled(.name) {
            let (bytes, count) = parser.decoded(parser.slice(.name))
            return NameHash.of(bytes, count)
        }
        return NameHash.ofType(parser.type)
    }

    private func isBot(_ parser: inout EventParser, _ bots: inout BotPatterns) -> Bool {
        let (bytes, count) = parser.decoded(parser.slice(.userAgent))
        return bots.isBot(bytes, count)
    }

    /// Person key: first present of user, device, anonymous, click, id. Trace: its own, else of the first of user,
    /// anonymous and device.
    @inline(__always)
    private func persons(_ parser: inout EventParser, _ row: inout BlockContent.Row) {
        var person: (high: UInt64, low: UInt64) = (0, 0)
        var traced: (high: UInt64, low: UInt64) = (0, 0)
        if parser.isFilled(.userID) {
            person = hash(&parser, .user, .userID)
            traced = person
        } else if parser.isFilled(.deviceID) || parser.isFilled(.contextDeviceID) {
            person = hash(&parser, .device, parser.isFilled(.deviceID) ? .deviceID : .contextDeviceID)
            traced = parser.isFilled(.anonymousID) ? hash(&parser, .anonymous, .anonymousID) : person
        } else if parser.isFilled(.anonymousID) {
            person = hash(&parser, .anonymous, .anonymousID)
            traced = person
        } else if parser.isFilled(.clickID) {
            person = hash(&parser, .click, .clickID)
            traced = person
        } else if parser.isFilled(.id) {
            person = hash(&parser, .event, .id)
            traced = person
        }
        row.person = person.high
        if parser.has(.traceID) {
            row.flags |= RowLayout.Flag.ownTrace
            row.trace = IdentityKeys.traceHash(parser.traceID)
        } else {
            row.trace = IdentityKeys.traceHash(keys.trace(ofPerson: traced))
        }
    }

    @inline(__always)
    private func hash(
        _ parser: inout EventParser, _ namespace: PersonIdentifier.Namespace, _ field: EventField
    ) -> (high: UInt64, low: UInt64) {
        let (bytes, count) = parser.decoded(parser.slice(field))
        return keys.person(namespace, bytes, count)
    }

    @inline(never)
    private func touch(_ parser: inout EventParser, _ row: inout BlockContent.Row, _ block: inout BlockContent) {
        guard let kind = TouchRule.kind(parser) else { return }
        row.flags |= RowLayout.Flag.touch
        func key(_ namespace: PersonIdentifier.Namespace, _ field: EventField) -> UInt64 {
            parser.isFilled(field) ? hash(&parser, namespace, field).high : 0
        }
        let device = parser.isFilled(.deviceID) ? EventField.deviceID : .contextDeviceID
        block.appendTouch(
            kind: kind.rawValue, trace: row.trace, anonymous: key(.anonymous, .anonymousID), user: key(.user, .userID),
            device: key(.device, device), click: key(.click, .clickID))
    }

    @inline(never)
    fileprivate mutating func quarantine(
        _ start: UnsafePointer<UInt8>, _ count: Int, _ reason: QuarantineReason, _ field: EventField,
        _ block: inout BlockContent
    ) {
        var row = BlockContent.Row()
        row.time = rules.receivedAt
        row.outcome = .quarantined
        row.reason = reason
        row.field = field
        let id = DerivedID.salvaged(from: UnsafeBufferPointer(start: start, count: min(count, limits.eventBytesMax)))
        if let id { row.id = keys.event(id: id) }
        let shown = Array((id ?? "").utf8) + [0]
        var kept = Array(UnsafeBufferPointer(start: start, count: count))
        if let policy = request.policy {
            guard let sealed = kept.withUnsafeBufferPointer({ policy.quarantineText($0, id: id) }) else { return }
            kept = sealed
        }
        shown.withUnsafeBytes { id in
            kept.withUnsafeBytes { raw in
                guard let id = id.baseAddress, let raw = raw.baseAddress else { return }
                block.append(row, raw: raw, count: kept.count, id: id, idCount: shown.count - 1)
            }
        }
    }
}
