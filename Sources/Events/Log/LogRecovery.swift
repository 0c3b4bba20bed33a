internal import AurumCore

/// Brings the log back after any kind of stop: finds the end of what was acknowledged, cuts a torn tail, sets damaged
/// blocks aside and says so. Nothing that was acknowledged is ever rewritten.
struct LogRecovery {
    /// Where writing goes on.
    struct Tail {
        var segment: UInt32
        var file: LogFile
        var offset: Int
        var nextSequence: UInt64
        var previousCRC: UInt32

        var point: LogPoint { LogPoint(segment: segment, offset: UInt64(offset)) }
    }

    private let storage: any LogStorage
    private let directory: SegmentDirectory
    private(set) var report = RecoveryReport()
    private var nextSequence: UInt64 = 1
    private var previousCRC: UInt32 = 0
    private var chain = BlockChain()
    private var names: Set<String> = []

    private let manifest: LogManifest

    init(storage: any LogStorage, directory: SegmentDirectory, manifest: LogManifest = LogManifest()) {
        self.storage = storage
        self.directory = directory
        self.manifest = manifest
    }

    /// Opens every segment and answers where the last whole block of the open one ends; nil when there is none.
    mutating func run() throws(EventLogError) -> Tail? {
        do {
            names = Set(try storage.names())
            try openArchives()
            let numbers = names.compactMap(SegmentFormat.number).filter { !manifest.replaces($0) }
                .sorted()
            var tail: Tail?
            for number in numbers { tail = try open(number, isLast: number == numbers.last && number > replaced) }
            report.segments = numbers.count
            // The open segment is never taken the place of: behind what was, there is one, or it was lost. What is
            // left before it is sealed.
            report.isOpenSegmentMissing = replaced > 0 && (tail?.segment ?? 0) < replaced
            let begun = report.isOpenSegmentMissing ? [nextSegment] : []
            report.lost += LogLosses.missingSegments(numbers + begun, manifest)
            return report.isOpenSegmentMissing ? nil : tail
        } catch let error as EventLogError {
            throw error
        } catch let error as LogStorageError {
            throw error == .readOnly ? .readOnly(error.sentence) : .cannotOpen(error.sentence)
        } catch {
            throw .cannotOpen("The event log cannot be read.")
        }
    }

    /// The last segment whose place was taken; 0 when none was.
    private var replaced: UInt32 { manifest.lastReplaced ?? 0 }

    /// The number of the segment that is begun where none is open; it never stood for another that is known of. Where
    /// the open one is missing, its number is not given again.
    var nextSegment: UInt32 {
        max(replaced, directory.segments.last?.number ?? 0) + (report.isOpenSegmentMissing ? 2 : 1)
    }

    /// Opens the archives of the manifest. One that is not there or not whole is named and left out; it is set aside as
    /// it is, and serves again when it is put back under its name.
    private mutating func openArchives() throws {
        for entry in manifest.archives {
            switch try LogLosses.archive(entry, storage, names) {
            case .whole(let archive): directory.add(archive)
            case .lost(let range, let isThere):
                report.lost.append(range)
                guard isThere else { continue }
                try storage.rename(entry.name, to: entry.name + LogLosses.damagedSuffix)
                try storage.syncFolder()
            }
        }
    }

    /// Opens an archive of the manifest.
    static func archive(_ entry: ManifestArchive, _ storage: any LogStorage) throws(EventLogError) -> ArchiveFile {
        do throws(ArchiveFile.Failure) {
            return try ArchiveFile(storage, entry)
        } catch {
            throw error.opening(entry.name)
        }
    }

