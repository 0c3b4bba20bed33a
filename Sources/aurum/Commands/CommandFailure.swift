internal import ArgumentParser
internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// Ends a command with a sentence on standard error and a status.
struct CommandFailure: Error, CustomStringConvertible {
    let description: String

    init(_ sentence: String) { description = sentence }
}

enum Output {
    /// Ends the process when nobody reads any more, as `| head` does, or when the output cannot be written.
    static func line(_ text: String) {
        do { try FileHandle.standardOutput.write(contentsOf: Data((text + "\n").utf8)) } catch {
            let isClosed = errno == EPIPE
            if !isClosed { Self.error("The output cannot be written.") }
            exit(isClosed ? 0 : 1)
        }
    }

    static func error(_ text: String) {
        try? FileHandle.standardError.write(contentsOf: Data(("aurum: " + text + "\n").utf8))
    }

    /// Pretty JSON with sorted keys.
    static func json(_ value: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        line(String(decoding: try encoder.encode(value), as: UTF8.self))
    }
}
