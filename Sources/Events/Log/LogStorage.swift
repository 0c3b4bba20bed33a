/// What went wrong below the log. `errno` values keep their number for the operator.
package enum LogStorageError: Error, Equatable, Sendable {
    case noSpace
    case readOnly
    case failed(operation: String, code: Int32)

    /// One sentence for the operator.
    package var sentence: String {
        switch self {
        case .noSpace: "The volume of the event log is full."
        case .readOnly: "The folder of the event log cannot be written."
        case .failed(let operation, let code): "The event log could not \(operation) (error \(code))."
        }
    }
}

/// The folder in which the log keeps its files: the only way to the disk for everything in this target.
///
/// `PosixLogStorage` is the real one. The test twin forgets whatever was not synced, and fails when told to.
/// Calls are synchronous and may block; only the writer thread and readers off the request path make them.
package protocol LogStorage: Sendable {
    /// Names of the files in the folder, in any order.
    func names() throws(LogStorageError) -> [String]
    /// Opens a file, for reading and writing or for reading only; creates it when asked. Creation is durable only
    /// after `syncFolder`.
    func open(_ name: String, create: Bool) throws(LogStorageError) -> Int
    func close(_ file: Int)
    func size(_ file: Int) throws(LogStorageError) -> Int
    /// Reads at most `buffer.count` bytes at `offset`; answers how many there were.
    func read(_ file: Int, into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(LogStorageError) -> Int
    /// Writes all of the pieces one behind the other.
    func write(_ file: Int, _ pieces: [UnsafeRawBufferPointer], at offset: Int) throws(LogStorageError)
    /// Makes everything written to the file durable.
    func sync(_ file: Int) throws(LogStorageError)
    /// Reserves `count` bytes from `offset` on, so that a later write there finds space. The bytes read as zero.
    func reserve(_ file: Int, from offset: Int, count: Int) throws(LogStorageError)
    func truncate(_ file: Int, to size: Int) throws(LogStorageError)
    /// Takes a file out of the folder; who has it open goes on reading it. Durable only after `syncFolder`.
    func remove(_ name: String) throws(LogStorageError)
    /// Gives a file another name in one step, in the place of what had it. Durable only after `syncFolder`.
    func rename(_ name: String, to other: String) throws(LogStorageError)
    /// Makes the creation and removal of files durable.
    func syncFolder() throws(LogStorageError)
    /// Bytes that the volume has left.
    func freeBytes() throws(LogStorageError) -> Int
    /// Bytes that the volume has.
    func totalBytes() throws(LogStorageError) -> Int
}

/// One file of the log. Closes itself with the last reference, so that a reader never loses it.
package final class LogFile: Sendable {
    package let name: String
    private let storage: any LogStorage
    private let file: Int

    package init(_ storage: any LogStorage, _ name: String, create: Bool = false) throws(LogStorageError) {
        self.name = name
        self.storage = storage
        file = try storage.open(name, create: create)
    }

    deinit { storage.close(file) }

    package func size() throws(LogStorageError) -> Int { try storage.size(file) }

    package func sync() throws(LogStorageError) { try storage.sync(file) }

    package func truncate(to size: Int) throws(LogStorageError) { try storage.truncate(file, to: size) }

    package func reserve(from offset: Int, count: Int) throws(LogStorageError) {
        try storage.reserve(file, from: offset, count: count)
    }

    package func write(_ pieces: [UnsafeRawBufferPointer], at offset: Int) throws(LogStorageError) {
        try storage.write(file, pieces, at: offset)
    }

    package func write(_ bytes: [UInt8], at offset: Int) throws(LogStorageError) {
        let failure: LogStorageError? = bytes.withUnsafeBytes { buffer in
            do throws(LogStorageError) {
                try storage.write(file, [buffer], at: offset)
                return nil
            } catch {
                return error
            }
        }
        if let failure { throw failure }
    }

    /// Fills `buffer` from `offset` on; answers how many bytes there were.
    package func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(LogStorageError) -> Int {
        try storage.read(file, into: buffer, at: offset)
    }

    /// The bytes at `offset`, fewer than `count` at the end of the file.
    package func read(at offset: Int, count: Int) throws(LogStorageError) -> [UInt8] {
        var failure: LogStorageError?
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            do throws(LogStorageError) {
                filled = try storage.read(file, into: UnsafeMutableRawBufferPointer(buffer), at: offset)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        return bytes
    }
}
