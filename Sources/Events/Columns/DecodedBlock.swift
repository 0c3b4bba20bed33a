internal import AurumCore
internal import Synchronization

/// The columns of a block in the log, unpacked when they are asked for and kept while the block is.
final class DecodedBlock: ColumnBlock {
    /// The values of one column, in the order of the rows that have one.
    enum Values: Sendable {
        case codes([UInt32])
        /// High and low word in turn.
        case identifiers([UInt64])
        case numbers([Int64], fractions: [UInt8])
        /// Where each text starts in the bytes, and where the last ends.
        case plain(starts: [Int], bytes: [UInt8])

        var count: Int {
            switch self {
            case .codes(let codes): codes.count
            case .identifiers(let words): words.count / 2
            case .numbers(let numbers, _): numbers.count
            case .plain(let starts, _): starts.count - 1
            }
        }
    }

    struct State {
        var shapes: [UInt16]?
        /// Rows of each shape.
        var shapeRows: [Int]?
        var times: [Int64]?
        var outcomes: [UInt8]?
        var storedOutcomes: [UInt8]?
        var flags: [UInt8]?
        /// Money, once it was asked for; nil inside where no row has any.
        var money: [Int64]??
        var values: [UInt16: Values] = [:]
        var ranks: [UInt16: [Int32]] = [:]
        var exceptions: [Int: (QuarantineReason, EventField)]?
        var touches: TouchTable?
    }

    let view: BlockView
    let catalog: SegmentCatalog
    let dictionary: ShardDictionary
    let shapeIndex: ShapeIndex
    let secret: InstallationSecret
    let requests: [RequestSpan]
    private let state = Mutex(State())

    init(_ view: BlockView, catalog: SegmentCatalog, secret: InstallationSecret) throws {
        self.view = view
        self.catalog = catalog
        self.secret = secret
        dictionary = try catalog.dictionary(shard: view.header.shard, through: view.offset)
        shapeIndex = dictionary.shapeIndex
        requests = view.requests.enumerated().map { number, request in
            var span = RequestSpan(
                org: request.org, app: request.app, format: request.format.label, receivedAt: request.receivedAt,
                firstRow: request.firstRow, rowCount: request.rowCount)
            let origin = view.origin(number)
            span.name = ReplayedRows.Request(segment: origin.segment, offset: origin.offset, request: origin.request)
            return span
        }
    }

    var storedShapes: [StoredShape?] { shapeIndex.shapes }
    var rowCount: Int { view.rowCount }
    var earliest: Int64 { view.header.earliest }
    var latest: Int64 { view.header.latest }

    func position(_ row: Int) -> LogPosition { view.position(row) }

    // MARK: what every row has

    func shapes() throws -> [UInt16] {
        if let known = state.withLock({ $0.shapes }) { return known }
        let count = rowCount
        guard let shapes = try view.read(.shapes, { $0.planes(count, of: UInt16.self) }) else {
            throw BlockView.Failure.damaged
        }
        var rows = [Int](repeating: 0, count: storedShapes.count)
        for shape in shapes {
            guard Int(shape) < rows.count else { throw BlockView.Failure.damaged }
            rows[Int(shape)] += 1
        }
        // A shape that was lost with damaged blocks: where its values stand is not known, nor whose they are.
        for (number, count) in rows.enumerated() where count > 0 && number > 0 && storedShapes[number] == nil {
            throw BlockView.Failure.damaged
        }
        state.withLock { [rows] in $0.shapeRows = rows }
        state.withLock { $0.shapes = shapes }
        return shapes
    }

    func times() throws -> [Int64] {
        if let known = state.withLock({ $0.times }) { return known }
        let times = try view.times()
        state.withLock { $0.times = times }
        return times
    }

    /// What the outcome of a row says that was taken out, or that nobody may see any more.
    static let goneOutcome: UInt8 = 255

    func outcomes() throws -> [UInt8] {
        if let known = state.withLock({ $0.outcomes }) { return known }
        var outcomes = try storedOutcomes()
        for row in try catalog.visibility?.hiddenRows(self, outcomes) ?? [] { outcomes[row] = Self.goneOutcome }
        let visible = outcomes
        state.withLock { $0.outcomes = visible }
        return visible
    }

    /// Outcomes as they are on disk, rows that nobody may see among them.
    func storedOutcomes() throws -> [UInt8] {
        if let known = state.withLock({ $0.storedOutcomes }) { return known }
        let outcomes = try view.byteOfRows(.outcomes)
        guard outcomes.allSatisfy({ $0 <= EventOutcome.late.rawValue || $0 == Self.goneOutcome }) else {
            throw BlockView.Failure.damaged
        }
        state.withLock { $0.storedOutcomes = outcomes }
        return outcomes
    }

    func flags() throws -> [UInt8] {
        if let known = state.withLock({ $0.flags }) { return known }
        let flags = try view.byteOfRows(.flags)
        state.withLock { $0.flags = flags }
        return flags
    }

