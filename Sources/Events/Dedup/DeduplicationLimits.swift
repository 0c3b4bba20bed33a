/// Where a block of the log begins or ends: the checkpoint of the index. Later blocks have larger points.
package struct LogPoint: Comparable, Hashable, Sendable {
    package var segment: UInt32
    package var offset: UInt64

    package init(segment: UInt32, offset: UInt64) {
        self.segment = segment
        self.offset = offset
    }

    package static let start = LogPoint(segment: 0, offset: 0)

    package static func < (left: LogPoint, right: LogPoint) -> Bool {
        (left.segment, left.offset) < (right.segment, right.offset)
    }
}

/// Why the index cannot say whether an id is new. It then says nothing at all: never "new".
package enum DeduplicationError: Error, Equatable, Sendable {
    case storage(LogStorageError)
    /// A file of the index failed its check. It has been struck off: the next opening rebuilds from the log.
    case damaged(file: String)

    /// One sentence for the operator.
    package var sentence: String {
        switch self {
        case .storage(let error): error.sentence
        case .damaged(let file):
            "The de-duplication file \(file) is damaged; a restart rebuilds the index from the log."
        }
    }
}

/// The window of the index and the sizes of its parts.
package struct DeduplicationLimits: Sendable, Equatable {
    /// Ids that are certainly remembered when none is too old: at most 4 billion.
    package var identifiersMax: Int
    /// Ids are certainly remembered for so long: microseconds.
    package var windowMicroseconds: Int64 = 7 * 86_400_000_000
    /// Newest ids kept in memory; as many again while they are written to disk.
    package var memoryIdentifiers: Int
    /// Generations of a full window; the oldest leaves as a whole, so up to one more is remembered.
    package var generations = 6
    /// Files of one size that become one.
    package var mergedRuns = 64
    /// Whether everything on disk is read and checked in the background after opening, which also warms the page cache.
    package var checksAtOpen = true

    package init(identifiersMax: Int) {
        self.identifiersMax = min(max(identifiersMax, 1), 4_000_000_000)
        memoryIdentifiers = min(150_000, max(32, self.identifiersMax / 24))
    }

    /// Ids in the newest table at which the writer waits for the disk.
    var memoryIdentifiersMost: Int { memoryIdentifiers * 5 / 2 }

    /// A generation closes up to half a table early, and yet a full window of them leaves the one before it free to go.
    private var generationMost: Int { identifiersMax / max(1, generations) + memoryIdentifiers }

    /// Ids of a new generation: as many as there are, so that an index that is young has few and small ones.
    func generationIdentifiers(count: Int) -> Int {
        min(generationMost, max(count, memoryIdentifiers * 4))
    }

    /// Memory that is not filters: two tables, work in the background, and what the allocator rounds up.
    private static let otherBytes = 16 << 20

    /// Bits of filter an id: what 1.25 bytes an id of the window and 32 MB leave when everything else is taken off,
    /// though
    /// the index holds up to one generation more than the window.
    var filterBits: Double {
        let held = Double(identifiersMax + generationMost)
        let allowed = Double(identifiersMax) * 1.25 + Double((32 << 20) - Self.otherBytes)
        // A directory has four bytes for 256 ids; the newest generation has sieves.
        let bytes = allowed - held * 4 / 256 - Double(RunSieve.byteCount(keys: generationMost))
        return min(12, max(8, bytes * 8 / held))
    }

    /// Bits of filter an id that a small generation may have at most: one unknown id in a thousand passes it.
    private static let filterBitsMost = 16.0

    /// Cache lines of the filter of a generation.
    ///
    /// The generations of a young index are smaller than those of a full window. Each may take the memory of a full
    /// one, so that its filter errs less: they have left before the window holds a generation more than it must.
    func filterBlocks(identifiers: Int) -> Int {
        let full = Double(generationMost) * filterBits
        let bits = max(filterBits, min(Self.filterBitsMost, full / Double(max(1, identifiers))))
        return max(1, Int((Double(identifiers) * bits / 512).rounded(.up)))
    }
}
