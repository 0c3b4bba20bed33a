internal import Synchronization

/// The files of the log as they are at one moment, for a backup.
///
/// Segments and archives never change behind what is durable, and what removes them leaves them to those who read; so a
/// copy can be read for as long as it takes while capture and compaction go on. The de-duplication index is left out:
/// a start without it builds it from the log.
package struct LogCopy: Sendable {
    package struct Part: Sendable {
        package let name: String
        package let byteCount: Int
        fileprivate let source: Source

        /// The bytes at `offset`, fewer than `count` only at the end.
        package func read(at offset: Int, count: Int) throws(LogStorageError) -> [UInt8] {
            let count = min(count, byteCount - offset)
            guard count > 0 else { return [] }
            switch source {
            case .file(let file):
                let bytes = try file.read(at: offset, count: count)
                guard bytes.count == count else { throw .failed(operation: "read all of \(name)", code: 5) }
                return bytes
            case .bytes(let bytes): return Array(bytes[offset..<offset + count])
            }
        }
    }

    fileprivate enum Source: Sendable {
        case file(LogFile)
        case bytes([UInt8])
    }

    /// Oldest first, the small files behind.
    package let parts: [Part]
    package let segments: Int
    package let archives: Int
    /// Where it ends: `00000001-00000040`.
    package let end: String
}

/// What became of erasures that a restored log did not know.
package struct CarriedErasures: Sendable, Equatable {
    /// Persons that are hidden in it now.
    package var carried = 0
    /// Persons that nothing identifies any more: their keys were kept for 35 days.
    package var tooOld = 0

    package init() {}
}

extension EventLog {
    /// The installation's secret, as its file holds it.
    static func secretBytes(_ storage: any LogStorage) throws(LogStorageError) -> [UInt8] {
        let bytes = try LogFile(storage, secretName).read(at: 0, count: InstallationSecret.byteCount)
        guard bytes.count == InstallationSecret.byteCount else { throw .failed(operation: "read its secret", code: 5) }
        return bytes
    }

    /// Takes erasures of one folder of a log over to another that was put back from an older backup and is not open.
    /// - Throws: `cannotOpen` also when the two are logs of different sites.
    package static func carryErasures(from old: String, to restored: String) throws(EventLogError) -> CarriedErasures {
        let (from, to): (PosixLogStorage, PosixLogStorage)
        do throws(LogStorageError) {
            (from, to) = (try PosixLogStorage(reading: old), try PosixLogStorage(folder: restored))
        } catch {
            throw .cannotOpen(error.sentence)
        }
        return try ErasureLedger.carryOver(from: from, to: to)
    }

    /// Everything that is durable now.
    package func copy() throws(LogStorageError) -> LogCopy { try upkeep.copy() }
}

extension LogUpkeep {
    /// Moments at which archives change places with segments are short: so often a copy is tried again.
    private static let triesMax = 100

    func copy() throws(LogStorageError) -> LogCopy {
        for _ in 0..<Self.triesMax {
            if let copy = try tryCopy() { return copy }
        }
        throw .failed(operation: "be copied while it is compacted; try again", code: 11)
    }

    /// nil when the log was between two states.
    private func tryCopy() throws(LogStorageError) -> LogCopy? {
        // Before the segments: a checkpoint that is newer than the end of the log would be of no use.
        var small = try IdentityCheckpoints.copies(storage)
        let covered = small.compactMap { IdentityCheckpoint.covered($0.bytes) }.min()
        let (manifest, ledger) = state.withLock { ($0.manifest, $0.ledger) }
        let (archives, segments) = views.directory.snapshot
        let named = Set(manifest.archives.map(\.name))
        guard archives.allSatisfy({ named.contains($0.entry.name) && $0.entry.last <= covered ?? 0 }),
            !segments.contains(where: { manifest.replaces($0.number) }), state.withLock({ $0.manifest == manifest })
        else { return nil }
        small.append((EventLog.secretName, try EventLog.secretBytes(storage)))
        if manifest != LogManifest() { small.append((LogManifest.name, manifest.encoded)) }
        if ledger != ErasureLedger() { small.append((ErasureLedger.name, ledger.encoded)) }
        var parts: [LogCopy.Part] = []
        for archive in archives {
            parts.append(.init(name: archive.entry.name, byteCount: archive.entry.bytes, source: .file(archive.file)))
        }
        for segment in segments {
            parts.append(
                .init(
                    name: SegmentFormat.name(segment.number), byteCount: segment.durableBytes,
                    source: .file(segment.file)))
        }
        parts += small.map { .init(name: $0.name, byteCount: $0.bytes.count, source: .bytes($0.bytes)) }
        let end = segments.last.map { "\(ArchiveFormat.hex($0.number))-\(ArchiveFormat.hex(UInt32($0.durableBytes)))" }
        return LogCopy(parts: parts, segments: segments.count, archives: archives.count, end: end ?? "empty")
    }
}

extension ErasureLedger {
    /// Takes erasures that another folder knows and this one does not, as a backup that is older than they are: they
    /// hide their persons in the whole log until its files are rewritten.
    static func carryOver(
        from old: any LogStorage, to restored: any LogStorage
    ) throws(EventLogError) -> CarriedErasures {
        let bytes: [UInt8]
        do throws(LogStorageError) {
            bytes = try EventLog.secretBytes(restored)
        } catch {
            throw .cannotOpen(error.sentence)
        }
        // Another site's keys are hashes under another secret: they would hide nobody.
        guard (try? EventLog.secretBytes(old)) == bytes else {
            throw .cannotOpen("that is the log of another site, or no log")
        }
        let known = try read(restored)
        let missing = try read(old).entries.filter { entry in
            !known.entries.contains { $0.org == entry.org && $0.person == entry.person && $0.at == entry.at }
        }
        var outcome = CarriedErasures()
        outcome.carried = missing.count { !$0.keys.isEmpty }
        outcome.tooOld = missing.count - outcome.carried
        guard outcome.carried > 0 else { return outcome }
        var ledger = known
        do throws(LogStorageError) {
            let secret = InstallationSecret(bytes)
            let last = try restored.names().compactMap(SegmentFormat.number).max() ?? 1
            for entry in missing where !entry.keys.isEmpty {
                var again = entry
                (again.doneAt, again.rows) = (nil, 0)
                again.end = LogPosition(segment: last, offset: .max, row: .max)
                _ = ledger.add(again, secret)
            }
            try ledger.write(restored)
        } catch {
            throw .cannotOpen(error.sentence)
        }
        return outcome
    }
}
