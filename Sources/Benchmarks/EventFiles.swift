package import AurumCore
internal import Foundation

/// NDJSON bodies to measure with, from a folder or made in the process.
package struct EventBodies: Sendable {
    /// Each ends in a line end and holds at most `StandardEvents.eventsPerBody` lines.
    var bodies: [[UInt8]]
    var events: Int
    var bytes: Int
    /// A time at which every event is fresh.
    var receivedAt: Timestamp
    /// What was made, when it was made here.
    package var totals: StandardTotals?
    /// Where it is from, in words.
    var origin: String

    /// Bytes read from a folder at most: everything stays in memory.
    static let bytesMax = 4 << 30
    /// Bytes of one body: below the server's own limit.
    static let bodyBytesMax = 2 << 20

    /// All `*.ndjson` files of a folder in the order of their names; other files are left alone.
    /// - Throws: a sentence when the folder cannot be read or holds no event.
    static func load(_ directory: String, eventsMax: Int = .max) throws -> EventBodies {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: directory, isDirectory: &isFolder), isFolder.boolValue else {
            throw BenchFailure("\(directory) is no folder")
        }
        let names: [String]
        do { names = try FileManager.default.contentsOfDirectory(atPath: directory) } catch {
            throw BenchFailure("the folder \(directory) cannot be read")
        }
        let files = names.filter { $0.hasSuffix(".ndjson") }.sorted()
        guard !files.isEmpty else {
            throw BenchFailure("\(directory) holds \(names.count) files, none of them *.ndjson")
        }
        var loaded = EventBodies(origin: "\(files.count) files of \(directory)")
        for name in files where loaded.events < eventsMax && loaded.bytes < bytesMax {
            let path = URL(fileURLWithPath: directory).appendingPathComponent(name)
            guard let data = try? Data(contentsOf: path) else { throw BenchFailure("\(path.path) cannot be read") }
            loaded.split(Array(data), eventsMax: eventsMax)
        }
        guard loaded.events > 0 else { throw BenchFailure("the *.ndjson files of \(directory) hold no line") }
        loaded.receivedAt = loaded.latestTime ?? SystemWallClock().now
        return loaded
    }

    /// The standard data: body k is for app k mod 200.
    static func generate(_ profile: EventProfile, events: Int, seed: UInt64) -> EventBodies {
        var source = StandardEvents(profile: profile, seed: seed)
        var made = EventBodies(origin: "profile \(profile.rawValue), seed \(seed)")
        while made.events < events {
            let count = min(StandardEvents.eventsPerBody, events - made.events)
            made.add(source.body(count), lines: count)
        }
        made.totals = source.totals
        made.receivedAt = made.latestTime ?? made.receivedAt
        return made
    }

    private init(origin: String) {
        (bodies, events, bytes) = ([], 0, 0)
        receivedAt = Timestamp(milliseconds: 1_795_224_568_000)
        self.origin = origin
    }

    private mutating func add(_ body: [UInt8], lines: Int) {
        bodies.append(body)
        events += lines
        bytes += body.count
    }

    /// Cuts a file into bodies at line ends. Empty lines go with their neighbours and are no events.
    private mutating func split(_ file: [UInt8], eventsMax: Int) {
        var start = 0
        var lines = 0
        var lineStart = 0
        func isBlank(_ range: Range<Int>) -> Bool { file[range].allSatisfy { $0 == 0x20 || $0 == 0x0d || $0 == 0x09 } }
        for index in file.indices where file[index] == 0x0a {
            if !isBlank(lineStart..<index) { lines += 1 }
            lineStart = index + 1
            let isFull = lines == StandardEvents.eventsPerBody || lineStart - start >= Self.bodyBytesMax
            if isFull || events + lines >= eventsMax {
                if lines > 0 { add(Array(file[start..<lineStart]), lines: lines) }
                (start, lines) = (lineStart, 0)
                if events >= eventsMax { return }
            }
        }
        if lineStart < file.count, !isBlank(lineStart..<file.count) { lines += 1 }
        if lines > 0 { add(Array(file[start...]) + (file.last == 0x0a ? [] : [0x0a]), lines: lines) }
    }

    /// A minute after the latest time that the last event of any body carries.
    private var latestTime: Timestamp? {
        let times = bodies.compactMap { Self.lastTime($0) }
        return times.max().map { Timestamp(microseconds: $0.microseconds + 60_000_000) }
    }

    /// What the last event of a body carries.
    static func lastTime(_ body: some BidirectionalCollection<UInt8>) -> Timestamp? {
        let whole = body.last == 0x0a ? body.dropLast() : body[...]
        let start = whole.lastIndex(of: 0x0a).map { whole.index(after: $0) } ?? whole.startIndex
        let line = String(decoding: whole[start...].prefix(65_536), as: UTF8.self)
        for key in ["\"timestamp\":\"", "\"ts\":\""] {
            guard let found = line.range(of: key) else { continue }
            return Timestamp(rfc3339: String(line[found.upperBound...].prefix { $0 != "\"" }))
        }
        return nil
    }
}

/// Writes the standard data as files that any store can read.
package enum EventFiles {
    /// One file a body: `b00000.ndjson` is for app 0, and so on; counts and exact sums in `totals.json`. Times end now.
    package static func write(
        to directory: String, events: Int, profile: EventProfile, seed: UInt64, endingAt: Timestamp
    ) throws -> StandardTotals {
        let span = Int64(events) * Int64(StandardEvents.stepMilliseconds) * 1000 + 120_000_000
        var source = StandardEvents(
            profile: profile, seed: seed, startingAt: Timestamp(microseconds: endingAt.microseconds - span))
        let folder = URL(fileURLWithPath: directory)
        do {
            try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
            var number = 0
            while source.totals.events < events {
                let body = source.body(min(StandardEvents.eventsPerBody, events - source.totals.events))
                let digits = String(number)
                let name = "b" + String(repeating: "0", count: max(0, 5 - digits.count)) + digits + ".ndjson"
                try Data(body).write(to: folder.appendingPathComponent(name))
                number += 1
            }
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            try encoder.encode(source.totals).write(to: folder.appendingPathComponent("totals.json"))
        } catch { throw BenchFailure("the folder \(directory) cannot be written: \(error)") }
        return source.totals
    }
}
