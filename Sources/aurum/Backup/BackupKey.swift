internal import AurumCore
internal import Crypto
internal import Foundation

/// The one secret of all backups of a site: 32 random bytes, kept as hex in a file of the data folder and, by the
/// operator, somewhere else. Files are sealed, and the list of them is signed, with keys derived from it.
struct BackupKey: Sendable {
    static let byteCount = 32
    private let secret: SymmetricKey

    private init(_ bytes: [UInt8]) { secret = SymmetricKey(data: bytes) }

    /// Reads the key.
    /// - Throws: a sentence when there is none at `path`, or what is there is no key.
    static func read(_ path: String) throws(CommandFailure) -> BackupKey {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw CommandFailure("there is no backup key at \(path); name its file with --key-file")
        }
        guard let bytes = Hex.decode(text.trimmingCharacters(in: .whitespacesAndNewlines)),
            bytes.count == Self.byteCount
        else { throw CommandFailure("the file \(path) holds no backup key: 64 hex digits") }
        return BackupKey(bytes)
    }

    /// Reads the key, or makes one where there is none.
    static func readOrMake(_ path: String) throws(CommandFailure) -> (key: BackupKey, isNew: Bool) {
        if FileManager.default.fileExists(atPath: path) { return (try read(path), false) }
        var random = SystemRandomNumberGenerator()
        let bytes = (0..<byteCount).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        let key = BackupKey(bytes)
        // Somebody else may have made one a moment ago.
        guard try DurableFile.make(path, key.fileContents) == .made else { return (try read(path), false) }
        return (key, true)
    }

    /// What its file holds.
    var fileContents: Data { Data((secret.withUnsafeBytes { Hex.encode(Array($0)) } + "\n").utf8) }

    /// The key of one file: no two files share one, so that counting nonces never repeat.
    func fileKey(salt: [UInt8]) -> SymmetricKey {
        HKDF<SHA256>.deriveKey(
            inputKeyMaterial: secret, salt: salt, info: Data("aurum backup file".utf8), outputByteCount: 32)
    }

    /// Signs lists of files. Ed25519.
    func signer() throws -> Curve25519.Signing.PrivateKey {
        let seed = HKDF<SHA256>.deriveKey(
            inputKeyMaterial: secret, info: Data("aurum backup signature".utf8), outputByteCount: 32)
        return try Curve25519.Signing.PrivateKey(rawRepresentation: seed.withUnsafeBytes { Data($0) })
    }
}
