internal import Glibc
internal import NIOCore

/// A second descriptor of a connection's socket, by which whoever has a batch sends it from its own thread: waking the
/// event loop for it takes longer than the system call. It is closed with the last reference.
///
/// `@unchecked Sendable`: used under its connection's lock only.
final class RedisSocket: @unchecked Sendable {
    private let descriptor: CInt
    /// Writes of the event loop that are not through: bytes sent now would come before theirs.
    var owed = 0

    init?(copying socket: CInt) {
        descriptor = fcntl(socket, F_DUPFD_CLOEXEC, 0)
        if descriptor < 0 { return nil }
    }

    deinit { _ = close(descriptor) }

    /// Sends what the socket takes at once and moves past it; answers how many bytes that were. What is wrong with the
    /// socket is found by the event loop, which sends the rest.
    func send(_ bytes: inout ByteBuffer) -> Int {
        let sent = bytes.withUnsafeReadableBytes {
            Glibc.send(descriptor, $0.baseAddress, $0.count, CInt(MSG_DONTWAIT | Int(MSG_NOSIGNAL)))
        }
        if sent > 0 { bytes.moveReaderIndex(forwardBy: sent) }
        return max(0, sent)
    }
}
