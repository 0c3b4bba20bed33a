/// The forms that events came in lately, as a tree of literal runs and holes: an event of a known form is read by
/// comparing its literal bytes and taking the values in between, which costs less than reading names and deciding.
///
/// Only the parser decides what an event means. A form enters the tree after the parser has accepted an event of it,
/// and `ShapeLearner` proves on that event that the tree gives the parser's own answer. Not thread-safe: one tree a
/// shard.
struct ShapeTree {
    /// A literal run and the value behind it, or the end of an event.
    struct Node {
        /// First bytes of the literal, to turn most mismatches away with one comparison.
        var firstWord: UInt64 = 0
        var firstMask: UInt64 = 0
        var literal: UInt32 = 0
        var literalCount: UInt32 = 0
        var child: UInt32 = 0
        var next: UInt32 = 0
        /// Longest value in bytes.
        var limit: UInt32 = 0
        /// Minutes east of UTC that the literal behind a time says.
        var zoneMinutes: Int32 = 0
        var column: UInt16 = 0
        /// Of an ending: its place in `endings`.
        var ending: UInt16 = 0
        /// A `HoleKind`; 0 for an ending.
        var kind: UInt8 = 0
        /// The slot that takes the value; 255 for none.
        var field: UInt8 = 255
        var check: UInt8 = 0
        /// Depth at which a JSON value stands.
        var level: UInt8 = 0
    }

    /// What all events of one form have in common.
    struct Ending {
        var type: Int32 = 0
        var present: (UInt64, UInt64) = (0, 0)
        /// The number of the shape in the segment being written; 0 before its first event there.
        var number: UInt16 = 0
        /// The nodes from the root.
        var path: [UInt32] = []
    }

    static let noField: UInt8 = 255
    /// The type of an ending that failed its proof: events of it stay with the parser.
    static let refused: Int32 = -1
    static let holesMax = 400
    private static let nodesMax = 20_000
    private static let literalBytesMax = 2 << 20
    /// Shapes of one segment; number 0 is a whole event without form.
    static let endingsMax = 8_000

    private(set) var nodes: UnsafeMutablePointer<Node>
    private var nodeCapacity = 256
    private(set) var nodeCount = 1
    private(set) var literals = RawBytes(capacity: 4096)
    var endings: [Ending] = []
    let holes: UnsafeMutablePointer<Hole>
    var holeCount = 0

    init() {
        nodes = .allocate(capacity: nodeCapacity)
        nodes.initialize(to: Node())
        holes = .allocate(capacity: Self.holesMax)
        holes.initialize(repeating: Hole(), count: Self.holesMax)
    }

    func deallocate() {
        nodes.deallocate()
        literals.deallocate()
        holes.deallocate()
    }

    /// Whether another form may enter.
    var isFull: Bool {
        nodeCount + Self.holesMax > Self.nodesMax || literals.count > Self.literalBytesMax
            || endings.count >= Self.endingsMax
    }

    /// Forgets every form.
    mutating func reset() {
        nodeCount = 1
        nodes[0] = Node()
        literals.truncate(to: 0)
        endings.removeAll()
    }

    /// The literal bytes in front of a node's value.
    func literal(_ index: UInt32) -> UnsafeBufferPointer<UInt8> {
        let node = nodes[Int(index)]
        return UnsafeBufferPointer(
            start: (literals.base + Int(node.literal)).assumingMemoryBound(to: UInt8.self),
            count: Int(node.literalCount))
    }

    // MARK: reading

    /// Reads the event at `start`: what it means goes into the parser as `EventParser.parse` would put it, its values
    /// into `holes`.
    ///
    /// - Returns: the byte behind the event and its ending, or nil when it is of no known form.
    @inline(__always)
    mutating func read(
        _ start: UnsafePointer<UInt8>, base: UnsafePointer<UInt8>, _ parser: inout EventParser, _ columns: ColumnTables
    ) -> (end: UnsafePointer<UInt8>, ending: Int)? {
        parser.begin(base)
        holeCount = 0
        var cursor = start
        var index = nodes[0].child
        while index != 0 {
            let node = nodes + Int(index)
            guard matches(node, cursor) else {
                index = node.pointee.next
                continue
            }
            let value = cursor + Int(node.pointee.literalCount)
            if node.pointee.kind == 0 {
                let number = Int(node.pointee.ending)
                guard endings[number].type != Self.refused else { return nil }
                parser.finish(endings[number].type, endings[number].present)
                return (value, number)
            }
            guard holeCount < Self.holesMax, let end = take(node, value, base, &parser, columns) else {
                index = node.pointee.next
                continue
            }
            cursor = end
            index = node.pointee.child
        }
        return nil
    }

