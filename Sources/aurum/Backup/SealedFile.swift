internal import AurumCore
internal import Crypto
internal import Foundation

/// A file of a backup: 8 bytes `AURUMBAK`, 16 of salt, then frames of at most 1 MiB, each sealed with AES-256-GCM under
/// a key of this file alone. A frame says how long it is (four bytes, little-endian), which one it is and whether it is
/// the last: none can be left out, repeated or moved without being noticed.
enum SealedFile {
    static let magic = Array("AURUMBAK".utf8)
    static let saltBytes = 16
    static let frameBytesMax = 1 << 20
    /// Nonce and tag are kept apart from the text: the nonce is the number of the frame.
    static let tagBytes = 16

    static func nonce(_ number: UInt64) throws -> AES.GCM.Nonce {
        try AES.GCM.Nonce(data: [0, 0, 0, 0] + withUnsafeBytes(of: number.littleEndian) { Array($0) })
    }

    static func context(_ name: String, isLast: Bool) -> Data { Data((name + (isLast ? "\nlast" : "\nmore")).utf8) }

    /// What the list of files says of one.
    struct Summary: Codable, Equatable, Sendable {
        /// Path inside the backup.
        var path: String
        /// Bytes of the sealed file.
        var bytes: Int
        /// SHA-256 of the sealed file, hex.
        var sha256: String
        /// Bytes before sealing.
        var contentBytes: Int
    }
}

/// Writes one file. `finish` makes it durable.
final class SealedWriter {
    private let handle: FileHandle
    private let path: String
    private let name: String
    private let key: SymmetricKey
    private var hash = SHA256()
    private var waiting: [UInt8] = []
    private var frame: UInt64 = 0
    private(set) var written = 0
    private var contentBytes = 0

    /// - Parameter name: the path inside the backup, which belongs to what is authenticated.
    init(folder: String, name: String, key: BackupKey) throws {
        path = folder + "/" + name
        self.name = name
        try FileManager.default.createDirectory(
            atPath: (path as NSString).deletingLastPathComponent, withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700])
        guard FileManager.default.createFile(atPath: path, contents: nil, attributes: [.posixPermissions: 0o600]),
            let handle = FileHandle(forWritingAtPath: path)
        else { throw CommandFailure("the file \(path) cannot be written") }
        self.handle = handle
        var random = SystemRandomNumberGenerator()
        let salt = (0..<SealedFile.saltBytes).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        self.key = key.fileKey(salt: salt)
        try put(SealedFile.magic + salt)
    }

    func write(_ bytes: [UInt8]) throws {
        waiting += bytes
        contentBytes += bytes.count
        var start = 0
        while waiting.count - start > SealedFile.frameBytesMax {
            try seal(waiting[start..<start + SealedFile.frameBytesMax], isLast: false)
            start += SealedFile.frameBytesMax
        }
        waiting.removeFirst(start)
    }

    func finish() throws -> SealedFile.Summary {
        try seal(waiting[...], isLast: true)
        waiting = []
        try handle.synchronize()
        try handle.close()
        return SealedFile.Summary(
            path: name, bytes: written, sha256: Hex.encode(hash.finalize()), contentBytes: contentBytes)
    }

    private func seal(_ bytes: ArraySlice<UInt8>, isLast: Bool) throws {
        let box = try AES.GCM.seal(
            bytes, using: key, nonce: try SealedFile.nonce(frame),
            authenticating: SealedFile.context(name, isLast: isLast))
        frame += 1
        let length = UInt32(bytes.count) | (isLast ? 1 << 31 : 0)
        try put(withUnsafeBytes(of: length.littleEndian) { Array($0) } + box.ciphertext + box.tag)
    }

    private func put(_ bytes: [UInt8]) throws {
        hash.update(data: bytes)
        written += bytes.count
        try handle.write(contentsOf: bytes)
    }
}

/// Reads one file front to back, and everything of it that can be checked.
final class SealedReader {
    private let handle: FileHandle
    private let name: String
    private let key: SymmetricKey
    private var hash = SHA256()
    private var frame: UInt64 = 0
    private var bytesRead = 0
    private var isOver = false

    private func damaged(_ what: String) -> CommandFailure { CommandFailure("\(name) is damaged: \(what)") }

    init(folder: String, name: String, key: BackupKey) throws {
        self.name = name
        guard let handle = FileHandle(forReadingAtPath: folder + "/" + name) else {
            throw CommandFailure("\(name) is missing")
        }
        self.handle = handle
        let head = Array(try handle.read(upToCount: SealedFile.magic.count + SealedFile.saltBytes) ?? Data())
        guard head.count == SealedFile.magic.count + SealedFile.saltBytes, head.starts(with: SealedFile.magic) else {
            throw CommandFailure("\(name) is damaged: it does not begin as a file of a backup does")
        }
        self.key = key.fileKey(salt: Array(head.dropFirst(SealedFile.magic.count)))
        hash.update(data: head)
        bytesRead = head.count
    }

    /// The next frame's content; nil behind the last.
    func next() throws -> [UInt8]? {
        guard !isOver else { return nil }
        let word = try bytes(4)
        let number = word.withUnsafeBytes { UInt32(littleEndian: $0.loadUnaligned(as: UInt32.self)) }
        let (count, isLast) = (Int(number & 0x7fff_ffff), number >> 31 == 1)
        guard count <= SealedFile.frameBytesMax else { throw damaged("a frame is longer than any may be") }
        let sealed = try bytes(count)
        let tag = try bytes(SealedFile.tagBytes)
        do {
            let box = try AES.GCM.SealedBox(nonce: try SealedFile.nonce(frame), ciphertext: sealed, tag: tag)
            let content = try AES.GCM.open(
                box, using: key, authenticating: SealedFile.context(name, isLast: isLast))
            frame += 1
            isOver = isLast
            return Array(content)
        } catch { throw damaged("a frame does not open; is this the backup's key?") }
    }

    /// Holds what was read to what the list says; nothing may follow.
    func finish(_ summary: SealedFile.Summary) throws {
        guard isOver, try (handle.read(upToCount: 1) ?? Data()).isEmpty, bytesRead == summary.bytes else {
            throw damaged("its length is not what the list says")
        }
        guard Hex.encode(hash.finalize()) == summary.sha256 else { throw damaged("its hash is not what the list says") }
        try handle.close()
    }

    private func bytes(_ count: Int) throws -> [UInt8] {
        guard count > 0 else { return [] }
        let data = try handle.read(upToCount: count) ?? Data()
        guard data.count == count else { throw damaged("it ends too early") }
        hash.update(data: data)
        bytesRead += count
        return Array(data)
    }
}
