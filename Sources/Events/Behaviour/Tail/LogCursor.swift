/// A place in a snapshot of the log: before a row of a block of a segment.
package struct LogCursor: Sendable, Equatable {
    /// `ColumnSegment.identity`.
    var segment: UInt64
    var block: Int
    var row: Int
    /// The last row before it, by which the place is found again where segments were rewritten.
    var last: LogPosition?
}

extension LogCursor {
    /// The place after everything in a snapshot; nil for an empty log.
    static func end(of segments: [ColumnSegment]) throws -> LogCursor? {
        guard let last = segments.last else { return nil }
        return LogCursor(
            segment: last.identity, block: last.blocks.count, row: 0, last: try lastPosition(of: segments))
    }

    /// The position of the last row of a snapshot that can be read; nil for an empty log.
    package static func lastPosition(of segments: [ColumnSegment]) throws -> LogPosition? {
        for segment in segments.reversed() {
            if let newest = segment.newest { return newest }
            for index in segment.blocks.indices.reversed() where segment.blocks[index].rowCount > 0 {
                if let block = try segment.read(index), block.rowCount > 0 { return block.position(block.rowCount - 1) }
            }
        }
        return nil
    }

    /// The place after a position, whether or not a row is there: a search by halves over all blocks.
    static func after(_ position: LogPosition, in segments: [ColumnSegment]) throws -> LogCursor? {
        var places: [(segment: Int, block: Int)] = []
        for (number, segment) in segments.enumerated() {
            for block in segment.blocks.indices where segment.blocks[block].rowCount > 0 {
                places.append((number, block))
            }
        }
        var low = 0
        var high = places.count
        while low < high {
            // A block that cannot be read is taken for one with the next that can.
            var middle = (low + high) / 2
            var found: LogPosition?
            while middle < high, found == nil {
                let block = try segments[places[middle].segment].read(places[middle].block)
                found = block.map { $0.position($0.rowCount - 1) }
                if found == nil { middle += 1 }
            }
            if let found, found <= position { low = middle + 1 } else { high = (low + high) / 2 }
        }
        guard low < places.count else { return try end(of: segments) }
        let (number, index) = places[low]
        var row = 0
        if let block = try segments[number].read(index) {
            while row < block.rowCount, block.position(row) <= position { row += 1 }
        }
        return LogCursor(segment: segments[number].identity, block: index, row: row, last: position)
    }

    /// The segment that the cursor stands in; nil when it was rewritten since.
    func index(in segments: [ColumnSegment]) -> Int? {
        segments.lastIndex { $0.identity == segment && block <= $0.blocks.count }
    }

    /// Moves to the next block; false at the end of the snapshot.
    mutating func settle(in segments: [ColumnSegment], at number: inout Int) -> Bool {
        while block >= segments[number].blocks.count {
            guard number + 1 < segments.count else { return false }
            number += 1
            segment = segments[number].identity
            block = 0
            row = 0
        }
        return true
    }
}

/// A snapshot of the log whose blocks all stand in its order: archives are read in the order in which their requests
/// came. One reader's; not thread-safe.
struct OrderedLog {
    private let filter: RowFilter
    private var known: [UInt64: ColumnSegment] = [:]

    init(_ filter: RowFilter) { self.filter = filter }

    /// A snapshot for an export.
    static func segments(of source: any ColumnSource, _ request: ExportRequest) throws -> [ColumnSegment] {
        var log = OrderedLog(request.filter)
        return try log.segments(try source.segments(), after: nil)
    }

    /// - Parameter position: archives that end before it are left empty.
    mutating func segments(_ segments: [ColumnSegment], after position: LogPosition?) throws -> [ColumnSegment] {
        guard segments.contains(where: { $0.inLogOrder != nil }) else { return segments }
        var kept: [UInt64: ColumnSegment] = [:]
        let ordered = try segments.map { segment -> ColumnSegment in
            guard let inLogOrder = segment.inLogOrder, let newest = segment.newest else { return segment }
            if let position, newest <= position {
                var empty = segment
                empty.blocks = []
                return empty
            }
            var made = try known[segment.identity] ?? inLogOrder(filter)
            made.newest = newest
            kept[segment.identity] = made
            return made
        }
        known = kept
        return ordered
    }
}
