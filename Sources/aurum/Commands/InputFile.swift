internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// The file that a command is given by name, `-` for standard input. What cannot be opened or read ends the command
/// with the file's name and the system's reason.
enum InputFile {
    static func handle(_ name: String) throws(CommandFailure) -> FileHandle {
        if name == "-" { return .standardInput }
        let descriptor = open(name, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw CommandFailure("\(name) cannot be read: \(String(cString: strerror(errno)))")
        }
        let handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        var facts = stat()
        if fstat(descriptor, &facts) == 0, facts.st_mode & S_IFMT == S_IFDIR {
            throw CommandFailure("\(name) is a folder; name a file")
        }
        return handle
    }

    /// The whole content, at most `bytesMax` bytes of it.
    static func content(_ name: String, bytesMax: Int = .max) throws(CommandFailure) -> Data {
        let handle = try handle(name)
        do {
            return try (bytesMax == .max ? handle.readToEnd() : handle.read(upToCount: bytesMax)) ?? Data()
        } catch {
            throw CommandFailure("\(name) cannot be read: \(error.localizedDescription)")
        }
    }
}
