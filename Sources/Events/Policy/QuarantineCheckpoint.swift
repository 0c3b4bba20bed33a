internal import AurumCore

/// How many bytes of quarantine stood in sealed segments when they were last counted: a start counts only what came
/// after. Not kept beyond a replay or a deletion; where it is missing, old or of another log, everything is counted.
struct QuarantineCheckpoint: Sendable, Equatable {
    static let fileName = "quarantine"
    /// What has left since by its age is not known.
    static let ageMax = Duration.seconds(86_400)

    /// Of the log.
    var identity: Int64
    /// The last segment that is counted in it.
    var through: UInt32
    var bytes: Int
    var at: Timestamp

    static func read(_ storage: any LogStorage) -> QuarantineCheckpoint? {
        guard let names = try? storage.names(), names.contains(fileName), let file = try? LogFile(storage, fileName),
            let size = try? file.size(), let content = try? file.read(at: 0, count: size),
            let document = SealedText.decoded(content), let identity = document["identity"]?.integer,
            let through = document["through"]?.integer.flatMap({ UInt32(exactly: $0) }),
            let bytes = document["bytes"]?.integer, let at = document["at"]?.integer
        else { return nil }
        return QuarantineCheckpoint(
            identity: identity, through: through, bytes: Int(bytes), at: Timestamp(microseconds: at))
    }

    func write(_ storage: any LogStorage) throws(LogStorageError) {
        let document: JSONValue = [
            "identity": .integer(identity), "through": .integer(Int64(through)), "bytes": .integer(Int64(bytes)),
            "at": .integer(at.microseconds),
        ]
        try SealedText.replace(Self.fileName, with: SealedText.encoded(document), storage)
    }

    static func remove(_ storage: any LogStorage) throws(LogStorageError) {
        guard try storage.names().contains(fileName) else { return }
        try storage.remove(fileName)
        try storage.syncFolder()
    }
}
