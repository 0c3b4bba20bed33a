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
            envelopeSentAt: request.envelopeSentAt, isHistorical: request.isHistorical)
    }

    /// Adds the rows of `body` and the request; on an error the block is as it was.
    mutating func read(
        _ body: UnsafeRawBufferPointer, _ shard: inout ShardTools, _ block: inout BlockContent
    ) -> CaptureError? {
        block.setMark()
        request.firstRow = block.rowCount
        let error: CaptureError?
        if request.format.isLines {
            error = readLines(body, &shard, &block)
        } else {
            error = readDocument(body, &shard, &block)
        }
        shard.padded.reset(keeping: 1 << 20)
        if let error = error ?? (request.policy?.isQuarantineFull == true ? .quarantineFull : nil) {
            request.policy?.giveUp()
            block.takeBack()
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
        _ body: UnsafeRawBufferPointer, _ shard: inout ShardTools, _ block: inout BlockContent
    ) -> CaptureError? {
        guard let start = body.baseAddress?.assumingMemoryBound(to: UInt8.self), body.count > 0 else { return nil }
        shard.parser.newlineIsSpace = false
        let isASCII = ByteScan.isASCII(start, body.count)
        var split = max(0, body.count - ByteScan.padding)
        while split > 0, start[split - 1] != 0x0a { split -= 1 }
        if let error = lines(start, start + split, isASCII, &shard, &block) { return error }
        shard.padded.append(start + split, body.count - split)
        shard.padded.append([0x0a] + [UInt8](repeating: 0, count: ByteScan.padding))
        let tail = UnsafePointer(shard.padded.base.assumingMemoryBound(to: UInt8.self))
        return lines(tail, tail + (body.count - split + 1), isASCII, &shard, &block)
    }

    /// `end` follows a line end.
    private mutating func lines(
        _ start: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>, _ isASCII: Bool, _ shard: inout ShardTools,
        _ block: inout BlockContent
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
            if let (close, ending) = shard.parse(first, base: start) {
                var next = close
                while next.pointee == 0x20 || next.pointee == 0x09 || next.pointee == 0x0d { next += 1 }
                if next.pointee == 0x0a, close - first <= eventBytesMax,
                    isASCII || ByteScan.isUTF8(first, close - first)
                {
                    accept(first, close - first, ending, &shard, &block)
                    line = next + 1
                    continue
                }
            }
            line = quarantineLine(first, end, &shard, &block)
        }
        return nil
    }

    private mutating func countEvent() -> CaptureError? {
        events &+= 1
        return events > limits.batchEventsMax ? .tooManyEvents : nil
    }

    @inline(never)
    private mutating func quarantineLine(
        _ start: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>, _ shard: inout ShardTools,
        _ block: inout BlockContent
    ) -> UnsafePointer<UInt8> {
        let found = memchr(start, 0x0a, end - start)
        let lineEnd = found.map { UnsafePointer($0.assumingMemoryBound(to: UInt8.self)) } ?? end
        var last = lineEnd
        while last > start, last[-1] == 0x20 || last[-1] == 0x09 || last[-1] == 0x0d { last -= 1 }
        diagnose(start, last - start, &shard, &block)
        return lineEnd + 1
    }

    /// Decides why an event that the parser refused, or that is too large or not UTF-8, is quarantined.
    private mutating func diagnose(
        _ start: UnsafePointer<UInt8>, _ count: Int, _ shard: inout ShardTools, _ block: inout BlockContent
    ) {
        var reason = shard.parser.reason
        var field = shard.parser.field
        if count > eventBytesMax {
            (reason, field) = (.eventTooLarge, .event)
        } else if !ByteScan.isUTF8(start, count) {
            (reason, field) = (.badUnicode, .event)
        } else if reason == .none || !JSONGrammar.isObject(start, end: start + count) {
            (reason, field) = (.notJSON, .event)
        }
        quarantine(start, count, reason, field, &shard, &block)
    }

    // MARK: documents

    private mutating func readDocument(
        _ body: UnsafeRawBufferPointer, _ shard: inout ShardTools, _ block: inout BlockContent
    ) -> CaptureError? {
        guard let source = body.baseAddress, body.count > 0 else { return .malformedBody(offset: 0) }
        shard.padded.append(source, body.count)
        shard.padded.append([UInt8](repeating: 0, count: ByteScan.padding))
        let start = UnsafePointer(shard.padded.base.assumingMemoryBound(to: UInt8.self))
        let end = start + body.count
        shard.parser.newlineIsSpace = true
        var grammar = JSONGrammar(start, end: end)
        if request.format.isBatch {
            var offset = 0
            let wanted = "an object with an array named batch"
            grammar.skipSpace()
            let first = grammar.cursor - start
            guard let scan = SegmentEnvelope.scan(body, failedAt: &offset) else {
                let isObject = grammar.peek == 0x7b || grammar.isAtEnd
                return isObject ? .malformedBody(offset: offset) : .unexpectedShape(offset: first, wanted: wanted)
            }
            guard let batch = scan.batchOffset else { return .unexpectedShape(offset: first, wanted: wanted) }
            rules.envelopeSentAt = scan.sentAt
            grammar = JSONGrammar(start + batch, end: end)
            guard grammar.peek == 0x5b else { return .unexpectedShape(offset: batch, wanted: wanted) }
            return elements(&grammar, start, end, &shard, &block)
        }
        grammar.skipSpace()
        let error: CaptureError?
        switch grammar.peek {
        case 0x5b where request.format == .json: error = elements(&grammar, start, end, &shard, &block)
        case 0x7b: error = element(&grammar, start, end, &shard, &block)
        case 0x5b: return .unexpectedShape(offset: grammar.cursor - start, wanted: "one event, an object")
        default: return .malformedBody(offset: grammar.cursor - start)
        }
        if let error { return error }
        grammar.skipSpace()
        return grammar.isAtEnd ? nil : .malformedBody(offset: grammar.cursor - start)
    }

    private mutating func elements(
        _ grammar: inout JSONGrammar, _ start: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>,
        _ shard: inout ShardTools, _ block: inout BlockContent
    ) -> CaptureError? {
        grammar.advance()
        grammar.skipSpace()
        if grammar.take(0x5d) { return nil }
        while true {
            if let error = element(&grammar, start, end, &shard, &block) { return error }
            grammar.skipSpace()
            if grammar.take(0x5d) { return nil }
            guard grammar.take(0x2c) else { return .malformedBody(offset: grammar.cursor - start) }
            grammar.skipSpace()
        }
    }

    /// One event of a document. A contract violation quarantines it; broken grammar refuses the body.
    private mutating func element(
        _ grammar: inout JSONGrammar, _ start: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>,
        _ shard: inout ShardTools, _ block: inout BlockContent
    ) -> CaptureError? {
        if let error = countEvent() { return error }
        let first = grammar.cursor
        if let (close, ending) = shard.parse(first, base: start), close <= end, close - first <= eventBytesMax,
            ByteScan.isUTF8(first, close - first)
        {
            accept(first, close - first, ending, &shard, &block)
            grammar = JSONGrammar(close, end: end)
            return nil
        }
        guard grammar.skipValue() else { return .malformedBody(offset: grammar.cursor - start) }
        diagnose(first, grammar.cursor - first, &shard, &block)
        return nil
    }
}