    func types() throws -> [UInt8] {
        let shapes = try shapes()
        let outcomes = try storedOutcomes()
        let byShape = shapeIndex.types
        let implied = view.requests.contains { $0.format.impliedType != nil }
        let refused = EventOutcome.quarantined.rawValue
        var types = (0..<rowCount).map { row -> UInt8 in
            outcomes[row] == refused ? 0 : byShape[Int(shapes[row])]
        }
        if implied {
            for request in view.requests {
                guard let type = request.format.impliedType else { continue }
                for row in request.firstRow..<request.firstRow + request.rowCount where outcomes[row] != refused {
                    types[row] = type.rawValue
                }
            }
        }
        for row in 0..<rowCount where shapes[row] == 0 && outcomes[row] != refused {
            types[row] = try storedEvent(row, EventDecoder(secret: secret))?.type.rawValue ?? 0
        }
        return types
    }

    /// Reason and field of a quarantined row.
    func exception(_ row: Int) throws -> (QuarantineReason, EventField) {
        if let known = state.withLock({ $0.exceptions }) { return known[row] ?? (.none, .event) }
        let most = rowCount * 8
        let bytes = try view.read(.exceptions) { $0.bytesOfRun(most: most) } ?? []
        var found: [Int: (QuarantineReason, EventField)] = [:]
        bytes.withUnsafeBytes { raw in
            var reader = StreamReader(raw)
            while let row = reader.word(UInt32.self), let reason = reader.byte(), let field = reader.byte(),
                reader.word(UInt16.self) != nil
            {
                found[Int(row)] = (QuarantineReason(rawValue: reason) ?? .none, EventField(rawValue: field) ?? .event)
            }
        }
        let exceptions = found
        state.withLock { $0.exceptions = exceptions }
        return exceptions[row] ?? (.none, .event)
    }

    /// What `values()` found before; nil when it was not asked.
    var money: [Int64]?? { state.withLock { $0.money } }

    func keep(money: [Int64]?) { state.withLock { $0.money = .some(money) } }

    // MARK: values of a column

    func values(_ column: UInt16) throws -> Values? {
        if let known = state.withLock({ $0.values[column] }) { return known }
        guard let values = try unpack(column) else { return nil }
        // One value a row that has the column: else values would stand in the wrong rows.
        guard values.count == (try rowsWith(column)) else { throw BlockView.Failure.damaged }
        if case .codes(let codes) = values, !(try dictionary.texts(column, of: catalog).knows(codes)) {
            throw BlockView.Failure.damaged
        }
        state.withLock { $0.values[column] = values }
        return values
    }

    /// Touchpoint candidates of the block.
    func touchTable() throws -> TouchTable {
        if let known = state.withLock({ $0.touches }) { return known }
        let table = TouchTable(bytes: try view.touches(), rowCount: rowCount)
        state.withLock { $0.touches = table }
        return table
    }

    /// Rows of each shape, shape 0 first.
    func rowsOfShapes() throws -> [Int] {
        _ = try shapes()
        return state.withLock { $0.shapeRows } ?? []
    }

    private func rowsWith(_ column: UInt16) throws -> Int {
        let rows = try rowsOfShapes()
        guard let holders = shapeIndex.holders(of: column) else { return 0 }
        return rows.indices.reduce(0) { $0 + rows[$1] * Int(holders[$1]) }
    }

    /// Puts what a column has, one behind the other, to the rows that have it; 0 to the others.
    func spread(_ column: UInt16, _ codes: [UInt32]) throws -> [UInt32] {
        guard codes.count < rowCount else { return codes }
        let shapes = try shapes()
        guard let holders = shapeIndex.holders(of: column), let last = codes.indices.last else {
            return [UInt32](repeating: 0, count: rowCount)
        }
        guard codes.count == (try rowsWith(column)) else { throw BlockView.Failure.damaged }
        return [UInt32](unsafeUninitializedCapacity: shapes.count) { out, filled in
            shapes.withUnsafeBufferPointer { shapes in
                holders.withUnsafeBufferPointer { holders in
                    codes.withUnsafeBufferPointer { codes in
                        // Without a branch: which shape comes next is anybody's guess.
                        var next = 0
                        for row in 0..<shapes.count {
                            let isHeld = UInt32(holders[Int(shapes[row])])
                            out[row] = codes[min(next, last)] &* isHeld
                            next &+= Int(isHeld)
                        }
                    }
                }
            }
            filled = shapes.count
        }
    }

    private func unpack(_ column: UInt16) throws -> Values? {
        if let plain = try view.read(.plain, column: column, Self.plain) { return plain }
        guard let kind = dictionary.column(column)?.kind else { return nil }
        return try view.read(.values, column: column) { reader -> Values? in
            guard let count = reader.word(UInt32.self).map({ Int($0) }), count <= self.rowCount else { return nil }
            switch kind {
            case .text, .object, .json, .whole: return reader.planes(count, of: UInt32.self).map { .codes($0) }
            case .uuid, .hex:
                guard let bytes = reader.bytesOfRun(most: count * 16), bytes.count == count * 16 else { return nil }
                return .identifiers(bytes.withUnsafeBytes { Array($0.bindMemory(to: UInt64.self)) })
            case .number, .timeSeconds, .timeMillis, .timeMicros:
                guard let words = reader.planes(count, of: UInt64.self),
                    let fractions = reader.bytesOfRun(most: count),
                    fractions.count == (kind == .number ? count : 0),
                    fractions.allSatisfy({ $0 <= HoleText.fractionDigitsMax })
                else { return nil }
                return .numbers(words.map { ZigZag.decode($0) }, fractions: fractions)
            }
        }
    }

