/// The touchpoints of one segment or archive that grows no more, sorted by the hashes under which they are found: a
/// file beside it that can be made anew at any time.
///
/// Little-endian. A page of 4,096 bytes says what the file is about; then come parts of pages, each part sorted. A page
/// holds up to 255 entries of 16 bytes (hash; offset of the block; row and kind in one word), how many they are, its
/// number and a checksum.
struct TouchFile: Sendable {
    static let suffix = ".touches"
    static let pageBytes = 4096
    static let entriesEach = 255
    private static let entryBytes = 16
    private static let magic: UInt64 = 0x4843_554F_5455_4155  // "UAUTOUCH"
    private static let version: UInt32 = 1
    /// Entries that are sorted at a time: what bounds the memory of making a file.
    static let partEntriesMax = 1 << 20
    static let partsMax = 256
    /// Rows of a block that a place can name.
    static let rowsMax = 1 << 24

    /// Neighbours that are looked at before halving.
    private static let stepsNear = 4

    /// A touchpoint under one hash.
    struct Entry {
        var key: UInt64
        /// Of the block in its segment or archive.
        var offset: UInt32
        /// The row in 24 bits, the kind above.
        var place: UInt32

        var row: Int { Int(place & 0xff_ffff) }
    }

    /// The file is not what was written.
    struct Damaged: Error {}

    let file: LogFile
    /// Pages of each part.
    private let parts: [Int]

    static func name(of source: LogFile) -> String { source.name + suffix }

    /// Opens what is there.
    /// - Throws: `Damaged`; storage errors.
    init(_ storage: any LogStorage, of source: LogFile, identity: UInt64) throws {
        file = try LogFile(storage, Self.name(of: source))
        let bytes = try file.read(at: 0, count: Self.pageBytes)
        var reader = WordReader(bytes)
        guard bytes.count == Self.pageBytes, reader.next(UInt64.self) == Self.magic,
            reader.next(UInt32.self) == Self.version
        else { throw Damaged() }
        let count = Int(reader.next(UInt32.self))
        guard count <= Self.partsMax, reader.next(UInt64.self) == identity else { throw Damaged() }
        parts = (0..<count).map { _ in Int(reader.next(UInt32.self)) }
        reader.move(to: Self.pageBytes - 4)
        guard reader.next(UInt32.self) == CRC32C.of(Array(bytes[0..<Self.pageBytes - 4])) else { throw Damaged() }
    }

    /// Writes a file in the place of what was there: it counts once its first page is durable.
    /// - Parameters:
    ///   - identity: of the secret that the hashes were made with.
    ///   - fill: gives entries in any order.
    init(
        _ storage: any LogStorage, of source: LogFile, identity: UInt64,
        _ fill: (_ add: (Entry) throws -> Void) throws -> Void
    ) throws {
        let file = try LogFile(storage, Self.name(of: source), create: true)
        try file.truncate(to: 0)
        var (parts, entries, pages): ([Int], [Entry], Int) = ([], [], 1)
        func close() throws {
            guard !entries.isEmpty else { return }
            guard parts.count < Self.partsMax else { throw Damaged() }
            entries.sort { $0.key < $1.key }
            var bytes = RawBytes(capacity: 64 * Self.pageBytes)
            defer { bytes.deallocate() }
            let (first, begun) = (pages, pages)
            for start in stride(from: 0, to: entries.count, by: Self.entriesEach) {
                Self.append(entries[start..<min(entries.count, start + Self.entriesEach)], number: pages, to: &bytes)
                pages += 1
            }
            try file.write([UnsafeRawBufferPointer(bytes.bytes)], at: first * Self.pageBytes)
            parts.append(pages - begun)
            entries.removeAll(keepingCapacity: true)
        }
        try fill { entry in
            entries.append(entry)
            if entries.count == Self.partEntriesMax { try close() }
        }
        try close()
        // Pages before the page that says they are there.
        try file.sync()
        try file.write(Self.head(parts, identity), at: 0)
        try file.sync()
        try storage.syncFolder()
        (self.file, self.parts) = (file, parts)
    }

    private static func head(_ parts: [Int], _ identity: UInt64) -> [UInt8] {
        var bytes = RawBytes(capacity: pageBytes)
        defer { bytes.deallocate() }
        bytes.append(magic)
        bytes.append(version)
        bytes.append(UInt32(parts.count))
        bytes.append(identity)
        for pages in parts { bytes.append(UInt32(pages)) }
        while bytes.count < pageBytes - 4 { bytes.append(UInt32(0)) }
        bytes.append(CRC32C.of(bytes.bytes))
        return Array(bytes.bytes)
    }

    private static func append(_ entries: ArraySlice<Entry>, number: Int, to bytes: inout RawBytes) {
        let start = bytes.count
        for entry in entries {
            bytes.append(entry.key)
            bytes.append(entry.offset)
            bytes.append(entry.place)
        }
        while bytes.count - start < entriesEach * entryBytes { bytes.append(UInt64(0)) }
        bytes.append(UInt32(entries.count))
        bytes.append(UInt64(number))
        bytes.append(CRC32C.of(UnsafeRawBufferPointer(rebasing: bytes.bytes[start..<bytes.count])))
    }

    // MARK: looking up

    /// Every entry of a hash.
    /// - Throws: `Damaged`; storage errors.
    func entries(of key: UInt64) throws -> [Entry] {
        var (found, start): ([Entry], Int) = ([], 1)
        for pages in parts {
            try add(key, start..<start + pages, to: &found)
            start += pages
        }
        return found
    }

    /// Of one part. Hashes are spread evenly, so that the first page looked at is nearly the right one.
    private func add(_ key: UInt64, _ part: Range<Int>, to found: inout [Entry]) throws {
        var (low, high) = (part.lowerBound, part.upperBound - 1)
        var at = low + Int(key.multipliedFullWidth(by: UInt64(part.count)).high)
        var steps = 0
        // The first page whose last hash is not below the key.
        while low < high {
            // One hash with very many touchpoints moves all others from where they would be.
            at = steps < Self.stepsNear ? max(low, min(high - 1, at)) : low + (high - low) / 2
            steps += 1
            let page = try page(at)
            if let last = page.last, last.key >= key {
                high = at
                // Whatever is below its first hash is on an earlier page.
                if let first = page.first, first.key < key { break }
                at -= 1
            } else {
                low = at + 1
                at = low
            }
        }
        for number in high..<part.upperBound {
            let page = try page(number)
            found += page.filter { $0.key == key }
            guard let last = page.last, last.key <= key else { break }
        }
    }

    private func page(_ number: Int) throws -> [Entry] {
        let bytes = try file.read(at: number * Self.pageBytes, count: Self.pageBytes)
        var reader = WordReader(bytes)
        reader.move(to: Self.entriesEach * Self.entryBytes)
        let (count, known) = (Int(reader.next(UInt32.self)), reader.next(UInt64.self))
        guard bytes.count == Self.pageBytes, (1...Self.entriesEach).contains(count), known == UInt64(number),
            reader.next(UInt32.self) == CRC32C.of(Array(bytes[0..<Self.pageBytes - 4]))
        else { throw Damaged() }
        reader.move(to: 0)
        return (0..<count).map { _ in
            Entry(
                key: reader.next(UInt64.self), offset: reader.next(UInt32.self), place: reader.next(UInt32.self))
        }
    }
}