/// From a parsed event to a row.
extension BodyReader {
    @inline(__always)
    fileprivate mutating func accept(
        _ start: UnsafePointer<UInt8>, _ count: Int, _ ending: Int, _ shard: inout ShardTools,
        _ block: inout BlockContent
    ) {
        guard shard.parser.conclude(rules) else {
            quarantine(start, count, shard.parser.reason, shard.parser.field, &shard, &block)
            return
        }
        let isBot = shard.parser.has(.userAgent) && isBot(&shard)
        switch request.policy?.judge(&shard.parser, start, count, rules, index: block.rowCount - request.firstRow) {
        case nil, .asIs: append(start, count, ending, isBot, flags: 0, &shard, &block)
        case .rewrite(let text, let flags, let isMarked):
            append(text, instead: start, count, isBot || isMarked, flags, &shard, &block)
        case .quarantine(let reason, let field): quarantine(start, count, reason, field, &shard, &block)
        }
    }

    /// The same for a text that the policy made of the event: parsed again, since every place in it has moved.
    @inline(never)
    private mutating func append(
        _ text: [UInt8], instead start: UnsafePointer<UInt8>, _ count: Int, _ isBot: Bool, _ flags: UInt8,
        _ shard: inout ShardTools, _ block: inout BlockContent
    ) {
        var padded = text
        padded.append(contentsOf: repeatElement(0, count: ByteScan.padding))
        padded.withUnsafeBufferPointer { buffer in
            guard let first = buffer.baseAddress, let (end, ending) = shard.parse(first, base: first),
                end == first + text.count, shard.parser.conclude(rules)
            else { return quarantine(start, count, shard.parser.reason, shard.parser.field, &shard, &block) }
            append(first, text.count, ending, isBot, flags: flags, &shard, &block)
        }
    }

