package import Foundation

/// Reads what a child process prints on a thread of its own. `FileHandle.readabilityHandler` is no way to do it: on
/// Linux, handlers that come and go on several threads end the process (swift-corelibs-libdispatch issue 949).
package enum PipeReader {
    /// Hands each piece to `body`, and an empty one when every writer has closed the pipe.
    package static func start(_ pipe: Pipe, _ body: @escaping @Sendable (Data) -> Void) {
        let handle = pipe.fileHandleForReading
        Thread.detachNewThread {
            var bytes = [UInt8](repeating: 0, count: 65_536)
            while true {
                let count = read(handle.fileDescriptor, &bytes, bytes.count)
                if count < 0, errno == EINTR { continue }
                body(Data(bytes[..<max(0, count)]))
                guard count > 0 else { return }
            }
        }
    }
}
