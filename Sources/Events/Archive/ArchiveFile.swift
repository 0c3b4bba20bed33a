internal import Synchronization

/// An archive that is open for reading. Whoever holds it reads on when its file has left the folder.
final class ArchiveFile: Sendable {
    enum Failure: Error { case damaged(String), unknownVersion(UInt16), storage(LogStorageError) }

    let entry: ManifestArchive
    let file: LogFile
    let directory: ArchiveDirectory
    /// The part of the index that was read last.
    private let recent = Mutex<(offset: Int, requests: [ArchivedRequest])?>(nil)

    init(_ storage: any LogStorage, _ entry: ManifestArchive) throws(Failure) {
        self.entry = entry
        do {
            file = try LogFile(storage, entry.name)
            let size = try file.size()
            let header = try file.read(at: 0, count: ArchiveFormat.headerBytes)
            if case .unknownVersion(let version) = ArchiveFormat.read(header, ArchiveFormat.magic) {
                throw Failure.unknownVersion(version)
            }
            let end = size - ArchiveFormat.trailerBytes
            guard end > 0,
                case .whole(let place, let count) = ArchiveFormat.read(
                    try file.read(at: end, count: ArchiveFormat.trailerBytes), ArchiveFormat.endMagic),
                place + count <= size
            else { throw Failure.damaged("its end is missing") }
            let head = try file.read(at: place, count: BlockHeader.byteCount)
            guard case .valid(let known) = head.withUnsafeBytes({ BlockHeader.decode($0) }), known.kind == .directory,
                let view = try? BlockView(file, segment: entry.first, offset: place, header: known),
                let bytes = view.totals.withUnsafeBytes({ raw -> [UInt8]? in
                    var reader = StreamReader(raw)
                    return reader.bytesOfRun()
                }), let found = ArchiveDirectory(bytes)
            else { throw Failure.damaged("its directory cannot be read") }
            directory = found
        } catch let error as LogStorageError {
            throw .storage(error)
        } catch let error as Failure {
            throw error
        } catch {
            throw .damaged("it cannot be read")
        }
    }

    var first: UInt32 { entry.first }
    var last: UInt32 { entry.last }

    func holds(_ segment: UInt32) -> Bool { first <= segment && segment <= last }

    /// Bytes of blocks, up to the trailer.
    func blocksEnd() throws(LogStorageError) -> Int { try file.size() - ArchiveFormat.trailerBytes }

    /// What is left of the requests of a block of the log, in their order.
    func requests(segment: UInt32, offset: UInt32) throws -> [ArchivedRequest] {
        var found: [ArchivedRequest] = []
        for part in directory.index {
            guard (part.first.segment, part.first.offset) <= (segment, offset),
                (segment, offset) <= (part.last.segment, part.last.offset)
            else { continue }
            let requests = try requests(part)
            var low = 0
            var high = requests.count
            while low < high {
                let middle = (low + high) / 2
                let origin = requests[middle].origin
                if (origin.segment, origin.offset) < (segment, offset) { low = middle + 1 } else { high = middle }
            }
            while low < requests.count, requests[low].origin.segment == segment, requests[low].origin.offset == offset {
                found.append(requests[low])
                low += 1
            }
        }
        return found.sorted(by: ArchivedRequest.precedes)
    }

    private func requests(_ part: ArchiveIndexPart) throws -> [ArchivedRequest] {
        if let known = recent.withLock({ $0 }), known.offset == part.offset { return known.requests }
        let head = try file.read(at: part.offset, count: BlockHeader.byteCount)
        guard case .valid(let header) = head.withUnsafeBytes({ BlockHeader.decode($0) }), header.kind == .index,
            let requests = ArchiveIndexPart.decode(
                try BlockView(file, segment: first, offset: part.offset, header: header).totals)
        else { throw BlockView.Failure.damaged }
        recent.withLock { $0 = (part.offset, requests) }
        return requests
    }
}

extension ArchiveFile.Failure {
    /// Why the log cannot be opened with this archive.
    func opening(_ name: String) -> EventLogError {
        switch self {
        case .unknownVersion(let version): .unsupportedVersion(segment: name, version: version)
        case .damaged(let reason): .cannotOpen("The archive \(name) of the event log: \(reason).")
        case .storage(let failure): .cannotOpen("\(failure.sentence) It needs \(name).")
        }
    }
}
