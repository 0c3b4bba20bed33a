/// Which runs make up the index, oldest generation first. Kept in two files that are written in turn, so that a torn or
/// lost one leaves the other.
struct DeduplicationManifest: Sendable, Equatable {
    struct Run: Sendable, Equatable {
        var number: UInt32
        /// Of the run's header: a file of the same name from elsewhere does not count.
        var crc: UInt32
    }

    struct Generation: Sendable, Equatable {
        var number: UInt32
        var capacity: UInt64
        var runs: [Run]
    }

    private static let magic: UInt64 = 0x4D44_494D_5552_5541  // "AURUMIDM"
    private static let version: UInt16 = 1
    static let names = ["dedup-0.manifest", "dedup-1.manifest"]

    var identity: UInt64
    var sequence: UInt64 = 0
    var nextRun: UInt32 = 1
    var nextGeneration: UInt32 = 1
    var windowStart = Int64.min
    var generations: [Generation] = []

    var runNumbers: [UInt32] { generations.flatMap { $0.runs.map(\.number) } }

    init(identity: UInt64) { self.identity = identity }

    func encoded() -> [UInt8] {
        var bytes = RawBytes(capacity: 256)
        defer { bytes.deallocate() }
        bytes.append(Self.magic)
        bytes.append(Self.version)
        bytes.append(UInt16(generations.count))
        bytes.append(UInt32(runNumbers.count))
        bytes.append(identity)
        bytes.append(sequence)
        bytes.append(nextRun)
        bytes.append(nextGeneration)
        bytes.append(windowStart)
        for generation in generations {
            bytes.append(generation.number)
            bytes.append(UInt32(generation.runs.count))
            bytes.append(generation.capacity)
            for run in generation.runs {
                bytes.append(run.number)
                bytes.append(run.crc)
            }
        }
        bytes.append(CRC32C.of(bytes.bytes))
        return Array(bytes.bytes)
    }

    /// nil when anything is not as it was written. Bytes behind the end, from a longer one before, do not matter.
    init?(_ bytes: [UInt8]) {
        var reader = WordReader(bytes)
        guard reader.next(UInt64.self) == Self.magic, reader.next(UInt16.self) == Self.version else { return nil }
        let generationCount = Int(reader.next(UInt16.self))
        let runCount = Int(reader.next(UInt32.self))
        let body = 48 + generationCount * 16 + runCount * 8
        guard body + 4 <= bytes.count else { return nil }
        identity = reader.next(UInt64.self)
        sequence = reader.next(UInt64.self)
        nextRun = reader.next(UInt32.self)
        nextGeneration = reader.next(UInt32.self)
        windowStart = reader.next(Int64.self)
        var runsLeft = runCount
        for _ in 0..<generationCount {
            let number = reader.next(UInt32.self)
            let count = Int(reader.next(UInt32.self))
            let capacity = reader.next(UInt64.self)
            guard count <= runsLeft else { return nil }
            runsLeft -= count
            var runs: [Run] = []
            for _ in 0..<count {
                let run = reader.next(UInt32.self)
                runs.append(Run(number: run, crc: reader.next(UInt32.self)))
            }
            generations.append(Generation(number: number, capacity: capacity, runs: runs))
        }
        guard runsLeft == 0, reader.next(UInt32.self) == CRC32C.of(Array(bytes[0..<body])) else { return nil }
    }

    /// The newest whole manifest of this installation in the folder.
    static func newest(_ storage: any LogStorage, identity: UInt64) throws(LogStorageError) -> DeduplicationManifest? {
        let present = try storage.names()
        var newest: DeduplicationManifest?
        for name in names where present.contains(name) {
            guard let file = try? LogFile(storage, name), let size = try? file.size(),
                let bytes = try? file.read(at: 0, count: min(size, 64 << 20)),
                let manifest = DeduplicationManifest(bytes), manifest.identity == identity,
                manifest.sequence > newest?.sequence ?? 0
            else { continue }
            newest = manifest
        }
        return newest
    }

    /// Writes the next manifest over the older of the two files. Until it is durable the newer one stays as it was.
    func write(_ storage: any LogStorage) throws(LogStorageError) {
        let name = Self.names[Int(sequence % 2)]
        let isNew = try !storage.names().contains(name)
        let file = try LogFile(storage, name, create: true)
        try file.write(encoded(), at: 0)
        try file.sync()
        if isNew { try storage.syncFolder() }
    }
}