    @inline(__always)
    private func matches(_ node: UnsafeMutablePointer<Node>, _ text: UnsafePointer<UInt8>) -> Bool {
        guard ByteScan.word(text) & node.pointee.firstMask == node.pointee.firstWord else { return false }
        let count = Int(node.pointee.literalCount)
        let literal = UnsafePointer(
            (literals.base + Int(node.pointee.literal)).assumingMemoryBound(to: UInt8.self))
        var index = 8
        while index &+ 8 <= count {
            if ByteScan.word(text + index) != ByteScan.word(literal + index) { return false }
            index &+= 8
        }
        let rest = count &- index
        return rest <= 0 || (ByteScan.word(text + index) ^ ByteScan.word(literal + index)) & ByteScan.mask(rest) == 0
    }

    /// Takes one value; nil when it is not of the node's kind or breaks a rule of the contract.
    @inline(__always)
    private mutating func take(
        _ node: UnsafeMutablePointer<Node>, _ value: UnsafePointer<UInt8>, _ base: UnsafePointer<UInt8>,
        _ parser: inout EventParser, _ columns: ColumnTables
    ) -> UnsafePointer<UInt8>? {
        var hole = Hole(
            offset: UInt32(truncatingIfNeeded: value - base), column: node.pointee.column, kind: node.pointee.kind)
        var packed: UInt32
        let end: UnsafePointer<UInt8>
        switch node.pointee.kind {
        case HoleKind.text.rawValue:
            let stop = ByteScan.stringStop(value)
            packed = UInt32(truncatingIfNeeded: stop - value)
            if stop.pointee == 0x22 {
                end = stop
            } else {
                guard let (closed, length) = parser.escaped(value, stop) else { return nil }
                end = closed
                packed = length
            }
            let count = packed & ~ByteSlice.escapeBit
            guard count <= node.pointee.limit else { return nil }
            hole.second = columns.prepare(node.pointee.column, value, Int(count))
        case HoleKind.uuid.rawValue:
            guard value[36] == 0x22, let words = HoleText.uuid(value) else { return nil }
            (hole.value, hole.second) = (Int64(bitPattern: words.high), words.low)
            end = value + 36
            packed = 36
        case HoleKind.number.rawValue:
            guard let after = Self.number(value, &hole) else { return nil }
            end = after
            packed = UInt32(truncatingIfNeeded: after - value)
        default:
            guard let after = takeOther(node, value, &hole, &parser, columns) else { return nil }
            end = after
            packed = UInt32(truncatingIfNeeded: after - value)
        }
        hole.count = packed & ~ByteSlice.escapeBit
        if node.pointee.field != Self.noField {
            parser.slots[Int(node.pointee.field)] = ByteSlice(offset: hole.offset, packedLength: packed)
            if node.pointee.check != 0, !check(node, hole, &parser) { return nil }
        }
        holes[holeCount] = hole
        holeCount &+= 1
        return end
    }

    @inline(__always)
    private func takeOther(
        _ node: UnsafeMutablePointer<Node>, _ value: UnsafePointer<UInt8>, _ hole: inout Hole,
        _ parser: inout EventParser, _ columns: ColumnTables
    ) -> UnsafePointer<UInt8>? {
        switch node.pointee.kind {
        case HoleKind.timeMillis.rawValue:
            guard let moment = parser.minutes.local(value, 23) else { return nil }
            hole.value = moment
            return value + 23
        case HoleKind.object.rawValue:
            guard value.pointee == 0x7b else { return nil }
            return object(node, value, &hole, &parser, columns)
        case HoleKind.hex.rawValue:
            guard value[32] == 0x22, let words = HoleText.hex(value) else { return nil }
            (hole.value, hole.second) = (Int64(bitPattern: words.high), words.low)
            return value + 32
        case HoleKind.timeSeconds.rawValue, HoleKind.timeMicros.rawValue:
            let count = node.pointee.kind == HoleKind.timeSeconds.rawValue ? 19 : 26
            guard let moment = parser.minutes.local(value, count) else { return nil }
            hole.value = moment
            return value + count
        default:
            // What a text or a number is, is never taken for any other JSON.
            guard value.pointee != 0x22, value.pointee != 0x2d, value.pointee &- 0x30 > 9 else { return nil }
            return parser.skipped(value, level: Int(node.pointee.level))
        }
    }

