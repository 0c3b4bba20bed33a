/// Walks the blocks of a segment file from the front.
///
/// A header that is broken is damage when a whole header follows it, and the torn end of the file when none does.
struct SegmentWalk {
    enum Step {
        case block(offset: Int, BlockHeader)
        case damage(offset: Int, count: Int)
        /// Nothing more: `isTorn` says that bytes other than zeros follow.
        case end(offset: Int, isTorn: Bool)
        case unknownVersion(UInt16)
    }

    private let file: LogFile
    private let end: Int
    private var offset: Int
    private var lastSequence: UInt64?
    private var window: [UInt8] = []
    private var windowStart = 0
    private static let windowBytes = 16 << 10

    /// - Parameter end: bytes of the file to look at.
    init(_ file: LogFile, from offset: Int = SegmentFormat.headerBytes, end: Int) {
        self.file = file
        self.offset = offset
        self.end = end
    }

    /// The next step; after `end` it stays the end.
    mutating func next() throws(LogStorageError) -> Step {
        guard offset + BlockHeader.byteCount <= end else {
            return .end(offset: offset, isTorn: try hasBytes(offset, end))
        }
        switch try header(at: offset) {
        case .valid(let header) where offset + Int(header.totalBytes) <= end:
            let place = offset
            offset += Int(header.totalBytes)
            lastSequence = header.sequence
            return .block(offset: place, header)
        case .unknownVersion(let version): return .unknownVersion(version)
        case .zeros where try !hasBytes(offset, end): return .end(offset: offset, isTorn: false)
        case .valid, .zeros, .broken: break
        }
        let bad = offset
        guard let good = try resynchronised(after: bad) else { return .end(offset: bad, isTorn: true) }
        offset = good
        return .damage(offset: bad, count: good - bad)
    }

    /// The next place behind `bad` where a whole header with a later sequence stands.
    private mutating func resynchronised(after bad: Int) throws(LogStorageError) -> Int? {
        var place = bad + BlockHeader.alignment
        while place + BlockHeader.byteCount <= end {
            if try bytes(at: place, count: 4, ahead: Self.windowBytes).elementsEqual([0x41, 0x42, 0x4b, 0x32]),
                case .valid(let header) = try header(at: place), place + Int(header.totalBytes) <= end,
                isLater(header.sequence, than: bad, at: place)
            {
                return place
            }
            place += BlockHeader.alignment
        }
        return nil
    }

    /// Whether a block may have this number: larger than the last, by no more than blocks fit between.
    private func isLater(_ sequence: UInt64, than bad: Int, at place: Int) -> Bool {
        guard let last = lastSequence else { return sequence > 0 && sequence < UInt64.max / 2 }
        return sequence > last && sequence - last <= UInt64((place - bad) / BlockHeader.byteCount) + 1
    }

    private mutating func header(at place: Int) throws(LogStorageError) -> BlockHeader.Reading {
        // From block to block nothing else is read: what lies between would be most of the log.
        let slice = try bytes(at: place, count: BlockHeader.byteCount, ahead: BlockHeader.byteCount)
        return slice.withUnsafeBytes { BlockHeader.decode($0) }
    }

    private mutating func bytes(
        at place: Int, count: Int, ahead: Int
    ) throws(LogStorageError) -> ArraySlice<UInt8> {
        if place < windowStart || place + count > windowStart + window.count {
            window = try file.read(at: place, count: min(ahead, max(count, end - place)))
            windowStart = place
        }
        let start = place - windowStart
        return window[start..<min(window.count, start + count)]
    }

    private mutating func hasBytes(_ from: Int, _ to: Int) throws(LogStorageError) -> Bool {
        var place = from
        while place < to {
            let part = try file.read(at: place, count: min(Self.windowBytes, to - place))
            if part.isEmpty { return false }
            if part.contains(where: { $0 != 0 }) { return true }
            place += part.count
        }
        return false
    }
}
