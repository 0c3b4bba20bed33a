/// One selected event in the life of a person: 32 bytes, so that half a gigabyte holds sixteen million.
package struct SequenceRow: Equatable, Sendable {
    /// The person after merges, scrambled by `PersonScramble`, so that its bits divide persons evenly.
    package var person: UInt64
    /// Microseconds since 1970.
    package var time: Int64
    /// What else the query wants of the event: an amount, or the code of a breakdown.
    package var extra: Int64
    /// What the event is to the query: a set of steps, or a label.
    package var code: UInt32
    /// Orders events of one moment.
    package var order: UInt32

    package init(person: UInt64, time: Int64, extra: Int64 = 0, code: UInt32, order: UInt32 = 0) {
        (self.person, self.time, self.extra, self.code, self.order) = (person, time, extra, code, order)
    }

    /// By person, then time, then order, then code: a total order over everything that a walk looks at.
    @inline(__always)
    static func stands(_ left: SequenceRow, before right: SequenceRow) -> Bool {
        if left.person != right.person { return left.person < right.person }
        if left.time != right.time { return left.time < right.time }
        if left.order != right.order { return left.order < right.order }
        return left.code < right.code
    }
}

/// A one-to-one scrambling of 64 bits. Source: the finaliser of MurmurHash3 (Appleby).
enum PersonScramble {
    @inline(__always)
    static func of(_ key: UInt64) -> UInt64 {
        var bits = key
        bits ^= bits >> 33
        bits = bits &* 0xff51_afd7_ed55_8ccd
        bits ^= bits >> 33
        bits = bits &* 0xc4ce_b9fe_1a85_ec53
        return bits ^ bits >> 33
    }

    /// The way back.
    static func undo(_ scrambled: UInt64) -> UInt64 {
        var bits = scrambled
        bits ^= bits >> 33
        bits = bits &* 0x9cb4_b2f8_1293_37db
        bits ^= bits >> 33
        bits = bits &* 0x4f74_430c_22a5_4005
        return bits ^ bits >> 33
    }
}

/// Looks at persons one after another and adds up what it sees. Walks of different persons never meet, so that many
/// walkers share the work and are added together in the end.
package protocol SequenceWalker {
    /// All rows of one person, in the order of `SequenceRow.stands`.
    mutating func walk(_ rows: UnsafeBufferPointer<SequenceRow>)
    mutating func add(_ other: Self)
}

/// Sorts rows of many persons: first into buckets of about eight by the bits of the person, then each bucket.
struct SequenceSorter {
    private var scratch: ContiguousArray<SequenceRow> = []
    private var starts: ContiguousArray<Int32> = []
    private static let bucketRows = 8
    private static let bucketBitsMax = 18

    /// - Parameter skipBits: leading bits of the person that are equal in all rows.
    mutating func sort(_ rows: inout ContiguousArray<SequenceRow>, skipBits: Int) {
        let count = rows.count
        guard count > 32 else {
            rows.sort(by: SequenceRow.stands)
            return
        }
        var bits = 1
        while bits < Self.bucketBitsMax, count >> bits > Self.bucketRows { bits += 1 }
        let (left, right) = (UInt64(skipBits), UInt64(64 - bits))
        starts = ContiguousArray(repeating: 0, count: 1 << bits + 1)
        for row in rows { starts[Int((row.person &<< left) &>> right) + 1] += 1 }
        for bucket in 1..<starts.count { starts[bucket] += starts[bucket - 1] }
        if scratch.count < count {
            scratch = ContiguousArray(repeating: SequenceRow(person: 0, time: 0, code: 0), count: count)
        }
        for row in rows {
            let bucket = Int((row.person &<< left) &>> right)
            scratch[Int(starts[bucket])] = row
            starts[bucket] += 1
        }
        // Each start has moved to its bucket's end.
        rows.withUnsafeMutableBufferPointer { target in
            scratch.withUnsafeBufferPointer { source in
                _ = target.update(fromContentsOf: source[0..<count])
            }
            var start = 0
            for bucket in 0..<starts.count - 1 {
                let end = Int(starts[bucket])
                if end - start > 1 { Self.order(UnsafeMutableBufferPointer(rebasing: target[start..<end])) }
                start = end
            }
        }
    }

    @inline(__always)
    private static func order(_ bucket: UnsafeMutableBufferPointer<SequenceRow>) {
        guard bucket.count <= 24 else {
            var all = bucket
            all.sort(by: SequenceRow.stands)
            return
        }
        for index in 1..<bucket.count {
            let row = bucket[index]
            var place = index
            while place > 0, SequenceRow.stands(row, before: bucket[place - 1]) {
                bucket[place] = bucket[place - 1]
                place -= 1
            }
            bucket[place] = row
        }
    }
}