    @inline(__always)
    private mutating func append(
        _ start: UnsafePointer<UInt8>, _ count: Int, _ ending: Int, _ isBot: Bool, flags: UInt8,
        _ shard: inout ShardTools, _ block: inout BlockContent
    ) {
        var row = BlockContent.Row()
        row.type = UInt8(truncatingIfNeeded: shard.parser.type)
        row.time = shard.parser.moment
        row.flags =
            flags | (shard.parser.isShifted ? BlockContent.Flag.shifted : 0)
            | (shard.parser.has(.traceID) ? BlockContent.Flag.ownTrace : 0)
        if isBot {
            row.outcome = .bot
        } else if rules.receivedAt &- row.time > lateness, !rules.isHistorical, rules.flavour != .internal {
            row.outcome = .late
        }
        if TouchRule.mayTouch(shard.parser.type) { touch(shard.parser, &row, &block) }
        if IdentityRule.mayLink(shard.parser.type) { linkIdentities(start, &shard, &block) }
        block.reserveColumns(shard.encoder.tables.count)
        guard shard.parser.isFilled(.id) else {
            acceptWithoutID(start, count, ending, &shard, &row, &block)
            return
        }
        let (id, idCount) = shard.parser.decoded(shard.parser.slice(.id))
        row.id = keys.event(id, idCount)
        let isWide =
            ending != EventEncoder.whole
            && (idCount == 36 && HoleText.uuid(id) != nil || idCount == 32 && HoleText.hex(id) != nil)
        let place = isWide ? BlockContent.IDPlace.none : block.keepID(id, idCount)
        shard.encoder.append(
            row, ending: ending, event: start, count: count, id: place, shard.parser, to: &block)
        // A form that was learned from another kind of id keeps it as a text.
        if isWide, !block.hasLastID { block.placeLastID(block.keepID(id, idCount)) }
    }

    /// No id: one derived from the bytes when the event has a time of its own, else one that is never a duplicate.
    @inline(never)
    private mutating func acceptWithoutID(
        _ start: UnsafePointer<UInt8>, _ count: Int, _ ending: Int, _ shard: inout ShardTools,
        _ row: inout BlockContent.Row, _ block: inout BlockContent
    ) {
        let index = block.rowCount - request.firstRow
        let id: String
        if shard.parser.has(.timestamp) || shard.parser.has(.originalTimestamp) {
            row.flags |= BlockContent.Flag.derivedID
            id = DerivedID.fromBytes(app: request.app, index: index, UnsafeBufferPointer(start: start, count: count))
        } else {
            row.flags |= BlockContent.Flag.serverID
            id = DerivedID.ofServer(nonce: request.nonce, index: index)
        }
        row.id = keys.event(id: id)
        let text = Array(id.utf8)
        let place = text.withUnsafeBufferPointer { bytes in
            bytes.baseAddress.map { block.keepID($0, bytes.count) } ?? BlockContent.IDPlace.none
        }
        // An id that the event does not hold must not be looked for among its values.
        shard.parser.slots[Int(EventField.id.rawValue)] = .empty
        shard.encoder.append(
            row, ending: ending, event: start, count: count, id: place, shard.parser, to: &block)
    }

