internal import AurumCore
internal import Events
internal import Foundation
internal import Telemetry

/// Files of events into a log of this process: from the first byte that is read until the last event is durable, as an
/// engine in a process of its own reads them, without HTTP and its sender. The bodies of one file go one after the
/// other, so that many files are needed to keep all cores busy.
package struct FileIngestBench: Sendable {
    /// Files on their way at once.
    /// Files on their way at once: as many as keep all cores busy while blocks are written.
    private static let readers = 96
    private static let linesMax = StandardEvents.eventsPerBody

    private let files: [URL]
    /// A time at which every event is fresh.
    private let receivedAt: Timestamp

    /// - Throws: a sentence when the folder cannot be read or holds no `*.ndjson` file.
    package init(directory: String) throws {
        let folder = URL(fileURLWithPath: directory)
        let names: [String]
        do { names = try FileManager.default.contentsOfDirectory(atPath: directory) } catch {
            throw BenchFailure("the folder \(directory) cannot be read")
        }
        files = names.filter { $0.hasSuffix(".ndjson") }.sorted().map { folder.appendingPathComponent($0) }
        guard !files.isEmpty else {
            throw BenchFailure("\(directory) holds \(names.count) files, none of them *.ndjson")
        }
        let latest = try files.compactMap { EventBodies.lastTime(try Self.bytes($0)) }.max()
        receivedAt = latest.map { Timestamp(microseconds: $0.microseconds + 60_000_000) } ?? SystemWallClock().now
    }

    private static func bytes(_ file: URL) throws -> Data {
        do { return try Data(contentsOf: file, options: .alwaysMapped) } catch {
            throw BenchFailure("\(file.path) cannot be read")
        }
    }

    package func rows() async throws -> [BenchRow] {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("aurum-bench-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let log = try LogBench.open(folder)
        var cost = ProcessCost()
        var ingest = try await withThrowingTaskGroup(of: Ingest.self) { group in
            for reader in 0..<Self.readers {
                group.addTask {
                    var sum = Ingest()
                    for number in stride(from: reader, to: files.count, by: Self.readers) {
                        sum.add(try await store(files[number], number: number, log.capture))
                    }
                    return sum
                }
            }
            return try await group.reduce(into: Ingest()) { $0.add($1) }
        }
        cost.stop()
        ingest.cost = cost
        await log.close()
        let segments = SegmentFiles(folder)
        let ratio = Double(ingest.bytes) / Double(max(1, segments.bytes))
        return [
            ingest.rate("files"), ingest.cpu("files"),
            BenchRow(name: "files.ratio", value: ratio, unit: ":1", higherIsBetter: true, n: ingest.kept),
            BenchRow(name: "files.stored", value: Double(ingest.stored), unit: "events", n: files.count, note: "files"),
        ]
    }

    /// Every line of a file; those of file k are for app k mod 200.
    private func store(_ file: URL, number: Int, _ capture: EventCapture) async throws -> Ingest {
        let data = try Self.bytes(file)
        let source = CaptureSource(org: LogBench.org, app: "app-\(number % StandardEvents.apps)")
        var sum = Ingest()
        var start = 0
        while start < data.count {
            let end = Self.end(data, from: start)
            let result = await withCheckedContinuation { continuation in
                data.withUnsafeBytes { bytes in
                    capture.submit(
                        UnsafeRawBufferPointer(rebasing: bytes[start..<end]), format: .ndjson, source: source,
                        receivedAt: receivedAt
                    ) { continuation.resume(returning: $0) }
                }
            }
            sum.add(result, bytes: end - start)
            start = end
        }
        return sum
    }

    /// Where the next body ends that begins at `start`.
    private static func end(_ data: Data, from start: Int) -> Int {
        data.withUnsafeBytes { bytes in
            var (place, lines) = (start, 0)
            while place < bytes.count, lines < linesMax, place - start < EventBodies.bodyBytesMax {
                let rest = bytes.baseAddress! + place
                guard let found = memchr(rest, 0x0a, bytes.count - place) else { return bytes.count }
                place += UnsafeRawPointer(found) - rest + 1
                lines += 1
            }
            return place
        }
    }
}
