/// What every row has, read without the dictionaries of the segment.
extension BlockView {
    func times() throws(Failure) -> [Int64] {
        let count = rowCount
        let times = try read(.times) { reader -> [Int64]? in
            guard let unit = reader.byte(), let first = reader.word(Int64.self),
                let steps = reader.planes(count, of: UInt64.self)
            else { return nil }
            var last = first
            return steps.map { step in
                last = last &+ ZigZag.decode(step)
                return unit == 1 ? last &* 1000 : last
            }
        }
        guard let times else { throw .damaged }
        return times
    }

    /// The column of a role that has one byte a row.
    func byteOfRows(_ role: PartRole) throws(Failure) -> [UInt8] {
        let count = rowCount
        guard let bytes = try read(role, { $0.bytesOfRun(most: count) }), bytes.count == count else { throw .damaged }
        return bytes
    }

    /// Touchpoint candidates one behind the other; empty where there is none.
    func touches() throws(Failure) -> [UInt8] {
        let most = rowCount * TouchLayout.byteCount
        return try read(.touches, { $0.bytesOfRun(most: most) }) ?? []
    }
}

extension BlockView {
    /// What `body` answers, or nil when what it reads is damaged; other errors go on.
    static func readable<Value>(_ body: () throws -> Value?) throws -> Value? {
        do { return try body() } catch Failure.damaged { return nil }
    }
}
