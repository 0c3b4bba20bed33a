/// Cuts an event that the parser has accepted into literal runs and holes, and enters its form into the tree.
///
/// Slow on purpose: it runs once a form. What cannot be cut without doubt (a name given twice, escapes in names, money
/// in odd shapes) is left out, and such events are kept whole.
struct ShapeLearner {
    private let base: UnsafePointer<UInt8>
    private let columns: ColumnTables
    private var cursor: UnsafePointer<UInt8>
    private var literalStart: UnsafePointer<UInt8>
    private var codes: [UInt32: Int] = [:]
    private var pieces: [(literal: UnsafeBufferPointer<UInt8>, node: ShapeTree.Node)] = []
    private var used: Set<UInt16> = []
    /// Of values that the contract leaves open: of a name given twice the last counts, which no form can say.
    private var paths: Set<String> = []
    /// Inside `properties`, some of whose members stand for fields of the contract; those of `props` do not.
    private var isMapped = false

    /// - Parameter parser: after it has accepted the event at `start`, before anything else was done with it.
    private init(_ start: UnsafePointer<UInt8>, _ parser: EventParser, _ columns: ColumnTables) {
        base = parser.base
        self.columns = columns
        cursor = start
        literalStart = start
        for code in 0..<EventParser.slotCount where parser.hasCode(code) { codes[parser.slots[code].offset] = code }
    }

    /// Enters the form of the event from `start` to `end`. The parser holds what `EventParser.parse` found and holds
    /// the same afterwards.
    static func learn(
        _ start: UnsafePointer<UInt8>, end: UnsafePointer<UInt8>, _ parser: inout EventParser, _ tree: inout ShapeTree,
        _ columns: ColumnTables
    ) -> Int? {
        guard !tree.isFull else { return nil }
        var learner = ShapeLearner(start, parser, columns)
        guard learner.event(), learner.cursor == end, learner.pieces.count < ShapeTree.holesMax else { return nil }
        let expected = ParsedFacts(parser)
        let ending = learner.enter(&tree, end, expected)
        // The proof: the tree must say of this event what the parser said.
        guard let read = tree.read(start, base: parser.base, &parser, columns), read.end == end,
            read.ending == ending, ParsedFacts(parser).equals(expected)
        else {
            tree.endings[ending].type = ShapeTree.refused
            expected.restore(&parser)
            return nil
        }
        expected.restore(&parser)
        return ending
    }

    private func enter(
        _ tree: inout ShapeTree, _ end: UnsafePointer<UInt8>, _ facts: ParsedFacts
    ) -> Int {
        var place: UInt32 = 0
        var path: [UInt32] = []
        for piece in pieces {
            place = tree.child(of: place, literal: piece.literal, piece.node)
            path.append(place)
        }
        var ending = ShapeTree.Ending()
        ending.type = Int32(facts.type)
        // What the context brings differs from event to event.
        ending.present = (facts.present.0, facts.present.1 & ~ParsedFacts.contextMask)
        ending.path = path
        var node = ShapeTree.Node()
        node.ending = UInt16(tree.endings.count)
        let last = UnsafeBufferPointer(start: literalStart, count: end - literalStart)
        let leaf = tree.child(of: place, literal: last, node)
        let number = Int(tree.nodes[Int(leaf)].ending)
        if number == tree.endings.count { tree.endings.append(ending) }
        tree.endings[number].path = path + [leaf]
        return number
    }

    // MARK: cutting

    private mutating func space() {
        while [0x20, 0x09, 0x0a, 0x0d].contains(cursor.pointee) { cursor += 1 }
    }

    /// Goes through the members of the object at the cursor; `member` stands at each value.
    private mutating func members(
        _ member: (inout ShapeLearner, _ name: UnsafeBufferPointer<UInt8>) -> Bool
    ) -> Bool {
        guard cursor.pointee == 0x7b else { return false }
        cursor += 1
        space()
        if cursor.pointee == 0x7d {
            cursor += 1
            return true
        }
        while true {
            guard cursor.pointee == 0x22 else { return false }
            let start = cursor + 1
            let stop = ByteScan.stringStop(start)
            guard stop.pointee == 0x22 else { return false }
            cursor = stop + 1
            space()
            cursor += 1
            space()
            guard member(&self, UnsafeBufferPointer(start: start, count: stop - start)) else { return false }
            space()
            if cursor.pointee == 0x7d {
                cursor += 1
                return true
            }
            cursor += 1
            space()
        }
    }

    private mutating func event() -> Bool {
        members { learner, name in
            let known = name.baseAddress.map { ContractKeys.shared.pointee.top.code($0, name.count) }
            let text = String(decoding: name, as: UTF8.self)
            guard let code = known, code != KeyTable.unknown else {
                return learner.value(path: "extra." + text, level: 1, isFree: true)
            }
            if code == ContractKeys.Code.segmentProperties {
                learner.isMapped = true
                defer { learner.isMapped = false }
                return learner.properties(level: 1, path: "props")
            }
            guard let field = EventField(rawValue: UInt8(truncatingIfNeeded: code)) else { return false }
            return learner.field(field)
        }
    }

