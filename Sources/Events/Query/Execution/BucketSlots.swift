internal import AurumCore

/// Which bucket a row's time lies in, looked up by stretches of time: the calendar is asked once a stretch and not once
/// a row. Stretches in which a bucket ends are asked for each row.
struct BucketSlots {
    private static let unknown = UInt32.max
    private static let mixed = UInt32.max - 1
    private static let chunkSize: Int64 = 1024

    private let zone: ZoneClock
    private let bucket: TimeBucket
    /// Bucket numbers of stretches, in chunks.
    private var chunks: [Int64: [UInt32]] = [:]
    /// The bucket of each stretch that was asked for; nil where there are several.
    private var keys: [Int64: Int64?] = [:]

    init(_ zone: ZoneClock, _ bucket: TimeBucket) {
        self.zone = zone
        self.bucket = bucket
    }

    private static let minute: Int64 = 60_000_000
    private static let quarter: Int64 = 900_000_000

    @inline(__always)
    private static func floor(_ time: Int64, _ width: Int64) -> Int64 {
        time >= 0 ? time / width : -((width &- 1 &- time) / width)
    }

    private var width: Int64 { bucket == .minute ? Self.minute : Self.quarter }

    /// Forgets bucket numbers, because another answer gives them out.
    mutating func forgetNumbers() { chunks = [:] }

    /// The one bucket of all times of a range, if it is sure that there is one.
    mutating func only(from earliest: Int64, to latest: Int64) -> Int64? {
        let (first, last) = (earliest.quotientRoundingDown(width), latest.quotientRoundingDown(width))
        guard last - first < 200, let key = key(ofSlot: first) else { return nil }
        for slot in first...last where self.key(ofSlot: slot) != key { return nil }
        return key
    }

    private mutating func key(ofSlot slot: Int64) -> Int64? {
        if let known = keys[slot] { return known }
        if keys.count > 1 << 20 { keys = [:] }
        let first = zone.key(bucket, at: slot * width)
        let last = zone.key(bucket, at: (slot + 1) * width - 1)
        let key: Int64? = first == last ? first : nil
        keys[slot] = .some(key)
        return key
    }

    /// The bucket number of each row.
    /// - Parameter number: gives out the number of a bucket.
    mutating func numbers(
        _ times: [Int64], _ selection: RowSelection, rowCount: Int, number: (Int64) -> UInt32
    ) -> [UInt32] {
        precondition(times.count >= rowCount, "a column is shorter than its block")
        let count = selection.count(of: rowCount)
        let rows = BlockRows(selection: selection, rowCount: rowCount, groups: .one(0))
        return [UInt32](unsafeUninitializedCapacity: count) { out, filled in
            times.withUnsafeBufferPointer { times in
                var place = 0
                var chunkNumber = Int64.min
                var chunk: [UInt32] = []
                rows.forEach { row, _ in
                    let time = times[row]
                    // Constant divisors, so that no division is done.
                    let slot =
                        bucket == .minute ? Self.floor(time, Self.minute) : Self.floor(time, Self.quarter)
                    let wanted = slot &>> 10
                    if wanted != chunkNumber {
                        if chunkNumber != .min { chunks[chunkNumber] = chunk }
                        chunk = chunks[wanted] ?? Array(repeating: Self.unknown, count: Int(Self.chunkSize))
                        chunkNumber = wanted
                    }
                    let index = Int(slot & (Self.chunkSize - 1))
                    var found = chunk[index]
                    if found >= Self.mixed {
                        if found == Self.unknown {
                            found = key(ofSlot: slot).map(number) ?? Self.mixed
                            chunk[index] = found
                        }
                        if found == Self.mixed { found = number(zone.key(bucket, at: time)) }
                    }
                    out[place] = found
                    place &+= 1
                }
                if chunkNumber != .min { chunks[chunkNumber] = chunk }
            }
            filled = count
        }
    }
}
