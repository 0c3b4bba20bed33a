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
    /// Blocks that are not there at all, at the end of a file that was cut; 0 for bytes that fail their check.
    package var missingBlocks = 0
}

/// What opening the log found.
package struct RecoveryReport: Sendable, Equatable {
    package var segments = 0
    package var blocks = 0
    package var rows = 0
    /// Bytes cut from the end of the last segment: written but never acknowledged.
    package var cutBytes = 0
    package var damaged: [DamagedRange] = []
    /// Archives and segments that are missing or cannot be opened.
    package var lost: [LostRange] = []
    /// There are archives and no segment behind them: the one that was open is lost, and another was begun.
    package var isOpenSegmentMissing = false
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

    private struct State: Sendable {
        var segments: [Segment] = []
        var archives: [ArchiveFile] = []
    }

    private let state = Mutex(State())

    /// Oldest first; those whose place an archive took are not among them.
    var segments: [Segment] { state.withLock { $0.segments } }

    /// Oldest first.
    var archives: [ArchiveFile] { state.withLock { $0.archives } }

    /// Both at one moment: no event is in both or in neither.
    var snapshot: (archives: [ArchiveFile], segments: [Segment]) { state.withLock { ($0.archives, $0.segments) } }

    subscript(number: UInt32) -> Segment? { state.withLock { $0.segments.first { $0.number == number } } }

    func archive(of segment: UInt32) -> ArchiveFile? {
        state.withLock { $0.archives.first { $0.holds(segment) } }
    }

    func add(_ segment: Segment) { state.withLock { $0.segments.append(segment) } }

    func add(_ archive: ArchiveFile) { state.withLock { $0.archives.append(archive) } }

    /// Puts an archive, or nothing, in the place of segments and of the archives among them.
    func replace(_ range: ClosedRange<UInt32>, with archive: ArchiveFile?) {
        state.withLock { state in
            state.segments.removeAll { range.contains($0.number) }
            state.archives.removeAll { range.contains($0.first) }
            guard let archive else { return }
            state.archives.append(archive)
            state.archives.sort { $0.first < $1.first }
        }
    }

    /// Notes that something is damaged, or missing, at a place of a segment.
    func noteDamage(_ number: UInt32, at offset: Int) {
        state.withLock { state in
            guard let index = state.segments.lastIndex(where: { $0.number == number }) else { return }
            state.segments[index].damagedOffsets.insert(offset)
        }
    }

    func publish(_ number: UInt32, durableBytes: Int) {
        state.withLock { state in
            guard let index = state.segments.lastIndex(where: { $0.number == number }) else { return }
            state.segments[index].durableBytes = durableBytes
        }
    }

    var byteCount: Int {
        state.withLock { state in
            state.segments.reduce(0) { $0 + $1.durableBytes } + state.archives.reduce(0) { $0 + $1.entry.bytes }
        }
    }
}