    private mutating func field(_ field: EventField) -> Bool {
        let path = FieldNames.path(of: field)
        switch field {
        case .type: return skipLiteral()
        case .context, .campaign, .consent, .traits:
            guard cursor.pointee == 0x7b else { return skipLiteral() }
            return hole(.object, path, length: valueLength, field: field, check: .none)
        case .props: return properties(level: 1, path: "props")
        case .timestamp: return time(field, path, .timestamp)
        case .sentAt: return time(field, path, .sentAt)
        case .originalTimestamp: return time(field, path, .originalTimestamp)
        case .referralClickedAt, .installBeganAt: return time(field, path, .none)
        case .value: return special(field, path, .money)
        case .currency: return special(field, path, .currency)
        case .traceID: return special(field, path, .traceID)
        case .quantity: return special(field, path, .quantity)
        default: return value(path: path, level: 1, isFree: false)
        }
    }

    /// `null` and what has one form only belong to the literal.
    private mutating func skipLiteral() -> Bool {
        cursor += valueLength
        return true
    }

    private mutating func special(_ field: EventField, _ path: String, _ check: HoleCheck) -> Bool {
        switch cursor.pointee {
        case 0x22:
            let kind: HoleKind = check == .traceID && textLength == 32 && HoleText.hex(cursor + 1) != nil ? .hex : .text
            return text(kind, path, field: field, check: check, limit: 64)
        case 0x6e: return skipLiteral()
        default: return hole(.number, path, length: valueLength, field: field, check: check)
        }
    }

    private mutating func time(_ field: EventField, _ path: String, _ check: HoleCheck) -> Bool {
        if cursor.pointee == 0x6e { return skipLiteral() }
        guard cursor.pointee == 0x22 else {
            return check == .none ? false : hole(.number, path, length: valueLength, field: field, check: check)
        }
        let start = cursor + 1
        let count = textLength
        var digits = 0
        if count > 19, start[19] == 0x2e {
            while 20 + digits < count, start[20 + digits] &- 0x30 < 10 { digits += 1 }
        }
        let kind: HoleKind
        switch digits {
        case 0: kind = .timeSeconds
        case 3: kind = .timeMillis
        case 6: kind = .timeMicros
        default: return false
        }
        let zone = UnsafeBufferPointer(start: start + kind.characterCount, count: count - kind.characterCount)
        guard let minutes = Self.minutes(zone) else { return false }
        cursor = start
        return hole(
            kind, path, length: kind.characterCount, field: field, check: check, zoneMinutes: minutes,
            advance: count + 1)
    }

    /// Minutes east of UTC of `Z` or `+02:00`.
    private static func minutes(_ zone: UnsafeBufferPointer<UInt8>) -> Int32? {
        if zone.count == 1 { return 0 }
        guard zone.count == 6 else { return nil }
        func digit(_ index: Int) -> Int32 { Int32(zone[index] &- 0x30) }
        let minutes = (digit(1) * 10 + digit(2)) * 60 + digit(4) * 10 + digit(5)
        return zone[0] == 0x2d ? -minutes : minutes
    }

    private mutating func properties(level: Int, path: String) -> Bool {
        guard cursor.pointee == 0x7b else { return skipLiteral() }
        return members { learner, name in
            learner.value(path: path + "." + String(decoding: name, as: UTF8.self), level: level + 1, isFree: true)
        }
    }

    private static let nestingMax = 6

    /// Any value: a text, a number, an object to go into, or other JSON.
    ///
    /// - Parameter isFree: whether the contract leaves the value's type open.
    private mutating func value(path: String, level: Int, isFree: Bool) -> Bool {
        if isFree, !paths.insert(path).inserted { return false }
        switch cursor.pointee {
        case 0x22:
            let field = slot(at: cursor + 1)
            // One that is too long for its meaning must not speak for the shorter ones of its form.
            if field == nil, isProperty(path, level) { return false }
            let isID = field == .id
            if isID, textLength == 36, HoleText.uuid(cursor + 1) != nil { return text(.uuid, path, field: field) }
            if isID, textLength == 32, HoleText.hex(cursor + 1) != nil { return text(.hex, path, field: field) }
            let limit = field.map { StringLimits.limit($0) } ?? 0
            let most = limit == 0 ? UInt32(ContractLimits.stringBytesMax) : limit
            return text(.text, path, field: field, limit: min(most, UInt32(ContractLimits.stringBytesMax)))
        case 0x2d, 0x30...0x39:
            guard isFree else { return false }
            return hole(.number, path, length: valueLength, field: slot(at: cursor), check: .none)
        case 0x7b where isFree && level < Self.nestingMax && !path.hasPrefix("extra."):
            return properties(level: level, path: path)
        case 0x6e where !isFree: return skipLiteral()
        default:
            guard isFree else { return false }
            // A property of the contract that holds something else means nothing, and that is the form's.
            if cursor.pointee == 0x6e, isProperty(path, level) { return skipLiteral() }
            return hole(.json, path, length: valueLength, field: nil, check: .none, level: level)
        }
    }

