internal import Foundation

/// The file that a command is given by name, `-` for standard input. What cannot be opened or read ends the command
/// with the file's name and the system's reason.
enum InputFile {
    static func handle(_ name: String) throws(CommandFailure) -> FileHandle {
        if name == "-" { return .standardInput }
        return try explained(name) {
            let url = URL(fileURLWithPath: name)
            if try url.resourceValues(forKeys: [.isDirectoryKey]).isDirectory == true {
                throw CommandFailure("\(name) is a folder; name a file")
            }
            return try FileHandle(forReadingFrom: url)
        }
    }

    /// The whole content, at most `bytesMax` bytes of it.
    static func content(_ name: String, bytesMax: Int = .max) throws(CommandFailure) -> Data {
        let handle = try handle(name)
        return try explained(name) {
            try (bytesMax == .max ? handle.readToEnd() : handle.read(upToCount: bytesMax)) ?? Data()
        }
    }

    private static func explained<Result>(_ name: String, _ work: () throws -> Result) throws(CommandFailure) -> Result
    {
        do { return try work() } catch let failure as CommandFailure { throw failure } catch {
            let cause = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError ?? error as NSError
            let reason =
                cause.domain == NSPOSIXErrorDomain
                ? String(cString: strerror(Int32(cause.code))) : cause.localizedDescription
            throw CommandFailure("\(name) cannot be read: \(reason)")
        }
    }
}