    /// An object of the contract: one whose bytes are known means what it meant before; another is parsed.
    @inline(__always)
    private func object(
        _ node: UnsafeMutablePointer<Node>, _ value: UnsafePointer<UInt8>, _ hole: inout Hole,
        _ parser: inout EventParser, _ columns: ColumnTables
    ) -> UnsafePointer<UInt8>? {
        let field = node.pointee.field
        if field == EventField.context.rawValue {
            if let (end, number) = columns.knownContext(node.pointee.column, value, &parser) {
                hole.value = Int64(number)
                return end
            }
        }
        return parser.contractObject(value, field)
    }

    /// A decimal number of at most 18 digits without exponent, and not minus zero.
    @inline(__always)
    private static func number(_ value: UnsafePointer<UInt8>, _ hole: inout Hole) -> UnsafePointer<UInt8>? {
        var cursor = value
        let isNegative = cursor.pointee == 0x2d
        if isNegative { cursor += 1 }
        let first = cursor
        var number: Int64 = 0
        while cursor.pointee &- 0x30 < 10, cursor - first < 19 {
            number = number &* 10 &+ Int64(cursor.pointee &- 0x30)
            cursor += 1
        }
        let whole = cursor - first
        guard whole > 0, whole < 19, first.pointee != 0x30 || whole == 1 else { return nil }
        var fraction = 0
        if cursor.pointee == 0x2e {
            cursor += 1
            while cursor.pointee &- 0x30 < 10, whole &+ fraction < 19 {
                number = number &* 10 &+ Int64(cursor.pointee &- 0x30)
                fraction &+= 1
                cursor += 1
            }
            guard fraction > 0, whole &+ fraction < 19 else { return nil }
        }
        guard cursor.pointee | 0x20 != 0x65, !isNegative || number != 0 else { return nil }
        hole.value = isNegative ? 0 &- number : number
        hole.second = UInt64(truncatingIfNeeded: fraction)
        return cursor
    }

    @inline(__always)
    private func check(_ node: UnsafeMutablePointer<Node>, _ hole: Hole, _ parser: inout EventParser) -> Bool {
        let moment = hole.value &- Int64(node.pointee.zoneMinutes) &* 60_000_000
        let isNumber = node.pointee.kind == HoleKind.number.rawValue
        switch node.pointee.check {
        case HoleCheck.timestamp.rawValue:
            parser.timestamp = isNumber ? hole.value &* 1000 : moment
            return !isNumber || Self.isMilliseconds(hole)
        case HoleCheck.sentAt.rawValue:
            parser.sentAt = isNumber ? hole.value &* 1000 : moment
            return !isNumber || Self.isMilliseconds(hole)
        case HoleCheck.originalTimestamp.rawValue:
            parser.originalTimestamp = isNumber ? hole.value &* 1000 : moment
            return !isNumber || Self.isMilliseconds(hole)
        default: return parser.holds(node.pointee.check, hole, isNumber: isNumber)
        }
    }

    @inline(__always)
    private static func isMilliseconds(_ hole: Hole) -> Bool {
        hole.second == 0 && hole.value.magnitude < 1_000_000_000_000_000
    }

    // MARK: growing

    /// The child of `parent` with exactly this literal, kind and meaning, made when it is not there.
    mutating func child(of parent: UInt32, literal: UnsafeBufferPointer<UInt8>, _ like: Node) -> UInt32 {
        var last: UInt32 = 0
        var index = nodes[Int(parent)].child
        while index != 0 {
            let node = nodes[Int(index)]
            if node.kind == like.kind, node.field == like.field, node.check == like.check, node.limit == like.limit,
                node.column == like.column, node.level == like.level, node.zoneMinutes == like.zoneMinutes,
                self.literal(index).elementsEqual(literal)
            {
                return index
            }
            last = index
            index = node.next
        }
        return add(to: parent, behind: last, literal, like)
    }

