internal import AurumCore
internal import Foundation
internal import Synchronization

#if canImport(Glibc)
    internal import Glibc
#endif

/// The temporary files of one run: a file for each part of all persons, gone when the run is.
final class SpillFiles: Sendable {
    let folder: String
    /// Leading bits of the person that say in which file its records are.
    let bits: Int
    private let descriptors: [Int32]
    private let ends: Mutex<[Int]>

    var count: Int { 1 << bits }

    /// - Parameter bits: there are 2^bits files.
    /// - Throws: `LogAttributionError.storage`.
    init(folder: String, bits: Int) throws(LogAttributionError) {
        (self.folder, self.bits) = (folder, bits)
        do {
            try FileManager.default.createDirectory(
                atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch { throw .storage("the folder \(folder) cannot be made: \(error.localizedDescription)") }
        var descriptors: [Int32] = []
        for number in 0..<1 << bits {
            let descriptor = open("\(folder)/\(number).part", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else {
                for descriptor in descriptors { close(descriptor) }
                throw .storage("a temporary file in \(folder) cannot be made: \(String(cString: strerror(errno)))")
            }
            descriptors.append(descriptor)
        }
        self.descriptors = descriptors
        ends = Mutex([Int](repeating: 0, count: 1 << bits))
    }

    deinit {
        for descriptor in descriptors { close(descriptor) }
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// Bytes of a part.
    func size(_ number: Int) -> Int { ends.withLock { $0[number] } }

    /// Bytes of all parts.
    var bytes: Int { ends.withLock { $0.reduce(0, +) } }

    /// Adds bytes to the end of a part; any thread.
    func append(_ number: Int, _ bytes: UnsafeRawBufferPointer) throws(LogAttributionError) {
        var place = ends.withLock { ends in
            defer { ends[number] += bytes.count }
            return ends[number]
        }
        var rest = bytes[...]
        while !rest.isEmpty {
            let chunk = UnsafeRawBufferPointer(rebasing: rest)
            let written = pwrite(descriptors[number], chunk.baseAddress, chunk.count, off_t(place))
            if written < 0, errno == EINTR { continue }
            guard written > 0 else {
                throw .storage("a temporary file in \(folder) cannot be written: \(String(cString: strerror(errno)))")
            }
            place += written
            rest = rest.dropFirst(written)
        }
    }

    /// Fills `target` from a place of a part.
    func read(_ number: Int, at start: Int, into target: UnsafeMutableRawBufferPointer) throws(LogAttributionError) {
        var filled = 0
        while filled < target.count {
            guard let base = target.baseAddress else { return }
            let count = pread(descriptors[number], base + filled, target.count - filled, off_t(start + filled))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                throw .storage("a temporary file in \(folder) cannot be read: \(String(cString: strerror(errno)))")
            }
            filled += count
        }
    }

    /// Gives back what a part takes on disk.
    func drop(_ number: Int) {
        _ = ftruncate(descriptors[number], 0)
        ends.withLock { $0[number] = 0 }
    }

    /// Removes what earlier runs left in a folder when their process ended.
    static func clean(_ folder: String) { try? FileManager.default.removeItem(atPath: folder) }
}

/// One thread's way into the files: a buffer for each.
struct SpillWriter: ~Copyable {
    private let files: SpillFiles
    private let records: UnsafeMutablePointer<LogRecord>
    private let counts: UnsafeMutablePointer<Int32>
    private let shift: UInt64
    private let mask: UInt64
    private static let recordsEach = 512

    init(_ files: SpillFiles) {
        self.files = files
        records = .allocate(capacity: files.count * Self.recordsEach)
        records.initialize(
            repeating: LogRecord(person: 0, time: 0, id: 0, kind: 0), count: files.count * Self.recordsEach)
        counts = .allocate(capacity: files.count)
        counts.initialize(repeating: 0, count: files.count)
        shift = UInt64(64 - max(1, files.bits))
        mask = files.bits == 0 ? 0 : .max
    }

    deinit {
        records.deallocate()
        counts.deallocate()
    }

    @inline(__always)
    mutating func add(_ record: LogRecord) throws(LogAttributionError) {
        let number = Int(truncatingIfNeeded: (record.person &>> shift) & mask)
        let count = Int(counts[number])
        records[number &* Self.recordsEach &+ count] = record
        counts[number] = Int32(truncatingIfNeeded: count &+ 1)
        if count &+ 1 == Self.recordsEach { try flush(number) }
    }

    private mutating func flush(_ number: Int) throws(LogAttributionError) {
        let bytes = UnsafeRawBufferPointer(
            start: records + number * Self.recordsEach, count: Int(counts[number]) * MemoryLayout<LogRecord>.stride)
        try files.append(number, bytes)
        counts[number] = 0
    }

    mutating func finish() throws(LogAttributionError) {
        for number in 0..<files.count where counts[number] > 0 { try flush(number) }
    }
}

/// One thread's converted journeys, one behind the other in a file: what the fitted models divide once they are
/// fitted. Words: conversion and touches, currency, day, money (two), where refunds took some of it how much (two),
/// then the label of each touch.
struct JourneyWriter: ~Copyable {
    private let files: SpillFiles
    private let number: Int
    private var words: [UInt32] = []
    private static let wordsMax = 1 << 18
    static let headWords = 5
    /// The bit of the first word that says that refunds took some of the money.
    private static let returnedBit: UInt32 = 1 << 31

    init(_ files: SpillFiles, number: Int) {
        (self.files, self.number) = (files, number)
        words.reserveCapacity(Self.wordsMax + 256)
    }

    mutating func add(
        name: Int, currency: UInt32, day: Int32, minor: Int64, returned: Int64,
        labels: UnsafeBufferPointer<UInt32>
    ) throws(LogAttributionError) {
        words.append(UInt32(name) | UInt32(labels.count) << 16 | (returned == 0 ? 0 : Self.returnedBit))
        words.append(currency)
        words.append(UInt32(bitPattern: day))
        words.append(UInt32(truncatingIfNeeded: minor))
        words.append(UInt32(truncatingIfNeeded: minor >> 32))
        if returned != 0 {
            words.append(UInt32(truncatingIfNeeded: returned))
            words.append(UInt32(truncatingIfNeeded: returned >> 32))
        }
        words.append(contentsOf: labels)
        if words.count >= Self.wordsMax { try finish() }
    }

    mutating func finish() throws(LogAttributionError) {
        let (files, number) = (files, number)
        var failure: LogAttributionError?
        words.withUnsafeBytes { bytes in
            do throws(LogAttributionError) { try files.append(number, bytes) } catch { failure = error }
        }
        if let failure { throw failure }
        words.removeAll(keepingCapacity: true)
    }

    /// Shows every journey of a file.
    static func read(
        _ files: SpillFiles, number: Int,
        _ body: (
            _ name: Int, _ currency: UInt32, _ day: Int32, _ minor: Int64, _ returned: Int64,
            UnsafeBufferPointer<UInt32>
        ) throws -> Void
    ) throws {
        let size = files.size(number) / 4
        var buffer = [UInt32](repeating: 0, count: min(size, wordsMax))
        var (place, kept) = (0, 0)
        while place < size || kept > 0 {
            let count = min(buffer.count - kept, size - place)
            try buffer.withUnsafeMutableBytes { raw in
                try files.read(
                    number, at: place * 4,
                    into: UnsafeMutableRawBufferPointer(rebasing: raw[kept * 4..<(kept + count) * 4]))
            }
            place += count
            let filled = kept + count
            var start = 0
            try buffer.withUnsafeBufferPointer { words in
                func amount(_ place: Int) -> Int64 {
                    Int64(words[place]) | Int64(Int32(bitPattern: words[place + 1])) << 32
                }
                while start + headWords <= filled {
                    let isReturned = words[start] & returnedBit != 0
                    let touches = Int((words[start] & ~returnedBit) >> 16)
                    let first = start + headWords + (isReturned ? 2 : 0)
                    guard first + touches <= filled else { break }
                    try body(
                        Int(words[start] & 0xffff), words[start + 1], Int32(bitPattern: words[start + 2]),
                        amount(start + 3), isReturned ? amount(start + headWords) : 0,
                        UnsafeBufferPointer(rebasing: words[first..<first + touches]))
                    start = first + touches
                }
            }
            guard start > 0 else { throw LogAttributionError.storage("a temporary file is not whole") }
            for index in start..<filled { buffer[index - start] = buffer[index] }
            kept = filled - start
        }
    }
}
