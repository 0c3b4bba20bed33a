internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// A file that one process at a time holds, with its number in it. The kernel frees it when the process ends, also
/// when that was killed. The file stays: to remove it would give it to two.
final class ProcessLock: Sendable {
    enum Failure: Error {
        case held(pid: String)
        case notMade
    }

    private let descriptor: Int32

    init(_ path: String) throws(Failure) {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .notMade }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let pid = (try? String(contentsOfFile: path, encoding: .utf8)) ?? ""
            close(descriptor)
            throw .held(pid: pid.isEmpty ? "unknown" : pid)
        }
        self.descriptor = descriptor
        ftruncate(descriptor, 0)
        let pid = String(getpid())
        guard write(descriptor, pid, pid.utf8.count) == pid.utf8.count else { throw .notMade }
    }

    deinit { close(descriptor) }
}
