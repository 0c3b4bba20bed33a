internal import AurumCore

/// What was found in one segment file.
package struct SegmentFinding: Sendable, Codable, Equatable {
    package var segment: String
    package var blocks = 0
    package var rows = 0
    /// Bytes of the file up to its last whole block.
    package var bytes = 0
    /// Bytes of the events as they came.
    package var rawBytes = 0
    /// Rows by outcome.
    package var outcomes: [String: Int] = [:]
    /// Places of blocks whose header, tables or parts fail their check, with their length.
    package var damaged: [DamagedRange] = []
    /// Bytes behind the last whole block that are no reserved space: never acknowledged.
    package var tornBytes = 0
    /// Rows whose text could not be put together; counted only when every event is rebuilt.
    package var unreadableRows = 0
    /// Why the segment could not be read at all.
    package var problem: String?

    package var isWhole: Bool { damaged.isEmpty && unreadableRows == 0 && problem == nil }
}

/// Bytes that one column takes in a segment.
package struct ColumnSize: Sendable, Codable, Equatable {
    package var path: String
    package var kind: String
    package var bytes: Int
}

/// Reads a log's folder beside a running server or without one, and changes nothing in it.
package final class LogReader: Sendable {
    private let directory = SegmentDirectory()
    let catalog: LogCatalog
    let secret: InstallationSecret
    private let problems: [String: String]
    /// What is missing behind the last block of segments that were cut.
    private let cut: [UInt32: DamagedRange]

    /// - Parameter folder: the folder of the segments, or the data folder around it.
    package convenience init(folder: String) throws(EventLogError) {
        let storage: PosixLogStorage
        do throws(LogStorageError) {
            let given = try PosixLogStorage(reading: folder)
            let names = try given.names()
            let isLog = names.contains { SegmentFormat.number($0) != nil || $0 == LogManifest.name }
            storage = !isLog && names.contains("events") ? try PosixLogStorage(reading: folder + "/events") : given
        } catch {
            throw .cannotOpen(error.sentence)
        }
        try self.init(storage, named: folder)
    }

    /// - Parameter name: what the operator calls the folder.
    package init(_ storage: any LogStorage, named name: String) throws(EventLogError) {
        do {
            let names = try storage.names()
            guard names.contains(where: { SegmentFormat.number($0) != nil || $0 == LogManifest.name }) else {
                throw LogStorageError.failed(operation: "find a segment file (*.aurumlog) in \(name)", code: 2)
            }
            var bytes: [UInt8] = []
            if names.contains(EventLog.secretName) {
                bytes = try LogFile(storage, EventLog.secretName).read(at: 0, count: InstallationSecret.byteCount)
            }
            let isWhole = bytes.count == InstallationSecret.byteCount
            secret = InstallationSecret(isWhole ? bytes : [UInt8](repeating: 0, count: InstallationSecret.byteCount))
            let manifest = try LogManifest.read(storage)
            (problems, cut) = try Self.open(names, manifest, storage, directory)
            let visibility = LogVisibility(secret: secret, clock: SystemWallClock(), policies: nil)
            visibility.set(try ErasureLedger.read(storage).pending)
            // What apps keep for how long stands in the database: here only erased persons are left out.
            catalog = LogCatalog(directory: directory, visibility: visibility)
        } catch let error as LogStorageError {
            throw .cannotOpen(error.sentence)
        } catch let error as EventLogError {
            throw error
        } catch {
            throw .cannotOpen("The event log cannot be read.")
        }
    }

    /// Finds the last whole block of every segment.
    private static func open(
        _ names: [String], _ manifest: LogManifest, _ storage: any LogStorage, _ directory: SegmentDirectory
    ) throws -> (problems: [String: String], cut: [UInt32: DamagedRange]) {
        var problems: [String: String] = [:]
        let present = Set(try storage.names())
        for entry in manifest.archives {
            do throws(EventLogError) {
                switch try LogLosses.archive(entry, storage, present) {
                case .whole(let archive): directory.add(archive)
                case .lost(let range, _): problems[entry.name] = "lost: \(range.sentence)"
                }
            } catch {
                problems[entry.name] = error.sentence
            }
        }
        let numbers = names.compactMap(SegmentFormat.number).sorted().filter { !manifest.replaces($0) }
        for range in LogLosses.missingSegments(numbers, manifest) {
            problems[SegmentFormat.name(range.first)] = "lost: \(range.sentence)"
        }
        var (chain, cut): (BlockChain, [UInt32: DamagedRange]) = (BlockChain(), [:])
        var nextSequence: UInt64 = 1
        for number in numbers {
            let file = try LogFile(storage, SegmentFormat.name(number))
            switch SegmentFormat.check(try file.read(at: 0, count: SegmentFormat.headerBytes)) {
            case .unknownVersion(let version):
                problems[file.name] = "format version \(version) is not known to this version of Aurum"
                continue
            case .broken: problems[file.name] = "the header of the segment is damaged"
            case .valid, .empty: break
            }
            var walk = SegmentWalk(file, end: try file.size())
            var (end, isFirst, isTorn) = (SegmentFormat.headerBytes, true, false)
            scan: while true {
                switch try walk.next() {
                case .block(let offset, let header):
                    if isFirst, let gap = chain.gap(before: number, header) { cut[gap.segment] = gap }
                    (end, nextSequence, isFirst) = (offset + Int(header.totalBytes), header.sequence + 1, false)
                case .damage: isFirst = false
                case .end(_, let hasMore):
                    isTorn = hasMore
                    break scan
                case .unknownVersion: break scan
                }
            }
            chain.ended(number, at: end, nextSequence: nextSequence, isBroken: isTorn)
            if let known = try BlockChain.knownGap(number, file, at: end, storage, present) { cut[number] = known }
            directory.add(
                SegmentDirectory.Segment(number: number, file: file, durableBytes: end, damagedOffsets: []))
        }
        return (problems, cut)
    }

    // MARK: verify

    /// Checks every byte of every segment.
    ///
    /// - Parameters:
    ///   - rebuilding: also puts the text of every event together.
    ///   - found: called with each segment as it is done.
    package func verify(rebuilding: Bool, _ found: (SegmentFinding) -> Void) throws(EventLogError) {
        for (name, problem) in problems.sorted(by: { $0.key < $1.key }) where directory.isMissing(name) {
            var finding = SegmentFinding(segment: name)
            finding.problem = problem
            found(finding)
        }
        do {
            for archive in directory.archives { found(try verify(archive, rebuilding)) }
        } catch {
            throw .cannotOpen("an archive cannot be read: \(error)")
        }
        for segment in directory.segments {
            do {
                found(try verify(segment, rebuilding))
            } catch let error as LogStorageError {
                throw .cannotOpen(error.sentence)
            } catch {
                throw .cannotOpen("\(segment.file.name) cannot be read: \(error)")
            }
        }
    }

    private func verify(_ archive: ArchiveFile, _ rebuilding: Bool) throws -> SegmentFinding {
        var finding = SegmentFinding(segment: archive.entry.name)
        finding.bytes = try archive.file.size()
        let catalog = SegmentCatalog(archive)
        var walk = SegmentWalk(
            archive.file, from: ArchiveFormat.headerBytes, end: try archive.blocksEnd())
        while true {
            switch try walk.next() {
            case .block(let offset, let header):
                try check(archive.file, archive.first, offset, header, &finding)
                guard rebuilding, header.kind == .archived, let view = try catalog.view(offset, header) else {
                    continue
                }
                finding.unreadableRows += unreadableRows(view, catalog)
            case .damage(let offset, let count):
                finding.damaged.append(DamagedRange(segment: archive.first, offset: offset, byteCount: count))
            case .unknownVersion(let version):
                finding.problem = "a block has format version \(version)"
                return finding
            case .end(let offset, let isTorn):
                if isTorn { finding.tornBytes = finding.bytes - offset }
                return finding
            }
        }
    }

    private func verify(_ segment: SegmentDirectory.Segment, _ rebuilding: Bool) throws -> SegmentFinding {
        var finding = SegmentFinding(segment: segment.file.name)
        finding.problem = problems[segment.file.name]
        finding.bytes = segment.durableBytes
        if let gap = cut[segment.number] { finding.damaged.append(gap) }
        let size = try segment.file.size()
        var walk = SegmentWalk(segment.file, end: size)
        while true {
            switch try walk.next() {
            case .block(let offset, let header):
                try check(segment.file, segment.number, offset, header, &finding)
                guard rebuilding, header.kind == .rows, let known = try? catalog.segment(segment.number),
                    let view = try known.view(offset, header)
                else { continue }
                finding.unreadableRows += unreadableRows(view, known)
            case .damage(let offset, let count):
                finding.damaged.append(DamagedRange(segment: segment.number, offset: offset, byteCount: count))
            case .unknownVersion(let version):
                finding.problem = "a block has format version \(version)"
                return finding
            case .end(let offset, let isTorn):
                guard isTorn else { return finding }
                if segment.number == directory.segments.last?.number {
                    finding.tornBytes = size - offset
                } else {
                    // Only of the open segment was the end never acknowledged.
                    finding.damaged.append(
                        DamagedRange(segment: segment.number, offset: offset, byteCount: size - offset))
                }
                return finding
            }
        }
    }

    private func check(
        _ file: LogFile, _ segment: UInt32, _ offset: Int, _ header: BlockHeader, _ finding: inout SegmentFinding
    ) throws {
        do throws(BlockView.Failure) {
            let view = try BlockView(file, segment: segment, offset: offset, header: header)
            guard try view.isPayloadWhole() else { throw .damaged }
            guard header.kind.hasRows else { return }
            finding.blocks += 1
            finding.rows += Int(header.rowCount)
            finding.rawBytes += Int(header.rawBytes)
            let counts = [
                header.outcomes.0, header.outcomes.1, header.outcomes.2, header.outcomes.3, header.outcomes.4,
            ]
            for (outcome, count) in zip(EventOutcome.allCases, counts) {
                finding.outcomes[outcome.name, default: 0] += Int(count)
            }
        } catch {
            if case .storage(let failure) = error { throw failure }
            finding.damaged.append(
                DamagedRange(segment: segment, offset: offset, byteCount: Int(header.totalBytes)))
        }
    }

    private func unreadableRows(_ view: BlockView, _ catalog: SegmentCatalog) -> Int {
        guard let block = try? DecodedBlock(view, catalog: catalog, secret: secret) else { return view.rowCount }
        return (0..<view.rowCount).count { (try? block.raw($0)) == nil }
    }

    // MARK: inspect

    /// The event at a position; nil when none stands there.
    package func event(at position: LogPosition) throws -> (event: StoredEvent?, outcome: EventOutcome, raw: String)? {
        guard let found = try catalog.row(at: position) else { return nil }
        let block = try DecodedBlock(found.view, catalog: found.catalog, secret: secret)
        let row = found.row
        guard let outcome = EventOutcome(rawValue: try block.outcomes()[row]) else { return nil }
        return (try block.event(row), outcome, String(decoding: try block.raw(row), as: UTF8.self))
    }

    /// Bytes of each column over all segments, the largest first.
    package func columnSizes() throws -> [ColumnSize] {
        var bytes: [ColumnName: (kind: String, bytes: Int)] = [:]
        for segment in try catalog.all() {
            for entry in segment.entries {
                guard let view = try segment.view(entry.offset) else { continue }
                let dictionary = try segment.dictionary(shard: entry.shard, through: entry.offset)
                for part in view.parts { Self.add(part, dictionary, &bytes) }
                bytes[ColumnName("(headers and request tables)"), default: ("", 0)].bytes +=
                    BlockHeader.byteCount + Int(view.header.metaBytes)
            }
        }
        return bytes.map { ColumnSize(path: $0.key.path, kind: $0.value.kind, bytes: $0.value.bytes) }
            .sorted { ($1.bytes, $0.path) < ($0.bytes, $1.path) }
    }

    private static func add(
        _ part: PartEntry, _ dictionary: ShardDictionary, _ bytes: inout [ColumnName: (kind: String, bytes: Int)]
    ) {
        let isRepeated = part.role & PartRole.repeatedBit != 0
        guard let role = PartRole(rawValue: part.role & ~PartRole.repeatedBit) else { return }
        var name = "(\(role))"
        var kind = ""
        if let column = dictionary.column(part.column), role == .values || role == .plain || role == .entries {
            name = column.path.isEmpty ? "(whole events)" : column.path
            kind = role == .entries ? "\(column.kind) dictionary" : "\(column.kind)"
            if role == .entries { name += " (dictionary)" }
        }
        if isRepeated { name = "(repeated)" }
        bytes[ColumnName(name), default: (isRepeated ? "" : kind, 0)].bytes += Int(part.count)
    }
}

extension SegmentDirectory {
    func isMissing(_ name: String) -> Bool { !segments.contains { $0.file.name == name } }
}
