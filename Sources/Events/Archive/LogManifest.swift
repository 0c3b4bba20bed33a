internal import AurumCore

/// An archive as the manifest names it.
struct ManifestArchive: Sendable, Equatable {
    var name: String
    /// Of the manifest that named it first: no two archives share one.
    var sequence: UInt64
    /// The segments whose place it takes.
    var first: UInt32
    var last: UInt32
    /// Of its first commit: days since 1970 in UTC.
    var day: Int64
    var rows: Int
    var bytes: Int
    /// Erasures up to this one are carried out in it.
    var erasures: Int64

    var json: JSONValue {
        [
            "name": .string(name), "sequence": .integer(Int64(clamping: sequence)), "first": .integer(Int64(first)),
            "last": .integer(Int64(last)),
            "day": .integer(day), "rows": .integer(Int64(rows)), "bytes": .integer(Int64(bytes)),
            "erasures": .integer(erasures),
        ]
    }

    init(
        sequence: UInt64, first: UInt32, last: UInt32, day: Int64, rows: Int = 0, bytes: Int = 0, erasures: Int64 = 0
    ) {
        name = ArchiveFormat.name(first: first, last: last, sequence: sequence)
        (self.sequence, self.first, self.last, self.day) = (sequence, first, last, day)
        (self.rows, self.bytes, self.erasures) = (rows, bytes, erasures)
    }

    init?(_ json: JSONValue) {
        guard let sequence = json["sequence"]?.integer, let first = json["first"]?.integer,
            let last = json["last"]?.integer,
            let day = json["day"]?.integer, let rows = json["rows"]?.integer, let bytes = json["bytes"]?.integer,
            let erasures = json["erasures"]?.integer, first <= last,
            let low = UInt32(exactly: first), let high = UInt32(exactly: last)
        else { return nil }
        self.init(
            sequence: UInt64(clamping: sequence), first: low, last: high, day: day, rows: Int(rows), bytes: Int(bytes),
            erasures: erasures)
    }
}

/// Counts that were wrong when they were given: events that turned out to be second copies.
struct CountCorrection: Sendable, Equatable {
    var sequence: Int64
    var at: Int64
    var org: String
    /// Rows by what they were taken for.
    var duplicates: OutcomeCounts
    /// The last segment of the archive in which they are: what it says of its requests holds the correction.
    var last: UInt32
}

/// Which archives have taken the place of which segments. The one file whose renaming makes a compaction happen.
struct LogManifest: Sendable, Equatable {
    static let name = "manifest"
    static let version: Int64 = 1

    var sequence: UInt64 = 0
    /// Oldest first; none overlap.
    var archives: [ManifestArchive] = []
    /// Segments of which nothing is left.
    var gone: [ClosedRange<UInt32>] = []
    var corrections: [CountCorrection] = []
    /// Files that could not be written again since they are damaged, by the segments they hold.
    var unreadable: [ClosedRange<UInt32>] = []

    enum Failure: Error, Equatable { case damaged, unknownVersion(Int64) }

    init() {}

    /// Whether the place of a segment was taken.
    func replaces(_ segment: UInt32) -> Bool {
        gone.contains { $0.contains(segment) } || archives.contains { $0.first <= segment && segment <= $0.last }
    }

    /// The last segment whose place was taken; nil when none was.
    var lastReplaced: UInt32? {
        let archived = archives.map(\.last).max() ?? 0
        let last = max(archived, gone.map(\.upperBound).max() ?? 0)
        return last == 0 ? nil : last
    }

