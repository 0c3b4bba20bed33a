internal import Synchronization

/// Where an event stands in the log.
package struct LogPosition: Hashable, Sendable, Comparable, CustomStringConvertible {
    package var segment: UInt32
    package var offset: UInt32
    package var row: UInt32

    package init(segment: UInt32, offset: UInt32, row: UInt32) {
        (self.segment, self.offset, self.row) = (segment, offset, row)
    }

    package var description: String {
        func hex(_ value: UInt32) -> String {
            let digits = String(value, radix: 16)
            return String(repeating: "0", count: 8 - digits.utf8.count) + digits
        }
        return "\(hex(segment))-\(hex(offset))-\(row)"
    }

    package static func < (left: LogPosition, right: LogPosition) -> Bool {
        (left.segment, left.offset, left.row) < (right.segment, right.offset, right.row)
    }
}

/// A stretch of a segment that failed its check: its events are lost, everything else serves.
package struct DamagedRange: Sendable, Equatable, Codable {
    package var segment: UInt32
    package var offset: Int
    package var byteCount: Int
}

/// What opening the log found.
package struct RecoveryReport: Sendable, Equatable {
    package var segments = 0
    package var blocks = 0
    package var rows = 0
    /// Bytes cut from the end of the last segment: written but never acknowledged.
    package var cutBytes = 0
    package var damaged: [DamagedRange] = []
    package var seconds = 0.0
    /// Event ids that the de-duplication index took from the log, because it did not hold them itself.
    package var replayedIdentifiers = 0
}

/// The segment files and how far each may be read: everything behind that is not durable.
final class SegmentDirectory: Sendable {
    struct Segment: Sendable {
        let number: UInt32
        let file: LogFile
        var durableBytes: Int
        var damagedOffsets: Set<Int>
    }

    private let list = Mutex<[Segment]>([])

    /// Oldest first.
    var segments: [Segment] { list.withLock { $0 } }

    subscript(number: UInt32) -> Segment? { list.withLock { $0.first { $0.number == number } } }

    func add(_ segment: Segment) { list.withLock { $0.append(segment) } }

    func publish(_ number: UInt32, durableBytes: Int) {
        list.withLock { segments in
            guard let index = segments.lastIndex(where: { $0.number == number }) else { return }
            segments[index].durableBytes = durableBytes
        }
    }

    var byteCount: Int { list.withLock { $0.reduce(0) { $0 + $1.durableBytes } } }
}
