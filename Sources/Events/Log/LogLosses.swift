internal import AurumCore

/// Files of the log that are not there or cannot be opened: their events are lost, or wait until the file is put back.
package struct LostRange: Sendable, Codable, Equatable {
    /// The segments whose events these are.
    package var first: UInt32
    package var last: UInt32
    /// nil where segments are missing.
    package var archive: String?
    /// nil where nobody knows.
    package var rows: Int?
    package var reason: String

    /// One sentence for the operator.
    package var sentence: String {
        let segments =
            first == last
            ? "segment \(ArchiveFormat.hex(first))"
            : "segments \(ArchiveFormat.hex(first)) to \(ArchiveFormat.hex(last))"
        guard let archive else { return "\(segments): \(reason)" }
        return "\(archive), \(rows ?? 0) rows of \(segments): \(reason)"
    }
}

extension DamagedRange {
    /// One sentence for the operator.
    package var sentence: String {
        let place = "segment \(ArchiveFormat.hex(segment)), offset \(offset)"
        return missingBlocks > 0 ? "\(place): \(missingBlocks) blocks are missing" : "\(place): \(byteCount) bytes"
    }
}

extension RecoveryReport {
    /// Whether anything that was acknowledged is not there.
    package var hasLosses: Bool { !damaged.isEmpty || !lost.isEmpty || isOpenSegmentMissing }

    /// What is damaged or lost, one sentence each.
    package func sentences(most: Int) -> [String] {
        Array((lost.map(\.sentence) + damaged.map(\.sentence)).prefix(most))
    }
}

/// What the numbers of the files say of those that are not there.
enum LogLosses {
    static let damagedSuffix = ".damaged"

    /// An archive that is open, or why it is not. Errors of the storage and versions of a later Aurum go on.
    enum Opened {
        case whole(ArchiveFile)
        case lost(LostRange, isThere: Bool)
    }

    /// - Parameter names: the files of the folder, read after the manifest.
    static func archive(
        _ entry: ManifestArchive, _ storage: any LogStorage, _ names: Set<String>
    ) throws(EventLogError) -> Opened {
        func lost(_ reason: String, isThere: Bool) -> Opened {
            let range = LostRange(
                first: entry.first, last: entry.last, archive: entry.name, rows: entry.rows, reason: reason)
            return .lost(range, isThere: isThere)
        }
        guard names.contains(entry.name) else {
            let isAside = names.contains(entry.name + damagedSuffix)
            return lost(isAside ? "damaged, and set aside as *\(damagedSuffix)" : "missing", isThere: false)
        }
        do throws(ArchiveFile.Failure) {
            return .whole(try ArchiveFile(storage, entry))
        } catch {
            guard case .damaged(let reason) = error else { throw error.opening(entry.name) }
            return lost(reason, isThere: true)
        }
    }

    /// Segments that neither are there nor have had their place taken.
    ///
    /// Where files behind them have left because they were too old, so would they have, and nothing is said any more.
    static func missingSegments(_ present: [UInt32], _ manifest: LogManifest) -> [LostRange] {
        let known = manifest.gone + manifest.archives.map { $0.first...$0.last } + present.map { $0...$0 }
        let expired = manifest.gone.map(\.lowerBound).max() ?? 0
        var found: [LostRange] = []
        var next: UInt32 = 1
        for range in known.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if range.lowerBound > next, range.lowerBound - 1 >= expired {
                found.append(LostRange(first: next, last: range.lowerBound - 1, reason: "missing"))
            }
            next = max(next, range.upperBound == .max ? .max : range.upperBound + 1)
        }
        return found
    }
}

/// Finds the segments that end too early, by the numbers of their blocks: those of a log have no gaps.
struct BlockChain {
    private var segment: UInt32 = 0
    private var end = 0
    private var nextSequence: UInt64 = 1
    private var isBroken = true

    /// Takes the first block of a segment.
    ///
    /// - Returns: what is missing at the end of the segment before, where that was whole so far.
    func gap(before number: UInt32, _ header: BlockHeader) -> DamagedRange? {
        guard !isBroken, segment &+ 1 == number, header.sequence > nextSequence else { return nil }
        return DamagedRange(
            segment: segment, offset: end, byteCount: 0,
            missingBlocks: Int(clamping: header.sequence - nextSequence))
    }

    /// What an earlier start found missing behind the last block, when the next segment was still there to say so.
    static func knownGap(
        _ segment: UInt32, _ file: LogFile, at end: Int, _ storage: any LogStorage, _ names: Set<String>
    ) throws(LogStorageError) -> DamagedRange? {
        let name = markName(file, end)
        guard names.contains(name) else { return nil }
        let mark = try LogFile(storage, name)
        let text = String(decoding: try mark.read(at: 0, count: 20), as: UTF8.self)
        // A file of bytes that failed their check has the same name where such bytes stood.
        guard text.hasSuffix("\n"), let blocks = Int(text.dropLast()), blocks > 0 else { return nil }
        return DamagedRange(segment: segment, offset: end, byteCount: 0, missingBlocks: blocks)
    }

    /// Notes a gap for later starts. Durable when it returns.
    static func note(_ gap: DamagedRange, _ file: LogFile, _ storage: any LogStorage) throws(LogStorageError) {
        let mark = try LogFile(storage, markName(file, gap.offset), create: true)
        try mark.write(Array("\(gap.missingBlocks)\n".utf8), at: 0)
        try mark.sync()
        try storage.syncFolder()
    }

    private static func markName(_ file: LogFile, _ offset: Int) -> String {
        "\(file.name).\(offset)\(LogLosses.damagedSuffix)"
    }

    /// Takes the end of a segment.
    ///
    /// - Parameter isBroken: damage at its end is known of already.
    mutating func ended(_ segment: UInt32, at end: Int, nextSequence: UInt64, isBroken: Bool) {
        (self.segment, self.end, self.nextSequence, self.isBroken) = (segment, end, nextSequence, isBroken)
    }
}