    /// Whether a member of `properties` stands for a field of the contract.
    private func isProperty(_ path: String, _ level: Int) -> Bool {
        guard isMapped, level == 2, path.hasPrefix("props.") else { return false }
        return FieldNames.properties.contains { $0.0 == path.dropFirst(6) }
    }

    private func slot(at place: UnsafePointer<UInt8>) -> EventField? {
        codes[UInt32(place - base)].flatMap { EventField(rawValue: UInt8($0)) }
    }

    /// Bytes of the value at the cursor.
    private var valueLength: Int {
        var grammar = JSONGrammar(cursor, end: cursor + (1 << 24))
        _ = grammar.skipValue()
        return grammar.cursor - cursor
    }

    /// Bytes between the quotes of the string at the cursor.
    private var textLength: Int { max(0, valueLength - 2) }

    private mutating func text(
        _ kind: HoleKind, _ path: String, field: EventField?, check: HoleCheck = .none, limit: UInt32 = .max
    ) -> Bool {
        let length = textLength
        cursor += 1
        return hole(kind, path, length: length, field: field, check: check, limit: limit, advance: length + 1)
    }

    /// Ends the literal at the cursor and steps over the value.
    private mutating func hole(
        _ kind: HoleKind, _ path: String, length: Int, field: EventField?, check: HoleCheck, limit: UInt32 = .max,
        level: Int = 0, zoneMinutes: Int32 = 0, advance: Int? = nil
    ) -> Bool {
        let code = field?.rawValue ?? ShapeTree.noField
        guard
            let column = columns.column(
                kind, path: path, field: code, isContext: field == .context && kind == .object),
            used.insert(column).inserted
        else { return false }
        var node = ShapeTree.Node()
        node.kind = kind.rawValue
        node.field = code
        node.check = check.rawValue
        node.limit = limit
        node.level = UInt8(level)
        node.zoneMinutes = zoneMinutes
        node.column = column
        pieces.append((UnsafeBufferPointer(start: literalStart, count: cursor - literalStart), node))
        literalStart = cursor + length
        cursor += advance ?? length
        return true
    }
}

/// What a parser says of an event, to hold two ways of reading against each other.
struct ParsedFacts {
    let type: Int
    let present: (UInt64, UInt64)
    private let slots: [ByteSlice]
    private let numbers: [Int64]
    private let traceID: (high: UInt64, low: UInt64)

    /// The bits of the fields that only `context` brings, in the second word.
    static let contextMask: UInt64 = {
        var mask: UInt64 = 0
        for code in EventField.ip.rawValue...EventField.libraryVersion.rawValue { mask |= 1 << UInt64(code - 64) }
        for code in EventField.contextCampaignID.rawValue...EventField.contextAdvertisingID.rawValue {
            mask |= 1 << UInt64(code - 64)
        }
        return mask
    }()

    /// Fields whose slice nothing reads from an event of a known form.
    private static let unread: Set<Int> = [Int(EventField.type.rawValue), Int(EventField.props.rawValue)]

    init(_ parser: EventParser) {
        type = parser.type
        present = parser.present
        slots = (0..<EventParser.slotCount).map { parser.hasCode($0) ? parser.slots[$0] : .empty }
        numbers = [
            parser.has(.timestamp) ? parser.timestamp : 0, parser.has(.sentAt) ? parser.sentAt : 0,
            parser.has(.originalTimestamp) ? parser.originalTimestamp : 0, parser.has(.value) ? parser.value : 0,
        ]
        traceID = parser.has(.traceID) ? parser.traceID : (0, 0)
    }

    func equals(_ other: ParsedFacts) -> Bool {
        guard type == other.type, present == other.present, numbers == other.numbers, traceID == other.traceID else {
            return false
        }
        let times: Set<Int> = [
            Int(EventField.timestamp.rawValue), Int(EventField.sentAt.rawValue),
            Int(EventField.originalTimestamp.rawValue), Int(EventField.referralClickedAt.rawValue),
            Int(EventField.installBeganAt.rawValue),
        ]
        return slots.indices.allSatisfy { code in
            if Self.unread.contains(code) { return true }
            // Of a time only the start counts: its zone stands in the literal.
            if times.contains(code) { return slots[code].offset == other.slots[code].offset }
            return slots[code].offset == other.slots[code].offset
                && slots[code].packedLength == other.slots[code].packedLength
        }
    }

    /// Puts everything back into a parser.
    func restore(_ parser: inout EventParser) {
        parser.type = type
        parser.present = present
        for code in slots.indices where parser.hasCode(code) { parser.slots[code] = slots[code] }
        (parser.timestamp, parser.sentAt) = (numbers[0], numbers[1])
        (parser.originalTimestamp, parser.value) = (numbers[2], numbers[3])
        parser.traceID = traceID
    }
}
