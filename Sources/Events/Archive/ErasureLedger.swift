package import AurumCore

/// What is known of the erasures of persons: those that files still have to be rewritten for, and a record of each
/// that names nobody.
struct ErasureLedger: Sendable, Equatable {
    static let name = "erasures"
    private static let version: Int64 = 1
    /// Longest that backups are kept, and some days: microseconds.
    private static let backupsKept: Int64 = 35 * 86_400_000_000

    struct Entry: Sendable, Equatable {
        var sequence: Int64
        var org: String
        /// Keyed hashes of the person's identifiers: kept after everything is done for as long as a backup that holds
        /// the person may be put back; empty afterwards.
        var keys: [UInt64]
        /// The end of the log when it was asked for.
        var end: LogPosition
        var at: Int64
        /// The key that asked.
        var actor: String
        /// Keyed hash of the person.
        var person: UInt64
        /// When the last file was rewritten; nil before.
        var doneAt: Int64?
        var rows: Int = 0
        var signature = ""

        /// What is signed.
        var statement: String {
            "erasure \(sequence) org \(org) person \(KeyText.hex(person)) asked \(at) by \(actor) "
                + "done \(doneAt.map { "\($0)" } ?? "not yet") rows \(rows)"
        }
    }

    private(set) var entries: [Entry] = []
    private(set) var sequence: Int64 = 0

    init() {}

    /// Those that not every file was rewritten for.
    var pending: [PendingErasure] {
        entries.filter { $0.doneAt == nil }.map {
            PendingErasure(sequence: $0.sequence, org: $0.org, keys: Set($0.keys), end: $0.end)
        }
    }

    mutating func add(_ entry: Entry, _ secret: InstallationSecret) -> Entry {
        sequence += 1
        for index in entries.indices where (entries[index].doneAt ?? .max) < entry.at - Self.backupsKept {
            entries[index].keys = []
        }
        var entry = entry
        entry.sequence = sequence
        entry.signature = secret.signature(entry.statement)
        entries.append(entry)
        return entry
    }

    /// Counts rows that were taken out of files for the erasures up to one.
    mutating func finish(_ sequence: Int64, rows: Int, at moment: Int64, _ secret: InstallationSecret) {
        guard let index = entries.firstIndex(where: { $0.sequence == sequence }) else { return }
        entries[index].doneAt = moment
        entries[index].rows = rows
        entries[index].signature = secret.signature(entries[index].statement)
    }

    // MARK: the file

    var encoded: [UInt8] { SealedText.encoded(document) }

    private var document: JSONValue {
        [
            "version": .integer(Self.version), "sequence": .integer(sequence),
            "entries": .array(
                entries.map { entry in
                    var members: [String: JSONValue] = [
                        "sequence": .integer(entry.sequence), "org": .string(entry.org),
                        "keys": .array(entry.keys.map { .string(KeyText.hex($0)) }),
                        "end": .string(entry.end.description), "at": .integer(entry.at),
                        "actor": .string(entry.actor), "person": .string(KeyText.hex(entry.person)),
                        "rows": .integer(Int64(entry.rows)), "signature": .string(entry.signature),
                    ]
                    if let doneAt = entry.doneAt { members["done_at"] = .integer(doneAt) }
                    return .object(members)
                }),
        ]
    }

    func write(_ storage: any LogStorage) throws(LogStorageError) {
        try SealedText.replace(Self.name, with: encoded, storage)
    }

    /// The ledger of a folder; an empty one where there is none.
    static func read(_ storage: any LogStorage) throws(EventLogError) -> ErasureLedger {
        let bytes: [UInt8]
        do throws(LogStorageError) {
            guard try storage.names().contains(name) else { return ErasureLedger() }
            let file = try LogFile(storage, name)
            bytes = try file.read(at: 0, count: try file.size())
        } catch {
            throw .cannotOpen(error.sentence)
        }
        guard let document = SealedText.decoded(bytes), let ledger = ErasureLedger(document) else {
            throw .cannotOpen("The event log's list of erasures is damaged; restore it from a backup.")
        }
        return ledger
    }

    private init?(_ document: JSONValue) {
        guard document["version"]?.integer == Self.version, let sequence = document["sequence"]?.integer else {
            return nil
        }
        self.sequence = sequence
        for value in document["entries"]?.array ?? [] {
            guard let sequence = value["sequence"]?.integer, let org = value["org"]?.string,
                let end = value["end"]?.string.flatMap({ LogPosition($0) }), let at = value["at"]?.integer,
                let actor = value["actor"]?.string, let person = Self.key(value["person"])
            else { return nil }
            var entry = Entry(
                sequence: sequence, org: org, keys: (value["keys"]?.array ?? []).compactMap(Self.key), end: end,
                at: at, actor: actor, person: person)
            entry.doneAt = value["done_at"]?.integer
            entry.rows = Int(value["rows"]?.integer ?? 0)
            entry.signature = value["signature"]?.string ?? ""
            entries.append(entry)
        }
    }

    private static func key(_ value: JSONValue?) -> UInt64? { value?.string.flatMap { UInt64($0, radix: 16) } }
}

/// What the record of an erasure says.
package struct ErasureRecord: Sendable, Equatable {
    package var sequence: Int64
    /// Keyed hash of the person, 16 hex digits.
    package var person: String
    package var at: Timestamp
    package var actor: String
    /// When the last file was rewritten; nil while rows are only hidden.
    package var doneAt: Timestamp?
    /// Rows that were taken out of files, once it is done.
    package var rows: Int
    package var signature: String

    init(_ entry: ErasureLedger.Entry) {
        (sequence, actor, rows, signature) = (entry.sequence, entry.actor, entry.rows, entry.signature)
        person = KeyText.hex(entry.person)
        at = Timestamp(microseconds: entry.at)
        doneAt = entry.doneAt.map { Timestamp(microseconds: $0) }
    }

    /// In answers.
    package var json: JSONValue {
        [
            "erasure": .integer(sequence), "person": .string(person), "at": .string(at.rfc3339),
            "actor": .string(actor), "state": .string(doneAt == nil ? "hidden" : "removed"),
            "removed_at": doneAt.map { .string($0.rfc3339) } ?? .null, "rows": .integer(Int64(rows)),
            "signature": .string(signature),
        ]
    }
}