    private mutating func open(_ number: UInt32, isLast: Bool) throws -> Tail {
        let file = try LogFile(storage, SegmentFormat.name(number))
        let size = try file.size()
        if case .unknownVersion(let version) = SegmentFormat.check(
            try file.read(at: 0, count: SegmentFormat.headerBytes))
        {
            throw EventLogError.unsupportedVersion(segment: file.name, version: version)
        }
        var walk = SegmentWalk(file, end: size)
        var damaged: Set<Int> = []
        var end = SegmentFormat.headerBytes
        var suspects: [(offset: Int, count: Int)] = []
        var (isFirst, isEndDamaged) = (true, false)
        scan: while true {
            switch try walk.next() {
            case .block(let offset, let header):
                // The open segment is read whole: a torn block may have a whole header.
                if isLast, try !isWhole(file, number, offset, header) {
                    suspects.append((offset, Int(header.totalBytes)))
                    continue
                }
                for suspect in suspects { try setAside(file, number, suspect.offset, suspect.count, &damaged) }
                if isFirst, suspects.isEmpty { noteGap(before: number, header) }
                isFirst = false
                suspects = []
                report.blocks += 1
                report.rows += Int(header.rowCount)
                nextSequence = header.sequence + 1
                previousCRC = header.crc
                end = offset + Int(header.totalBytes)
            case .damage(let offset, let count):
                suspects.append((offset, count))
            case .unknownVersion(let version):
                throw EventLogError.unsupportedVersion(segment: file.name, version: version)
            case .end(let offset, let isTorn):
                if !isLast {
                    for suspect in suspects { try setAside(file, number, suspect.offset, suspect.count, &damaged) }
                    if isTorn { try setAside(file, number, offset, size - offset, &damaged) }
                    isEndDamaged = isTorn || !suspects.isEmpty
                } else if isTorn || !suspects.isEmpty {
                    report.cutBytes += max(offset, try lastByte(file, size)) - end
                }
                break scan
            }
        }
        if !isLast, let known = try BlockChain.knownGap(number, file, at: end, storage, names) {
            damaged.insert(end)
            report.damaged.append(known)
            isEndDamaged = true
        }
        directory.add(SegmentDirectory.Segment(number: number, file: file, durableBytes: end, damagedOffsets: damaged))
        chain.ended(number, at: end, nextSequence: nextSequence, isBroken: isEndDamaged)
        return Tail(segment: number, file: file, offset: end, nextSequence: nextSequence, previousCRC: previousCRC)
    }

    /// Reports what is missing at the end of the segment before, whose file was cut behind a whole block.
    private mutating func noteGap(before number: UInt32, _ header: BlockHeader) {
        guard let gap = chain.gap(before: number, header), let segment = directory[gap.segment] else { return }
        // Without room for the note the gap is found again as long as the next segment is there.
        try? BlockChain.note(gap, segment.file, storage)
        directory.noteDamage(gap.segment, at: gap.offset)
        report.damaged.append(gap)
    }

    private func isWhole(_ file: LogFile, _ number: UInt32, _ offset: Int, _ header: BlockHeader) throws -> Bool {
        do throws(BlockView.Failure) {
            return try BlockView(file, segment: number, offset: offset, header: header).isPayloadWhole()
        } catch {
            if case .storage(let failure) = error { throw failure }
            return false
        }
    }

    /// Copies damaged bytes to a file of their own, once, and reports the range.
    private mutating func setAside(
        _ file: LogFile, _ number: UInt32, _ offset: Int, _ count: Int, _ damaged: inout Set<Int>
    ) throws {
        damaged.insert(offset)
        report.damaged.append(DamagedRange(segment: number, offset: offset, byteCount: count))
        let name = "\(file.name).\(offset).damaged"
        guard try !storage.names().contains(name) else { return }
        let copy = try LogFile(storage, name, create: true)
        try copy.write(try file.read(at: offset, count: min(count, 64 << 20)), at: 0)
        try copy.sync()
        try storage.syncFolder()
    }

    /// Where the last byte that is not zero ends.
    private func lastByte(_ file: LogFile, _ size: Int) throws -> Int {
        var end = size
        while end > 0 {
            let start = max(0, end - (256 << 10))
            let part = try file.read(at: start, count: end - start)
            if let last = part.lastIndex(where: { $0 != 0 }) { return start + last + 1 }
            end = start
        }
        return 0
    }
}
