internal import AurumCore
internal import Logging
internal import Synchronization

/// The steps of a run.
extension LogUpkeep {
    private static let dayMicroseconds: Int64 = 86_400_000_000
    /// Mean rows of a block below which a segment is archived on its own.
    private static let crumbRows = 64

    /// A file that may be rewritten or removed, with the day of its first commit.
    private struct Piece {
        var source: LogRewrite.Source
        var day: Int64

        var isSegment: Bool { if case .segment = source { true } else { false } }
    }

    private var today: Int64 { clock.now.microseconds.quotientRoundingDown(Self.dayMicroseconds) }

    /// All archives, and the sealed segments that nobody needs as they are; oldest first.
    /// - Parameter damaged: also those of which something cannot be read.
    private func pieces(damaged: Bool = false) throws -> [Piece] {
        let (archives, segments) = views.directory.snapshot
        let last = lastRewritable
        let unreadable = damaged ? [] : state.withLock { $0.unreadable }
        var pieces = archives.filter { !unreadable.contains($0.first) }
            .map { Piece(source: .archive($0), day: $0.entry.day) }
        for segment in segments
        where segment.number <= last && (damaged || segment.damagedOffsets.isEmpty)
            && !unreadable.contains(segment.number)
        {
            pieces.append(Piece(source: .segment(segment), day: try Self.day(segment)))
        }
        return pieces.sorted { $0.source.first < $1.source.first }
    }

