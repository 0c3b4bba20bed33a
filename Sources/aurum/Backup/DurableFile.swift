internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Files and folders that are on the disk once a call has returned, with their names.
enum DurableFile {
    enum Outcome: Equatable { case made, exists }

    /// Makes a file with mode 0600 and its contents, durable with its name.
    /// - Returns: `exists`, and nothing is changed, where there is a file already.
    static func make(_ path: String, _ contents: Data) throws(CommandFailure) -> Outcome {
        let descriptor = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            if errno == EEXIST { return .exists }
            throw CommandFailure("the file \(path) cannot be written: \(String(cString: strerror(errno)))")
        }
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        do {
            try handle.write(contentsOf: contents)
            try handle.synchronize()
            try handle.close()
        } catch {
            // What is half there would be taken for the whole.
            unlink(path)
            throw CommandFailure("the file \(path) cannot be written: \(error.localizedDescription)")
        }
        try syncFolder((path as NSString).deletingLastPathComponent)
        return .made
    }

    /// Makes the names in a folder durable.
    static func syncFolder(_ path: String) throws(CommandFailure) {
        let descriptor = open(path.isEmpty ? "." : path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw CommandFailure("the folder \(path) cannot be opened: \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else {
            throw CommandFailure("the folder \(path) cannot be made durable: \(String(cString: strerror(errno)))")
        }
    }
}