    /// What the event says about who is who. It may stand in the properties, of which an event that was read by its
    /// form keeps no slice: it is parsed once more.
    @inline(never)
    private func linkIdentities(
        _ start: UnsafePointer<UInt8>, _ shard: inout ShardTools, _ block: inout BlockContent
    ) {
        guard shard.parser.parse(start, base: shard.parser.base) != nil, shard.parser.conclude(rules),
            let change = shard.parser.identityChange(keys)
        else { return }
        block.identity.append(change, row: block.rowCount)
    }

    private func isBot(_ shard: inout ShardTools) -> Bool {
        let (bytes, count) = shard.parser.decoded(shard.parser.slice(.userAgent))
        return shard.bots.isBot(bytes, count)
    }

    /// The trace of an event: its own, else of the first of user, device and anonymous identifier.
    private func trace(_ parser: EventParser) -> UInt64 {
        if parser.has(.traceID) { return IdentityKeys.traceHash(parser.traceID) }
        var traced: (high: UInt64, low: UInt64) = (0, 0)
        if parser.isFilled(.userID) {
            traced = hash(parser, .user, .userID)
        } else if parser.isFilled(.anonymousID) {
            traced = hash(parser, .anonymous, .anonymousID)
        } else if parser.isFilled(.deviceID) || parser.isFilled(.contextDeviceID) {
            traced = hash(parser, .device, parser.isFilled(.deviceID) ? .deviceID : .contextDeviceID)
        } else if parser.isFilled(.clickID) {
            traced = hash(parser, .click, .clickID)
        } else if parser.isFilled(.id) {
            traced = hash(parser, .event, .id)
        }
        return IdentityKeys.traceHash(keys.trace(ofPerson: traced))
    }

    @inline(__always)
    private func hash(
        _ parser: EventParser, _ namespace: PersonIdentifier.Namespace, _ field: EventField
    ) -> (high: UInt64, low: UInt64) {
        let (bytes, count) = parser.decoded(parser.slice(field))
        return keys.person(namespace, bytes, count)
    }

    @inline(never)
    private func touch(_ parser: EventParser, _ row: inout BlockContent.Row, _ block: inout BlockContent) {
        guard let kind = TouchRule.kind(parser) else { return }
        row.flags |= BlockContent.Flag.touch
        func key(_ namespace: PersonIdentifier.Namespace, _ field: EventField) -> UInt64 {
            parser.isFilled(field) ? hash(parser, namespace, field).high : 0
        }
        let device = parser.isFilled(.deviceID) ? EventField.deviceID : .contextDeviceID
        block.appendTouch(
            kind: kind.rawValue, trace: trace(parser), anonymous: key(.anonymous, .anonymousID),
            user: key(.user, .userID), device: key(.device, device), click: key(.click, .clickID))
    }

    @inline(never)
    fileprivate mutating func quarantine(
        _ start: UnsafePointer<UInt8>, _ count: Int, _ reason: QuarantineReason, _ field: EventField,
        _ shard: inout ShardTools, _ block: inout BlockContent
    ) {
        var row = BlockContent.Row()
        row.time = rules.receivedAt
        row.outcome = .quarantined
        row.reason = reason
        row.field = field
        let id = DerivedID.salvaged(from: UnsafeBufferPointer(start: start, count: min(count, limits.eventBytesMax)))
        if let policy = request.policy {
            let raw = UnsafeBufferPointer(start: start, count: count)
            guard let sealed = policy.quarantineText(raw, id: id) else { return }
            sealed.withUnsafeBufferPointer { text in
                guard let first = text.baseAddress else { return }
                quarantine(row, first, text.count, id, &shard, &block)
            }
        } else {
            quarantine(row, start, count, id, &shard, &block)
        }
    }

    /// The row of a refused event with the text that the log keeps.
    private func quarantine(
        _ refused: BlockContent.Row, _ text: UnsafePointer<UInt8>, _ count: Int, _ id: String?,
        _ shard: inout ShardTools, _ block: inout BlockContent
    ) {
        var row = refused
        var place = BlockContent.IDPlace.none
        if let id {
            row.id = keys.event(id: id)
            let bytes = Array(id.utf8)
            place = bytes.withUnsafeBufferPointer { bytes in
                bytes.baseAddress.map { block.keepID($0, bytes.count) } ?? place
            }
        }
        shard.encoder.appendWhole(row, event: text, count: count, id: place, to: &block)
    }
}
