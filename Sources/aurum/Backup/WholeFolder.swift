internal import Foundation

/// A folder that has its name only once everything in it is on the disk. Until then it ends in `.unfinished`.
enum WholeFolder {
    /// - Throws: a sentence when the place is taken.
    static func check(_ target: String, for what: String) throws {
        if let found = try? FileManager.default.contentsOfDirectory(atPath: target) {
            guard found.isEmpty else {
                throw CommandFailure("\(target) is not empty; \(what) needs a folder of its own")
            }
        } else if FileManager.default.fileExists(atPath: target) {
            throw CommandFailure("\(target) is no folder, or one that cannot be read; \(what) needs one of its own")
        }
    }

    /// Makes the folder `target`, which must not exist or be empty.
    /// - Parameters:
    ///   - what: what is written, for refusals: `a backup`.
    ///   - parts: folders that `write` makes in it, each with a slash before it.
    ///   - write: fills the folder that it is given; every file must be durable when it returns.
    /// - Throws: a sentence when the place is taken, and what `write` throws; nothing is left then.
    static func make<Value>(
        _ target: String, for what: String, parts: [String], _ write: (String) async throws -> Value
    ) async throws -> Value {
        let files = FileManager.default
        try check(target, for: what)
        if files.fileExists(atPath: target) { try files.removeItem(atPath: target) }
        let unfinished = target + ".unfinished"
        try? files.removeItem(atPath: unfinished)
        do {
            try files.createDirectory(
                atPath: unfinished, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch { throw CommandFailure("the folder \(unfinished) cannot be made: \(error.localizedDescription)") }
        do {
            let value = try await write(unfinished)
            // The name says that everything is there: so everything is durable before it, and the name after it.
            for part in parts + [""] { try DurableFile.syncFolder(unfinished + part) }
            try files.moveItem(atPath: unfinished, toPath: target)
            try DurableFile.syncFolder((target as NSString).deletingLastPathComponent)
            return value
        } catch {
            try? files.removeItem(atPath: unfinished)
            throw error
        }
    }
}