    /// The day in which a segment was begun.
    private static func day(_ segment: SegmentDirectory.Segment) throws -> Int64 {
        let header = try segment.file.read(at: 0, count: SegmentFormat.headerBytes)
        guard header.count == SegmentFormat.headerBytes else { return 0 }
        let created = header.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 16, as: Int64.self) }
        return created.quotientRoundingDown(dayMicroseconds)
    }

    // MARK: archives out of segments

    /// Writes segments again as archives: those of days that are over, and of today when there are many of them.
    func compact(all: Bool, _ pace: UpkeepPace, _ tally: inout RewriteTally) throws {
        var waiting = groups(try pieces(), all: all)[...]
        while let group = waiting.popFirst() {
            do {
                try rewrite(
                    group.map(\.source), day: group[0].day, earlierRowsMax: settings.earlierRowsMax, pace, &tally)
            } catch BlockView.Failure.damaged {
                // Each file by itself, so that only the one with the damage stays.
                guard group.count > 1 else {
                    try noteDamage(group[0].source)
                    continue
                }
                // A healthy archive beside it gains nothing from being written again.
                let damaged = try group.filter { try !$0.isSegment && !isReadable($0.source, pace) }
                for piece in damaged { try noteDamage(piece.source) }
                // What only writing finds in archives would be found again by every run.
                if damaged.isEmpty, !group.contains(where: \.isSegment) {
                    for piece in group { try noteDamage(piece.source) }
                }
                waiting = (group.filter(\.isSegment).map { [$0] } + waiting)[...]
            }
        }
    }

    /// Looks at files again that were damaged when the log was last open: one that was mended takes part again.
    func recheckDamaged(_ pace: UpkeepPace) throws {
        while let range = state.withLock({ $0.recheck.popLast() }) {
            let (archives, segments) = views.directory.snapshot
            let source: LogRewrite.Source? =
                archives.first { $0.first == range.lowerBound && $0.last == range.upperBound }.map { .archive($0) }
                ?? segments.first { $0.number == range.lowerBound }.map { .segment($0) }
            // One that is missing may be put back.
            guard let source, try isReadable(source, pace) else { continue }
            var manifest = state.withLock { $0.manifest }
            manifest.unreadable.removeAll { $0 == range }
            try change(to: manifest)
            state.withLock { $0.unreadable.subtract(range) }
        }
    }

    private func isReadable(_ source: LogRewrite.Source, _ pace: UpkeepPace) throws -> Bool {
        do {
            let catalog = try source.catalog()
            guard !catalog.hasGap else { return false }
            _ = try readAll(catalog, pace)
            return true
        } catch BlockView.Failure.damaged {
            return false
        } catch UpkeepError.mismatch {
            return false
        }
    }

    /// What is damaged stays as it is, also after a restart, and is reported by `aurum events verify`.
    private func noteDamage(_ source: LogRewrite.Source) throws {
        var manifest = state.withLock { $0.manifest }
        let range = source.first...source.last
        if !manifest.unreadable.contains(range) {
            manifest.unreadable.append(range)
            try change(to: manifest)
        }
        let count = state.withLock { state in
            state.unreadable.formUnion(range)
            return state.unreadable.count
        }
        logger.warning(
            "a file of the log cannot be written again, since it is damaged",
            metadata: [
                "code": "log_compaction_damaged", "first": "\(source.first)", "last": "\(source.last)",
                "segments_left": "\(count)",
            ])
    }

    /// Files that one archive is to take the place of: of one day, one behind the other, together not too large.
    private func groups(_ pieces: [Piece], all: Bool) -> [[Piece]] {
        var groups: [[Piece]] = []
        var group: [Piece] = []
        var bytes = 0
        func close() {
            if isWorthIt(group, all: all) { groups.append(group) }
            (group, bytes) = ([], 0)
        }
        for piece in pieces {
            let size = piece.source.byteCount
            if let last = group.last,
                last.day != piece.day || last.source.last &+ 1 != piece.source.first
                    || bytes + size > settings.archiveBytesMax || piece.day >= today && !piece.isSegment
            {
                close()
            }
            // Of a day that is not over archives are left alone.
            if piece.day >= today, !piece.isSegment { continue }
            group.append(piece)
            bytes += size
        }
        close()
        return groups
    }

    private func isWorthIt(_ group: [Piece], all: Bool) -> Bool {
        guard let first = group.first else { return false }
        let segments = group.count { $0.isSegment }
        if first.day < today { return segments > 0 || group.count > 1 }
        return segments > 0 && (all || segments >= settings.segmentsMin || isCrumbled(group))
    }

    /// Whether events came so far apart that hardly two share a block: queries then spend their time on blocks.
    private func isCrumbled(_ group: [Piece]) -> Bool {
        var (blocks, rows) = (0, 0)
        for piece in group {
            for entry in (try? piece.source.catalog().entries) ?? [] {
                (blocks, rows) = (blocks + 1, rows + entry.rowCount)
            }
        }
        return blocks >= settings.crumbsMin && rows < blocks * Self.crumbRows
    }

    // MARK: archives out of archives

    /// Writes archives again of which something has expired or was erased.
    func renewArchives(_ pace: UpkeepPace, _ tally: inout RewriteTally) throws {
        let unreadable = state.withLock { $0.unreadable }
        for archive in views.directory.archives where !unreadable.contains(archive.first) {
            do { try renew(archive, pace, &tally) } catch BlockView.Failure.damaged {
                try noteDamage(.archive(archive))
            }
        }
    }

    private func renew(_ archive: ArchiveFile, _ pace: UpkeepPace, _ tally: inout RewriteTally) throws {
        let pending = state.withLock { $0.ledger.pending }
            .filter { $0.sequence > archive.entry.erasures && archive.first <= $0.end.segment }
        // Erasures that come while it is read are for the next time.
        let sequence = state.withLock { $0.ledger.sequence }
        let (expired, erased) = try rowsToRemove(archive, mayErase: !pending.isEmpty, pace)
        if expired + erased > 0 {
            // It was held against them when it was written.
            try rewrite([.archive(archive)], day: archive.entry.day, earlierRowsMax: 0, pace, &tally)
        } else if !pending.isEmpty {
            // Nothing of these persons is in it: noted, so that nobody looks again.
            try note(erasures: sequence, in: archive)
        }
    }

    /// Rows of an archive that are on disk and may not be seen any more.
    private func rowsToRemove(
        _ archive: ArchiveFile, mayErase: Bool, _ pace: UpkeepPace
    ) throws -> (expired: Int, erased: Int) {
        let catalog = SegmentCatalog(archive)
        var (expired, erased) = (0, 0)
        for entry in catalog.entries {
            let sources = try catalog.sources(of: entry)
            guard mayErase || visibility.mayExpire(sources, earliest: entry.earliest),
                let view = try catalog.view(entry.offset)
            else { continue }
            let block = try DecodedBlock(view, catalog: catalog, secret: secret)
            let outcomes = try block.storedOutcomes()
            expired += try visibility.expiredRows(block, outcomes).count { outcomes[$0] != DecodedBlock.goneOutcome }
            if mayErase {
                erased += try visibility.erasedRows(block).count { outcomes[$0] != DecodedBlock.goneOutcome }
            }
            try pace.step()
        }
        return (expired, erased)
    }

    /// The same archive with the erasures up to a number taken for carried out.
    private func note(erasures sequence: Int64, in archive: ArchiveFile) throws {
        var entry = archive.entry
        var manifest = state.withLock { $0.manifest }
        entry.erasures = sequence
        manifest.replace(archive.first...archive.last, with: entry)
        try change(to: manifest)
        views.directory.replace(archive.first...archive.last, with: try LogRecovery.archive(entry, storage))
    }

    // MARK: one archive

    /// Puts one archive in the place of some files.
    /// - Parameter earlierRowsMax: of the archives of the day that it is held against.
    private func rewrite(
        _ sources: [LogRewrite.Source], day: Int64, earlierRowsMax: Int, _ pace: UpkeepPace,
        _ tally: inout RewriteTally
    ) throws {
        guard let first = sources.first?.first, let last = sources.last?.last else { return }
        let before = sources.reduce(0) { $0 + $1.byteCount }
        guard try storage.freeBytes() >= freeBytesMin + before else { throw LogStorageError.noSpace }
        var manifest = state.withLock { $0.manifest }
        manifest.sequence += 1
        var entry = ManifestArchive(sequence: manifest.sequence, first: first, last: last, day: day)
        // Erasures that come meanwhile are for the next time.
        entry.erasures = state.withLock { $0.ledger.sequence }
        let unfinished = entry.name + ArchiveFormat.unfinishedSuffix
        let result: RewriteTally
        do {
            let earlier = earlierArchives(day, before: first, rowsMax: earlierRowsMax)
            result = try write(sources, first...last, unfinished, &entry, earlier, pace)
        } catch {
            try? storage.remove(unfinished)
            throw error
        }
        if entry.rows > 0 { try storage.rename(unfinished, to: entry.name) } else { try storage.remove(unfinished) }
        try storage.syncFolder()
        let archive = entry.rows > 0 ? try LogRecovery.archive(entry, storage) : nil
        if let archive { try check(archive, pace) }
        manifest.replace(first...last, with: archive?.entry)
        let corrections = add(result.corrections, last: last, to: &manifest)
        try change(to: manifest)
        views.directory.replace(first...last, with: archive)
        views.totals.correct(corrections)
        try remove(sources)
        tally += result
        tally.files += 1
        tally.bytesBefore += before
        tally.bytesAfter += entry.bytes
        noteErased(result.erased, through: entry.erasures)
    }

    /// Reads a new archive as queries will, before the files that it takes the place of are given up.
    private func check(_ archive: ArchiveFile, _ pace: UpkeepPace) throws {
        guard try readAll(SegmentCatalog(archive), pace) == archive.entry.rows else { throw UpkeepError.mismatch }
    }

    /// Reads every value of a file; the number of its rows.
    /// - Throws: `UpkeepError.mismatch` or `BlockView.Failure.damaged` for what cannot be read.
    private func readAll(_ catalog: SegmentCatalog, _ pace: UpkeepPace) throws -> Int {
        var rows = 0
        for entry in catalog.entries {
            guard let view = try catalog.view(entry.offset) else { throw UpkeepError.mismatch }
            let block = try DecodedBlock(view, catalog: catalog, secret: secret)
            _ = try (block.shapes(), block.storedOutcomes(), block.times(), block.types(), block.flags())
            _ = try view.read(.touches, { $0.bytesOfRun() })
            for part in view.parts where [PartRole.values.rawValue, PartRole.plain.rawValue].contains(part.role) {
                guard try block.values(part.column) != nil else { throw UpkeepError.mismatch }
            }
            rows += block.rowCount
            try pace.step()
        }
        return rows
    }

    /// The archives of a day before a segment, the newest first, whole ones as far as the bound goes: without one the
    /// work of a day would grow by the square of its archives. A search in several ranges reads fewer of them.
    private func earlierArchives(_ day: Int64, before first: UInt32, rowsMax: Int) -> [ArchiveFile] {
        let unreadable = state.withLock { $0.unreadable }
        let known = views.directory.archives.filter {
            $0.entry.day == day && $0.last < first && !unreadable.contains($0.first)
        }
        var rows = 0
        return Array(
            known.sorted { $0.first > $1.first }.prefix { archive in
                rows += archive.entry.rows
                return rows <= rowsMax
            })
    }

    private func write(
        _ sources: [LogRewrite.Source], _ range: ClosedRange<UInt32>, _ name: String, _ entry: inout ManifestArchive,
        _ earlier: [ArchiveFile], _ pace: UpkeepPace
    ) throws -> RewriteTally {
        var limits = ArchiveWriter.Limits()
        (limits.blockRowsMax, limits.ownBlockRows) = (settings.blockRowsMax, settings.ownBlockRows)
        (limits.bufferBytesMax, limits.dictionaryBytesMax) = (settings.bufferBytesMax, settings.dictionaryBytesMax)
        if try storage.names().contains(name) { try storage.remove(name) }
        let writer = try ArchiveWriter(
            storage, name: name, segments: range, createdAt: clock.now.microseconds, limits: limits)
        let rewrite = LogRewrite(
            sources: sources, earlier: earlier, secret: secret, visibility: visibility, now: clock.now, limits: limits,
            search: DuplicateSearch(earlierRowsMax: settings.earlierRowsMax), pace: { try pace.step() })
        let tally = try rewrite.run(into: writer)
        entry.bytes = try writer.finish()
        entry.rows = writer.rowCount
        guard tally.rowsRead == writer.rowCount + tally.rowsDropped else { throw UpkeepError.mismatch }
        return tally
    }

    private func add(
        _ found: [String: OutcomeCounts], last: UInt32, to manifest: inout LogManifest
    ) -> [CountCorrection] {
        var sequence = manifest.corrections.map(\.sequence).max() ?? 0
        sequence = max(sequence, views.totals.corrections)
        let now = clock.now.microseconds
        // A start reads the counts that the open segment begins with, which may be months old where few events come:
        // what they hold is not needed any more. The days are for the case that they cannot be read.
        let held = heldCorrections
        manifest.corrections.removeAll { $0.at < now - 30 * Self.dayMicroseconds && $0.sequence <= held }
        let corrections = found.sorted { $0.key < $1.key }.map { org, counts in
            sequence += 1
            return CountCorrection(sequence: sequence, at: now, org: org, duplicates: counts, last: last)
        }
        manifest.corrections += corrections
        return corrections
    }

    /// The last correction that the newest counts on disk hold; 0 when none can be read.
    private var heldCorrections: Int64 {
        guard let segment = views.directory.segments.last, let counts = try? Replay.checkpoint(segment) else {
            return 0
        }
        return TotalsView.corrections(in: counts)
    }

    /// Makes a manifest the one that counts. When that fails nobody knows which one does, so nothing is changed any
    /// more until the log is opened again.
    private func change(to manifest: LogManifest) throws {
        do throws(LogStorageError) {
            try manifest.write(storage)
        } catch {
            state.withLock { $0.hasFailed = true }
            throw error
        }
        state.withLock { $0.manifest = manifest }
    }

    /// Removes files that nothing names any more. Readers that have them open read on.
    private func remove(_ sources: [LogRewrite.Source]) throws {
        for source in sources {
            switch source {
            case .segment(let segment): try storage.remove(segment.file.name)
            case .archive(let archive): try storage.remove(archive.entry.name)
            }
        }
        try storage.syncFolder()
    }

    /// Removes what a stop left behind: files that the manifest does not name, or that it has replaced.
    static func clean(_ storage: any LogStorage, _ manifest: LogManifest) throws(LogStorageError) {
        let known = Set(manifest.archives.map(\.name))
        var hasRemoved = false
        for name in try storage.names() {
            let isReplaced = SegmentFormat.number(name).map { manifest.replaces($0) } ?? false
            let isUnknown = name.hasSuffix(ArchiveFormat.suffix) && !known.contains(name)
            guard isReplaced || isUnknown || name.hasSuffix(ArchiveFormat.unfinishedSuffix) else { continue }
            try storage.remove(name)
            hasRemoved = true
        }
        if hasRemoved { try storage.syncFolder() }
    }

    // MARK: whole files

    /// Removes files of which every row has expired and no receipt can be read any more.
    func removeExpired(_ tally: inout RewriteTally) throws {
        let end = today - Int64(LogRewrite.receiptDays) - 1
        try dropLost(before: min(end, today - Int64(visibility.longestDays)))
        for piece in try pieces() where piece.day < end {
            let catalog = try piece.source.catalog()
            let entries = catalog.entries
            guard try entries.allSatisfy({ visibility.isExpired(try catalog.sources(of: $0), latest: $0.latestKept) })
            else { continue }
            let rows = entries.reduce(0) { $0 + $1.rowCount }
            try drop(piece.source)
            tally.expired += rows
            tally.rowsRead += rows
            tally.files += 1
            tally.bytesBefore += piece.source.byteCount
        }
    }

    /// Gives up lost archives of which everything would have expired, and what was set aside of them.
    private func dropLost(before day: Int64) throws {
        // An archive goes on from the day of its first commit into the next, events may be a day ahead of both.
        for entry in state.withLock({ $0.manifest.archives })
        where entry.day + 3 < day && views.directory.archive(of: entry.first) == nil {
            var manifest = state.withLock { $0.manifest }
            manifest.sequence += 1
            manifest.replace(entry.first...entry.last, with: nil)
            try change(to: manifest)
            let names = try storage.names()
            for name in [entry.name, entry.name + LogLosses.damagedSuffix] where names.contains(name) {
                try storage.remove(name)
            }
            try storage.syncFolder()
        }
    }

    /// Removes the oldest files until the log is within its bound.
    func removeBeyondBound(_ tally: inout RewriteTally) throws {
        guard settings.logBytesMax > 0 else { return }
        for piece in try pieces(damaged: true) {
            guard views.directory.byteCount > settings.logBytesMax else { return }
            let rows = try piece.source.catalog().entries.reduce(0) { $0 + $1.rowCount }
            try drop(piece.source)
            tally.expired += rows
            tally.files += 1
            tally.bytesBefore += piece.source.byteCount
            logger.warning(
                "the oldest events were removed, since the log is larger than events.logBytesMax",
                metadata: ["code": "log_bound", "rows": "\(rows)", "first": "\(piece.source.first)"])
        }
    }

    private func drop(_ source: LogRewrite.Source) throws {
        var manifest = state.withLock { $0.manifest }
        manifest.sequence += 1
        manifest.replace(source.first...source.last, with: nil)
        try change(to: manifest)
        views.directory.replace(source.first...source.last, with: nil)
        try remove([source])
    }
}
