internal import AurumCore
internal import Crypto
internal import Foundation

/// What a backup holds, or an export of the tables alone. Signed as it stands in its file.
struct BackupManifest: Codable, Equatable, Sendable {
    static let fileName = "manifest.json"
    static let signatureName = "manifest.sig"
    static let formatVersion = 1

    struct Table: Codable, Equatable, Sendable {
        var name: String
        var columns: [String]
        var rows: Int
        var file: SealedFile.Summary
        /// SHA-256 over the lines of the rows in the order of the key, hex: the same whatever engine they are on. Older
        /// backups have none.
        var rowsSHA256: String?
    }

    struct Log: Codable, Equatable, Sendable {
        var segments: Int
        var archives: Int
        /// Where it ends: segment and byte.
        var end: String
        var files: [SealedFile.Summary]
    }

    var format = Self.formatVersion
    /// Of the program that made it.
    var release: String
    var createdAt: String
    /// `sqlite` or `postgres`: where the tables were; they can be put back into either.
    var engine: String
    /// Version of the schema.
    var schema: Int
    var tables: [Table]
    /// Nil for an export of the tables: their site keeps its data folder.
    var log: Log?
    /// The installation's keys; nil as the log is.
    var keys: SealedFile.Summary?

    var files: [SealedFile.Summary] { tables.map(\.file) + (log?.files ?? []) + (keys.map { [$0] } ?? []) }
    var rows: Int { tables.reduce(0) { $0 + $1.rows } }
    var bytes: Int { files.reduce(0) { $0 + $1.bytes } }

    func write(to folder: String, key: BackupKey) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
        let data = try encoder.encode(self) + Data("\n".utf8)
        let signature = Hex.encode(try key.signer().signature(for: data))
        try Self.put(data, folder + "/" + Self.fileName)
        try Self.put(Data((signature + "\n").utf8), folder + "/" + Self.signatureName)
    }

    private static func put(_ data: Data, _ path: String) throws {
        guard FileManager.default.createFile(atPath: path, contents: nil, attributes: [.posixPermissions: 0o600]),
            let handle = FileHandle(forWritingAtPath: path)
        else { throw CommandFailure("the file \(path) cannot be written") }
        try handle.write(contentsOf: data)
        try handle.synchronize()
        try handle.close()
    }

    /// The list of a backup, once its signature holds.
    static func read(_ folder: String, key: BackupKey) throws -> BackupManifest {
        guard let data = FileManager.default.contents(atPath: folder + "/" + fileName) else {
            throw CommandFailure("\(folder) holds no \(fileName): it is no backup, or one that was not finished")
        }
        let text = try? String(contentsOfFile: folder + "/" + signatureName, encoding: .utf8)
        // Exactly as it was written: another case of its digits is a changed file too.
        guard let text, let signature = Hex.decode(String(text.dropLast())), text == Hex.encode(signature) + "\n" else {
            throw CommandFailure("\(signatureName) is missing or damaged")
        }
        guard try key.signer().publicKey.isValidSignature(signature, for: data) else {
            throw CommandFailure(
                "the signature of \(fileName) does not fit: it or \(signatureName) was changed, or this is another "
                    + "key")
        }
        let manifest: BackupManifest
        do { manifest = try JSONDecoder().decode(BackupManifest.self, from: data) } catch {
            throw CommandFailure("\(fileName) cannot be read: \(error)")
        }
        guard manifest.format == formatVersion else {
            throw CommandFailure("the backup has format \(manifest.format), which this release does not know")
        }
        return manifest
    }
}