    /// Takes `archive`, or nothing, in the place of a range of segments and of the archives in it.
    mutating func replace(_ range: ClosedRange<UInt32>, with archive: ManifestArchive?) {
        archives.removeAll { range.contains($0.first) }
        unreadable.removeAll { range.contains($0.lowerBound) }
        if let archive {
            archives.append(archive)
            archives.sort { $0.first < $1.first }
        } else {
            gone.append(range)
            gone.sort { $0.lowerBound < $1.lowerBound }
            var joined: [ClosedRange<UInt32>] = []
            for range in gone {
                if let last = joined.last, last.upperBound &+ 1 >= range.lowerBound {
                    joined[joined.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
                } else {
                    joined.append(range)
                }
            }
            gone = joined
        }
    }

    // MARK: the file

    /// One line of JSON, and one with its CRC-32C.
    var encoded: [UInt8] {
        let document: JSONValue = [
            "version": .integer(Self.version), "sequence": .integer(Int64(clamping: sequence)),
            "archives": .array(archives.map(\.json)),
            "gone": .array(gone.map(Self.json)), "unreadable": .array(unreadable.map(Self.json)),
            "corrections": .array(
                corrections.map { correction in
                    [
                        "sequence": .integer(correction.sequence), "at": .integer(correction.at),
                        "org": .string(correction.org), "last": .integer(Int64(correction.last)),
                        "duplicates": .array(
                            EventOutcome.allCases.map { .integer(Int64(correction.duplicates[$0])) }),
                    ]
                }),
        ]
        return SealedText.encoded(document)
    }

    init(_ bytes: [UInt8]) throws(Failure) {
        guard let document = SealedText.decoded(bytes) else { throw .damaged }
        guard let version = document["version"]?.integer else { throw .damaged }
        guard version == Self.version else { throw .unknownVersion(version) }
        sequence = UInt64(clamping: document["sequence"]?.integer ?? 0)
        for entry in document["archives"]?.array ?? [] {
            guard let archive = ManifestArchive(entry) else { throw .damaged }
            archives.append(archive)
        }
        gone = try Self.ranges(document["gone"])
        unreadable = try Self.ranges(document["unreadable"])
        for entry in document["corrections"]?.array ?? [] {
            guard let sequence = entry["sequence"]?.integer, let at = entry["at"]?.integer,
                let org = entry["org"]?.string, let counts = entry["duplicates"]?.array
            else { throw .damaged }
            var duplicates = OutcomeCounts()
            for (outcome, count) in zip(EventOutcome.allCases, counts) {
                duplicates[outcome] = Int(count.integer ?? 0)
            }
            let last = UInt32(clamping: entry["last"]?.integer ?? 0)
            corrections.append(
                CountCorrection(sequence: sequence, at: at, org: org, duplicates: duplicates, last: last))
        }
    }

    private static func json(_ range: ClosedRange<UInt32>) -> JSONValue {
        [.integer(Int64(range.lowerBound)), .integer(Int64(range.upperBound))]
    }

    private static func ranges(_ list: JSONValue?) throws(Failure) -> [ClosedRange<UInt32>] {
        var ranges: [ClosedRange<UInt32>] = []
        for entry in list?.array ?? [] {
            guard let ends = entry.array, ends.count == 2, let low = ends[0].integer, let high = ends[1].integer,
                let first = UInt32(exactly: low), let last = UInt32(exactly: high), first <= last
            else { throw .damaged }
            ranges.append(first...last)
        }
        return ranges
    }

    /// The manifest of a folder; an empty one where there is none.
    static func read(_ storage: any LogStorage) throws(EventLogError) -> LogManifest {
        do {
            let names = try storage.names()
            guard names.contains(name) else {
                // Without it nobody knows which archives count: those whose segments are there are left of the first
                // compaction, which did not end; all others would be thrown away for nothing.
                guard ArchiveFormat.areLeftovers(names) else {
                    throw EventLogError.cannotOpen(
                        "The event log's manifest is missing and its archives are there; restore it from a backup.")
                }
                return LogManifest()
            }
            let file = try LogFile(storage, name)
            return try LogManifest(try file.read(at: 0, count: try file.size()))
        } catch let error as EventLogError {
            throw error
        } catch let error as LogStorageError {
            throw .cannotOpen(error.sentence)
        } catch Failure.unknownVersion(let version) {
            throw .cannotOpen("The event log's manifest has version \(version), which this version does not know.")
        } catch {
            throw .cannotOpen("The event log's manifest is damaged; restore it from a backup.")
        }
    }

    /// Puts this manifest in the place of the one before. Durable when it returns.
    func write(_ storage: any LogStorage) throws(LogStorageError) {
        try SealedText.replace(Self.name, with: encoded, storage)
    }
}

/// Small documents of the log's folder: a line of JSON and a line with its CRC, replaced whole.
enum SealedText {
    static func encoded(_ document: JSONValue) -> [UInt8] {
        let text = Array(document.canonical.utf8)
        return text + Array("\n\(ArchiveFormat.hex(CRC32C.of(text)))\n".utf8)
    }

    /// nil for bytes that are not whole.
    static func decoded(_ bytes: [UInt8]) -> JSONValue? {
        guard let end = bytes.firstIndex(of: 0x0a) else { return nil }
        let text = Array(bytes[..<end])
        guard bytes[(end + 1)...].starts(with: Array(ArchiveFormat.hex(CRC32C.of(text)).utf8)) else { return nil }
        return try? text.withUnsafeBufferPointer { try JSONReader.value($0) }
    }

    static func replace(_ name: String, with bytes: [UInt8], _ storage: any LogStorage) throws(LogStorageError) {
        let unfinished = name + ArchiveFormat.unfinishedSuffix
        if try storage.names().contains(unfinished) { try storage.remove(unfinished) }
        let file = try LogFile(storage, unfinished, create: true)
        try file.write(bytes, at: 0)
        try file.sync()
        try storage.rename(unfinished, to: name)
        try storage.syncFolder()
    }
}
