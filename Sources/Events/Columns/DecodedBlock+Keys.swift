internal import AurumCore

/// The identities of the events of a block, as the de-duplication index knows them.
extension DecodedBlock {
    /// Calls `body` with the key of each accepted row whose id counts, in the order of the log.
    func eachKey(_ body: (_ high: UInt64, _ low: UInt64) throws -> Void) throws {
        try eachKeyedRow { high, low, _ in try body(high, low) }
    }

    /// The same with the row of each key.
    func eachKeyedRow(_ body: (_ high: UInt64, _ low: UInt64, _ row: Int) throws -> Void) throws {
        let outcomes = try storedOutcomes()
        let flags = try flags()
        let shapes = try shapes()
        var columns = IDColumns(storedShapes)
        for request in view.requests {
            let keys = secret.keys(org: request.org, app: request.app)
            for row in request.firstRow..<request.firstRow + request.rowCount {
                guard outcomes[row] != EventOutcome.quarantined.rawValue,
                    outcomes[row] != EventOutcome.duplicate.rawValue, outcomes[row] != Self.goneOutcome,
                    flags[row] & BlockContent.Flag.serverID == 0
                else { continue }
                if flags[row] & BlockContent.Flag.derivedID == 0,
                    let key = try columns.key(row, shapes[row], keys, self)
                {
                    try body(key.high, key.low, row)
                    continue
                }
                guard let id = try identifier(row) else { throw BlockView.Failure.damaged }
                let key = keys.event(id: id)
                try body(key.high, key.low, row)
            }
        }
    }

    /// The columns that ids of 128 bits stand in, each looked up once a block.
    private struct IDColumns {
        private struct Column {
            var rank: [Int32]
            /// High and low word in turn.
            var words: [UInt64]
            var isUUID: Bool
        }

        private static let unknown = -2
        private static let none = -1

        private let columnOfShape: [UInt16?]
        /// Where a shape's column stands in `columns`.
        private var placeOfShape: [Int]
        private var placeOfColumn: [UInt16: Int] = [:]
        private var columns: [Column] = []

        init(_ shapes: [StoredShape?]) {
            columnOfShape = shapes.map { shape in
                shape?.pieces.first { $0.field == EventField.id.rawValue }.flatMap { $0.column }
            }
            placeOfShape = [Int](repeating: Self.unknown, count: shapes.count)
        }

        /// The key of a row; nil where its id does not stand in such a column.
        mutating func key(
            _ row: Int, _ shape: UInt16, _ keys: IdentityKeys, _ block: DecodedBlock
        ) throws -> (high: UInt64, low: UInt64)? {
            guard Int(shape) < placeOfShape.count else { return nil }
            var place = placeOfShape[Int(shape)]
            if place == Self.unknown {
                place = try look(shape, block)
                placeOfShape[Int(shape)] = place
            }
            guard place >= 0 else { return nil }
            let word = Int(columns[place].rank[row]) * 2
            guard word >= 0, word + 1 < columns[place].words.count else { return nil }
            return keys.event(
                columns[place].words[word], columns[place].words[word + 1], isUUID: columns[place].isUUID)
        }

        private mutating func look(_ shape: UInt16, _ block: DecodedBlock) throws -> Int {
            guard let column = columnOfShape[Int(shape)], let kind = block.dictionary.column(column)?.kind else {
                return Self.none
            }
            if let known = placeOfColumn[column] { return known }
            var place = Self.none
            if case .identifiers(let words)? = try block.values(column) {
                columns.append(Column(rank: try block.rank(column), words: words, isUUID: kind == .uuid))
                place = columns.count - 1
            }
            placeOfColumn[column] = place
            return place
        }
    }

    /// The id of a row, derived and given ones included; nil where it has none.
    func identifier(_ row: Int) throws -> String? {
        let flags = try flags()[row]
        guard let number = view.request(of: row) else { return nil }
        let request = view.requests[number]
        let index = row - request.firstRow
        if flags & BlockContent.Flag.serverID != 0 { return DerivedID.ofServer(nonce: request.nonce, index: index) }
        let raw = try raw(row)
        if flags & BlockContent.Flag.derivedID != 0 {
            return raw.withUnsafeBufferPointer { DerivedID.fromBytes(app: request.app, index: index, $0) }
        }
        return raw.withUnsafeBufferPointer { DerivedID.salvaged(from: $0) }
    }
}