    private mutating func add(
        to parent: UInt32, behind last: UInt32, _ literal: UnsafeBufferPointer<UInt8>, _ like: Node
    ) -> UInt32 {
        if nodeCount == nodeCapacity {
            let larger = UnsafeMutablePointer<Node>.allocate(capacity: nodeCapacity * 2)
            larger.moveInitialize(from: nodes, count: nodeCount)
            nodes.deallocate()
            nodes = larger
            nodeCapacity *= 2
        }
        var node = like
        node.literal = UInt32(literals.count)
        node.literalCount = UInt32(literal.count)
        var first: UInt64 = 0
        for (place, byte) in literal.prefix(8).enumerated() { first |= UInt64(byte) << UInt64(8 * place) }
        node.firstWord = first
        node.firstMask = ByteScan.mask(literal.count)
        literals.reserve(literal.count + ByteScan.padding)
        if let start = literal.baseAddress { literals.append(start, literal.count) }
        node.child = 0
        node.next = 0
        let index = UInt32(nodeCount)
        // The narrow kinds come first: what they refuse may still be a text.
        let isWide = like.kind == HoleKind.text.rawValue || like.kind == 0 || last == 0
        if !isWide {
            node.next = nodes[Int(parent)].child
            nodes[Int(parent)].child = index
        } else if last == 0 {
            nodes[Int(parent)].child = index
        } else {
            nodes[Int(last)].next = index
        }
        (nodes + nodeCount).initialize(to: node)
        nodeCount += 1
        return index
    }
}

extension EventParser {
    /// Forgets the last event.
    @inline(__always)
    mutating func begin(_ base: UnsafePointer<UInt8>) {
        self.base = base
        reason = .none
        field = .event
        present = (0, 0)
        seen = (0, 0)
    }

    /// Sets what all events of a form have in common; what an object of this event brought stays.
    @inline(__always)
    mutating func finish(_ type: Int32, _ common: (UInt64, UInt64)) {
        self.type = Int(type)
        present.0 |= common.0
        present.1 |= common.1
    }

    /// A string with escapes whose first one stands at `stop`: its closing quote and its packed length.
    @inline(never)
    mutating func escaped(
        _ start: UnsafePointer<UInt8>, _ stop: UnsafePointer<UInt8>
    ) -> (UnsafePointer<UInt8>, UInt32)? {
        guard stop.pointee == 0x5c else { return nil }
        var text = ByteSlice.empty
        guard escapedString(&text, Int(EventField.event.rawValue), start, stop) else { return nil }
        return (cursor - 1, text.packedLength)
    }

    /// The byte behind any value, or nil.
    @inline(never)
    mutating func skipped(_ value: UnsafePointer<UInt8>, level: Int) -> UnsafePointer<UInt8>? {
        cursor = value
        return skipValue(level: level, .props) ? cursor : nil
    }

    /// Parses an object of the contract as the member `field` of an event; the byte behind it, or nil.
    @inline(never)
    mutating func contractObject(_ value: UnsafePointer<UInt8>, _ field: UInt8) -> UnsafePointer<UInt8>? {
        cursor = value
        switch EventField(rawValue: field) {
        case .context: return contextObject() ? cursor : nil
        case .campaign: return strictObject(.campaign, keys.campaign) ? cursor : nil
        case .consent: return strictObject(.consent, keys.consent) ? cursor : nil
        case .traits: return objectField(.traits) ? cursor : nil
        default: return nil
        }
    }

    /// The rarer checks of a value.
    @inline(never)
    mutating func holds(_ check: UInt8, _ hole: Hole, isNumber: Bool) -> Bool {
        let text = ByteSlice(offset: hole.offset, packedLength: hole.count)
        switch HoleCheck(rawValue: check) {
        case .money:
            let start = base + text.start
            guard let millionths = DecimalText.millionths(start, text.count, exponent: isNumber) else { return false }
            value = millionths
            return true
        case .currency: return isCurrency(text)
        case .traceID:
            guard let identifier = HexText.identifier(base + text.start, text.count) else { return false }
            traceID = identifier
            return true
        case .quantity: return hole.second == 0 && hole.value >= 0 && hole.value <= 1_000_000
        default: return false
        }
    }
}