    private static func plain(_ reader: inout StreamReader) -> Values? {
        guard let count = reader.word(UInt32.self), let bytes = reader.bytesOfRun() else { return nil }
        var starts: [Int] = []
        var texts: [UInt8] = []
        texts.reserveCapacity(bytes.count)
        let isWhole = bytes.withUnsafeBytes { raw in
            var texts_ = StreamReader(raw)
            for _ in 0..<count {
                guard let length = texts_.varint(), let text = texts_.slice(length) else { return false }
                starts.append(texts.count)
                texts.append(contentsOf: text)
            }
            return true
        }
        guard isWhole else { return nil }
        starts.append(texts.count)
        return .plain(starts: starts, bytes: texts)
    }

    /// For each row its place among the values of a column, or -1.
    func rank(_ column: UInt16) throws -> [Int32] {
        if let known = state.withLock({ $0.ranks[column] }) { return known }
        let shapes = try shapes()
        guard let holders = shapeIndex.holders(of: column) else { return shapes.map { _ in -1 } }
        var next: Int32 = 0
        let rank = shapes.map { shape -> Int32 in
            let isHeld = Int32(holders[Int(shape)])
            next &+= isHeld
            return isHeld != 0 ? next &- 1 : -1
        }
        state.withLock { $0.ranks[column] = rank }
        return rank
    }

    // MARK: whole events

    /// The bytes of the event of a row, as they came.
    func raw(_ row: Int) throws -> [UInt8] {
        let number = Int(try shapes()[row])
        if number == 0 {
            var text: [UInt8] = []
            try append(0, .whole, row, to: &text)
            return text
        }
        guard number < storedShapes.count, let shape = storedShapes[number] else { throw BlockView.Failure.damaged }
        var text: [UInt8] = []
        text.reserveCapacity(512)
        for piece in shape.pieces {
            text.append(contentsOf: piece.literal)
            guard let column = piece.column else { continue }
            guard let kind = dictionary.column(column)?.kind else { throw BlockView.Failure.damaged }
            try append(column, kind, row, to: &text)
        }
        return text
    }

    /// Appends the value of a column in a row that has one, as it stood in the event.
    func append(_ column: UInt16, _ kind: HoleKind, _ row: Int, to text: inout [UInt8]) throws {
        let place = Int(try rank(column)[row])
        guard place >= 0, let values = try values(column) else { throw BlockView.Failure.damaged }
        switch values {
        case .codes(let codes):
            guard place < codes.count, let raw = try dictionary.texts(column, of: catalog).raw(codes[place]) else {
                throw BlockView.Failure.damaged
            }
            text.append(contentsOf: raw)
        case .plain(let starts, let bytes):
            guard place + 1 < starts.count else { throw BlockView.Failure.damaged }
            text.append(contentsOf: bytes[starts[place]..<starts[place + 1]])
        case .identifiers(let words):
            guard place * 2 + 1 < words.count else { throw BlockView.Failure.damaged }
            HoleText.append(words[place * 2], words[place * 2 + 1], hyphens: kind == .uuid, to: &text)
        case .numbers(let numbers, let fractions):
            guard place < numbers.count else { throw BlockView.Failure.damaged }
            if kind == .number {
                guard place < fractions.count else { throw BlockView.Failure.damaged }
                HoleText.append(number: numbers[place], fraction: Int(fractions[place]), to: &text)
            } else {
                let moment = numbers[place] &+ (try times()[row])
                guard HoleText.moments.contains(moment) else { throw BlockView.Failure.damaged }
                HoleText.append(time: moment, kind, to: &text)
            }
        }
    }

    func event(_ row: Int) throws -> StoredEvent? {
        let decoder = EventDecoder(secret: secret)
        return try event(row, decoder)
    }

    /// The same with a decoder for many rows.
    func event(_ row: Int, _ decoder: EventDecoder) throws -> StoredEvent? {
        guard try outcomes()[row] != Self.goneOutcome else { return nil }
        return try storedEvent(row, decoder)
    }

    /// The event on disk, whether it may be seen or not.
    func storedEvent(_ row: Int, _ decoder: EventDecoder) throws -> StoredEvent? {
        guard let request = view.request(of: row), let outcome = EventOutcome(rawValue: try storedOutcomes()[row]),
            outcome != .quarantined
        else { return nil }
        let facts = RowFacts(
            request: request, row: row, time: try times()[row], outcome: outcome, flags: try flags()[row])
        return decoder.event(try raw(row)[...], facts, view)
    }
}

/// What a block knows of a row besides its text.
struct RowFacts {
    var request: Int
    var row: Int
    var time: Int64
    var outcome: EventOutcome
    var flags: UInt8
}
