internal import AurumCore
internal import Crypto
internal import Foundation

/// Which blocks a job exports: fixed when it first runs, so that what it writes does not depend on when it is done.
struct ExportSnapshot: Codable, Equatable, Sendable {
    /// `ColumnSegment.identity`, oldest first.
    var segments: [UInt64]
    /// Blocks of each.
    var blocks: [Int]

    init(_ segments: [ColumnSegment]) {
        self.segments = segments.map(\.identity)
        blocks = segments.map(\.blocks.count)
    }

    /// The same blocks in the log as it is now; nil when one of them was rewritten or is gone.
    func find(in segments: [ColumnSegment]) -> [ColumnSegment]? {
        var found: [ColumnSegment] = []
        for (identity, count) in zip(self.segments, blocks) {
            guard let segment = segments.first(where: { $0.identity == identity }), segment.blocks.count >= count else {
                return nil
            }
            var cut = segment
            cut.blocks = Array(segment.blocks.prefix(count))
            found.append(cut)
        }
        return found
    }
}

/// How far a file is whole.
struct ExportCheckpoint: Codable, Equatable, Sendable {
    /// The next row: an index into the snapshot's segments, of a block, of a row.
    var segment = 0
    var block = 0
    var row = 0
    var rows = 0
    var bytes = 0
    var parts = 0
    var first: String?
    var last: String?
    /// Blocks behind it of which something could not be read because they are damaged; nil where there is none.
    var damagedBlocks: Int?
    /// The block of the next row is one of them.
    var isDamaged: Bool?

    /// Goes on with the next block of the segment.
    mutating func leaveBlock(damaged: Bool) {
        if damaged || isDamaged == true { damagedBlocks = (damagedBlocks ?? 0) + 1 }
        isDamaged = nil
        block += 1
        row = 0
    }
}

/// Writes the events of a snapshot to a file, part by part. Where a part ends depends on the events alone: a job that
/// was cut off and goes on after its last whole part writes the bytes of one that never stopped.
final class ExportWriter: @unchecked Sendable {  // one call at a time, by the one task that runs the job
    static let partRows = 10_000
    static let partBytes = 8 << 20

    private let segments: [ColumnSegment]
    private let scanner: RowScanner
    private let filter: RowFilter
    private let lines: ExportLines
    private let packer: ExportPacker
    private let file: ExportFile
    private(set) var checkpoint: ExportCheckpoint
    private var isOver = false

    /// - Parameter segments: those of the snapshot.
    init(_ request: ExportRequest, segments: [ColumnSegment], path: String, checkpoint: ExportCheckpoint) throws {
        self.segments = segments
        self.checkpoint = checkpoint
        filter = request.filter
        scanner = RowScanner(filter)
        lines = ExportLines(request)
        packer = ExportPacker(compression: request.compression)
        file = try ExportFile(path, keep: checkpoint.bytes)
    }

    /// Writes and syncs the next part; nil when everything is written.
    func nextPart() throws -> ExportCheckpoint? {
        guard !isOver else { return nil }
        var text: [UInt8] = checkpoint.parts == 0 ? Array(lines.header.utf8) : []
        var rows = 0
        while rows < Self.partRows, text.count < Self.partBytes, checkpoint.segment < segments.count {
            let segment = segments[checkpoint.segment]
            guard checkpoint.block < segment.blocks.count else {
                checkpoint.segment += 1
                checkpoint.block = 0
                checkpoint.row = 0
                continue
            }
            guard filter.mayHold(segment.blocks[checkpoint.block]) else {
                checkpoint.leaveBlock(damaged: false)
                continue
            }
            let found = try BlockView.readable { () -> (block: any ColumnBlock, rows: [UInt32])? in
                guard let block = try segment.read(checkpoint.block) else { return nil }
                return (block, try scanner.select(block).rows(of: block.rowCount))
            }
            if let found { guard try take(found.rows, of: found.block, &text, &rows) else { break } }
            checkpoint.leaveBlock(damaged: found == nil)
        }
        isOver = checkpoint.segment >= segments.count
        // An export of nothing is still a file.
        if rows > 0 || checkpoint.parts == 0 {
            checkpoint.bytes += try file.append(packer.pack(text))
            checkpoint.rows += rows
            checkpoint.parts += 1
        }
        return checkpoint
    }

    /// Leaves out events that cannot be read. False when the part was full before the block was over.
    private func take(
        _ selected: [UInt32], of block: any ColumnBlock, _ text: inout [UInt8], _ rows: inout Int
    ) throws -> Bool {
        for row in selected where Int(row) >= checkpoint.row {
            guard rows < Self.partRows, text.count < Self.partBytes else { return false }
            checkpoint.row = Int(row) + 1
            guard let event = try event(Int(row), of: block) else { continue }
            text.append(contentsOf: lines.line(event).utf8)
            rows += 1
            let position = block.position(Int(row)).description
            checkpoint.first = checkpoint.first ?? position
            checkpoint.last = position
        }
        return true
    }

    private func event(_ row: Int, of block: any ColumnBlock) throws -> StoredEvent? {
        do { return try block.event(row) } catch BlockView.Failure.damaged {
            checkpoint.isDamaged = true
            return nil
        }
    }

    /// SHA-256 of the whole file as hex.
    func finish() throws -> String { try file.finish() }
}

/// A file that grows by synced parts and knows its hash.
final class ExportFile {
    private let handle: FileHandle
    private var hash = Crypto.SHA256()
    private static let stepBytes = 1 << 20

    /// - Parameter keep: bytes that are whole; what stands behind them is cut off.
    init(_ path: String, keep: Int) throws {
        if !FileManager.default.fileExists(atPath: path) || keep == 0 {
            guard FileManager.default.createFile(atPath: path, contents: nil, attributes: [.posixPermissions: 0o600])
            else { throw ExportError.storage }
        }
        handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        guard try handle.seekToEnd() >= UInt64(keep) else { throw ExportError.storage }
        try handle.truncate(atOffset: UInt64(keep))
        try handle.seek(toOffset: 0)
        var left = keep
        while left > 0 {
            guard let bytes = try handle.read(upToCount: min(left, Self.stepBytes)), !bytes.isEmpty else {
                throw ExportError.storage
            }
            hash.update(data: bytes)
            left -= bytes.count
        }
    }

    /// Writes and syncs; the number of bytes.
    func append(_ bytes: [UInt8]) throws -> Int {
        let data = Data(bytes)
        try handle.write(contentsOf: data)
        try handle.synchronize()
        hash.update(data: data)
        return bytes.count
    }

    func finish() throws -> String {
        try handle.close()
        return Hex.encode(hash.finalize())
    }
}
