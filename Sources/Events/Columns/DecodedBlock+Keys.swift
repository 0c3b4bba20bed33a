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
        let columns = storedShapes.map { shape in
            shape?.pieces.first { $0.field == EventField.id.rawValue }.flatMap { $0.column }
        }
        for request in view.requests {
            let keys = secret.keys(org: request.org, app: request.app)
            for row in request.firstRow..<request.firstRow + request.rowCount {
                guard outcomes[row] != EventOutcome.quarantined.rawValue,
                    outcomes[row] != EventOutcome.duplicate.rawValue, outcomes[row] != Self.goneOutcome,
                    flags[row] & BlockContent.Flag.serverID == 0
                else { continue }
                let column = Int(shapes[row]) < columns.count ? columns[Int(shapes[row])] : nil
                let key = try key(row, column, flags[row], request, keys)
                try body(key.high, key.low, row)
            }
        }
    }

    private func key(
        _ row: Int, _ column: UInt16?, _ flags: UInt8, _ request: RequestView, _ keys: IdentityKeys
    ) throws -> (high: UInt64, low: UInt64) {
        if flags & BlockContent.Flag.derivedID == 0, let column, let kind = dictionary.column(column)?.kind {
            let place = Int(try rank(column)[row])
            if case .identifiers(let words)? = try values(column), place >= 0, place * 2 + 1 < words.count {
                return keys.event(words[place * 2], words[place * 2 + 1], isUUID: kind == .uuid)
            }
        }
        guard let id = try identifier(row) else { throw BlockView.Failure.damaged }
        return keys.event(id: id)
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
