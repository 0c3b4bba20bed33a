internal import Events

/// One event of a person as a run over the log keeps it on disk: 40 bytes, whatever it is.
struct LogRecord: Equatable, Sendable {
    enum Kind {
        static let click: UInt8 = 1
        static let view: UInt8 = 2
        /// A page, screen or open that carries its origin.
        static let visit: UInt8 = 3
        /// Any other page, screen or open: the touchpoint of a session that has no other.
        static let page: UInt8 = 4
        /// The event that the w-shaped models call the milestone.
        static let milestone: UInt8 = 5
        static let conversion: UInt8 = 6
        /// Follows its conversion: `extra` is a hash of the order.
        static let order: UInt8 = 7
        /// Anything else that a person did: a session goes on with it.
        static let other: UInt8 = 8
        /// A touch that the fraud rules bar from credit: `extra` as for a touch, so that the visit it led to gets none
        /// either.
        static let rejected: UInt8 = 9
        /// Follows its conversion: `extra` is what refunds take off it, see `RefundAmount`, `label` as of an order.
        static let refund: UInt8 = 10
    }

    /// After merges.
    var person: UInt64
    /// Microseconds since 1970.
    var time: Int64
    /// The first bytes of the event id.
    var id: UInt64
    /// A touch: hash of the click id, 0 without one. A conversion: millionths of the currency's unit, `Int64.min`
    /// without a value.
    var extra: UInt64
    /// A touch: network, campaign and channel, see `TouchLabel`. A conversion: number of the currency above, of the
    /// definition below.
    var label: UInt32
    /// More of the event id.
    var tail: UInt16
    var kind: UInt8
    /// Number of the app.
    var app: UInt8

    init(
        person: UInt64, time: Int64, id: UInt64, extra: UInt64 = 0, label: UInt32 = 0, tail: UInt16 = 0, kind: UInt8,
        app: UInt8 = 0
    ) {
        (self.person, self.time, self.id, self.extra) = (person, time, id, extra)
        (self.label, self.tail, self.kind, self.app) = (label, tail, kind, app)
    }

    /// By person, time and event id; what else is equal is told apart by what the record says, never by arrival.
    @inline(__always)
    static func stands(_ left: LogRecord, before right: LogRecord) -> Bool {
        if left.person != right.person { return left.person < right.person }
        if left.time != right.time { return left.time < right.time }
        if left.id != right.id { return left.id < right.id }
        if left.tail != right.tail { return left.tail < right.tail }
        if left.kind != right.kind { return left.kind < right.kind }
        if left.extra != right.extra { return left.extra < right.extra }
        return left.label < right.label
    }
}

/// Campaign and channel of a touch in one number; in records, and there alone, also the number of a network that has
/// windows of its own.
package enum TouchLabel {
    static let channelBits: UInt32 = 5
    private static let networkShift: UInt32 = 22
    static let networksMax = 1 << 10 - 1
    /// Campaigns that are told apart in one run; what comes when so many are known is all one campaign.
    static let campaignsMax = 50_000

    @inline(__always)
    package static func of(campaign: UInt32, channel: UInt8) -> UInt32 { campaign &<< channelBits | UInt32(channel) }
    @inline(__always)
    static func channel(_ label: UInt32) -> UInt8 { UInt8(truncatingIfNeeded: label & (1 << channelBits - 1)) }
    @inline(__always)
    static func campaign(_ label: UInt32) -> UInt32 { bare(label) &>> channelBits }
    /// 0 for every network without windows of its own.
    @inline(__always)
    static func network(_ label: UInt32) -> UInt32 { label &>> networkShift }
    @inline(__always)
    static func bare(_ label: UInt32) -> UInt32 { label & (1 &<< networkShift &- 1) }
    static func with(network: UInt32, _ label: UInt32) -> UInt32 { bare(label) | network &<< networkShift }
}

/// The channels of a run, in the order of their names, so that no fit depends on which was met first.
package enum TouchChannel {
    static let names = Channel.allCases.map(\.rawValue).sorted()
    static let direct = UInt8(truncatingIfNeeded: names.firstIndex(of: Channel.direct.rawValue) ?? 0)
    static let other = UInt8(truncatingIfNeeded: names.firstIndex(of: Channel.other.rawValue) ?? 0)
    /// The label of conversions without touchpoints: no channel of a path.
    static let organic = UInt8(truncatingIfNeeded: names.count)

    package static func number(_ name: String) -> UInt8 {
        names.firstIndex(of: name).map { UInt8(truncatingIfNeeded: $0) } ?? other
    }

    static func name(_ number: UInt8) -> String { Int(number) < names.count ? names[Int(number)] : "organic" }
}

/// Sorts records of many persons: into buckets of about eight by the bits of the person, then each bucket.
struct LogRecordSorter {
    private var starts: [Int] = []
    private static let bucketRecords = 8
    private static let bucketBitsMax = 20

    /// - Parameters:
    ///   - skipBits: leading bits of the person that are equal in all records.
    ///   - scratch: as long as `records` at least; what it holds then is of no use.
    mutating func sort(
        _ records: UnsafeMutableBufferPointer<LogRecord>, scratch: UnsafeMutableBufferPointer<LogRecord>,
        skipBits: Int
    ) {
        let count = records.count
        var bits = 1
        while bits < Self.bucketBitsMax, bits < 64 - skipBits, count >> bits > Self.bucketRecords { bits += 1 }
        let (left, right) = (UInt64(skipBits), UInt64(64 - bits))
        starts.removeAll(keepingCapacity: true)
        starts.append(contentsOf: repeatElement(0, count: 1 << bits + 1))
        starts.withUnsafeMutableBufferPointer { starts in
            for record in records { starts[Int((record.person &<< left) &>> right) &+ 1] &+= 1 }
            for bucket in 1..<starts.count { starts[bucket] &+= starts[bucket &- 1] }
            for record in records {
                let bucket = Int((record.person &<< left) &>> right)
                scratch[starts[bucket]] = record
                starts[bucket] &+= 1
            }
            // Each start has moved to its bucket's end.
            _ = records.update(fromContentsOf: scratch[0..<count])
            var start = 0
            for bucket in 0..<starts.count - 1 {
                let end = starts[bucket]
                if end - start > 1 { Self.order(UnsafeMutableBufferPointer(rebasing: records[start..<end])) }
                start = end
            }
        }
    }

    @inline(__always)
    private static func order(_ bucket: UnsafeMutableBufferPointer<LogRecord>) {
        guard bucket.count <= 32 else {
            var all = bucket
            all.sort(by: LogRecord.stands)
            return
        }
        for index in 1..<bucket.count {
            let record = bucket[index]
            var place = index
            while place > 0, LogRecord.stands(record, before: bucket[place &- 1]) {
                bucket[place] = bucket[place &- 1]
                place &-= 1
            }
            bucket[place] = record
        }
    }
}
