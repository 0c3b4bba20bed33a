#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// The log's folder on a real file system.
package struct PosixLogStorage: LogStorage {
    private let folder: String
    private let isReadOnly: Bool

    /// Creates the folder (mode 0700) where it is missing.
    package init(folder: String) throws(LogStorageError) {
        self.folder = folder
        isReadOnly = false
        var path = folder.hasPrefix("/") ? "" : "."
        for part in folder.split(separator: "/") {
            path += "/\(part)"
            if mkdir(path, 0o700) != 0, errno != EEXIST { throw Self.error("create the folder \(path)") }
        }
        guard access(folder, W_OK | X_OK) == 0 else { throw LogStorageError.readOnly }
    }

    /// An existing folder, of which nothing is written.
    package init(reading folder: String) throws(LogStorageError) {
        self.folder = folder
        isReadOnly = true
        guard access(folder, R_OK | X_OK) == 0 else { throw Self.error("read the folder \(folder)") }
    }

    private static func error(_ operation: String) -> LogStorageError {
        switch errno {
        case ENOSPC, EDQUOT: .noSpace
        case EROFS, EACCES, EPERM: .readOnly
        default: .failed(operation: operation, code: errno)
        }
    }

    package func names() throws(LogStorageError) -> [String] {
        guard let directory = opendir(folder) else { throw Self.error("list \(folder)") }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }

    package func open(_ name: String, create: Bool) throws(LogStorageError) -> Int {
        let flags = (isReadOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC | (create && !isReadOnly ? O_CREAT : 0)
        #if canImport(Glibc)
            let file = Glibc.open("\(folder)/\(name)", flags, 0o600)
        #else
            let file = Darwin.open("\(folder)/\(name)", flags, 0o600)
        #endif
        guard file >= 0 else { throw Self.error("open \(name)") }
        return Int(file)
    }

    package func close(_ file: Int) {
        #if canImport(Glibc)
            _ = Glibc.close(Int32(file))
        #else
            _ = Darwin.close(Int32(file))
        #endif
    }

    package func size(_ file: Int) throws(LogStorageError) -> Int {
        var status = stat()
        guard fstat(Int32(file), &status) == 0 else { throw Self.error("read the size of a file") }
        return Int(status.st_size)
    }

    package func read(
        _ file: Int, into buffer: UnsafeMutableRawBufferPointer, at offset: Int
    ) throws(LogStorageError) -> Int {
        var done = 0
        while done < buffer.count {
            let count = pread(
                Int32(file), buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset + done))
            if count == 0 { break }
            if count < 0 {
                if errno == EINTR { continue }
                throw Self.error("read")
            }
            done += count
        }
        return done
    }

    package func write(_ file: Int, _ pieces: [UnsafeRawBufferPointer], at offset: Int) throws(LogStorageError) {
        var place = offset
        for piece in pieces {
            var done = 0
            while done < piece.count {
                let count = pwrite(Int32(file), piece.baseAddress.map { $0 + done }, piece.count - done, off_t(place))
                if count < 0 {
                    if errno == EINTR { continue }
                    throw Self.error("write")
                }
                done += count
                place += count
            }
        }
    }

    package func sync(_ file: Int) throws(LogStorageError) {
        #if canImport(Glibc)
            guard fdatasync(Int32(file)) == 0 else { throw Self.error("sync") }
        #else
            guard fcntl(Int32(file), F_FULLFSYNC) == 0 else { throw Self.error("sync") }
        #endif
    }

    package func reserve(_ file: Int, from offset: Int, count: Int) throws(LogStorageError) {
        #if canImport(Glibc)
            let code = posix_fallocate(Int32(file), off_t(offset), off_t(count))
            // Some file systems cannot reserve; a write there may then fail, and fails for good.
            guard code != 0, code != EOPNOTSUPP else { return }
            errno = code
            throw Self.error("reserve space")
        #endif
    }

    package func truncate(_ file: Int, to size: Int) throws(LogStorageError) {
        guard ftruncate(Int32(file), off_t(size)) == 0 else { throw Self.error("cut a file") }
    }

    package func remove(_ name: String) throws(LogStorageError) {
        guard unlink("\(folder)/\(name)") == 0 else { throw Self.error("remove \(name)") }
    }

    package func rename(_ name: String, to other: String) throws(LogStorageError) {
        #if canImport(Glibc)
            let code = Glibc.rename("\(folder)/\(name)", "\(folder)/\(other)")
        #else
            let code = Darwin.rename("\(folder)/\(name)", "\(folder)/\(other)")
        #endif
        guard code == 0 else { throw Self.error("rename \(name)") }
    }

    package func syncFolder() throws(LogStorageError) {
        let directory = Self.openFolder(folder)
        guard directory >= 0 else { throw Self.error("open the folder") }
        defer { close(Int(directory)) }
        guard fsync(directory) == 0 else { throw Self.error("sync the folder") }
    }

    private static func openFolder(_ path: String) -> Int32 {
        #if canImport(Glibc)
            Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        #else
            Darwin.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        #endif
    }

    package func freeBytes() throws(LogStorageError) -> Int {
        let status = try volume()
        return Int(clamping: UInt64(status.f_bavail) * UInt64(status.f_frsize))
    }

    package func totalBytes() throws(LogStorageError) -> Int {
        let status = try volume()
        // As `df` counts: without what is reserved for others, of which nothing is ever free.
        let blocks = UInt64(status.f_blocks) - min(UInt64(status.f_bfree), UInt64(status.f_blocks))
        return Int(clamping: (blocks + UInt64(status.f_bavail)) * UInt64(status.f_frsize))
    }

    private func volume() throws(LogStorageError) -> statvfs {
        var status = statvfs()
        guard statvfs(folder, &status) == 0 else { throw Self.error("read the free space") }
        return status
    }
}
