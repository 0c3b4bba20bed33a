internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// TCP ports of this machine that nothing listens on, for servers that are started beside this process. Another process
/// may take one before it is used: whoever starts a server tries again.
package enum FreePort {
    package struct NoPort: Error, Equatable {}

    /// - Throws: `NoPort` when the kernel gives none.
    package static func next() throws(NoPort) -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw NoPort() }
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let status = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 ? getsockname(descriptor, $0, &length) : -1
            }
        }
        guard status == 0 else { throw NoPort() }
        return Int(UInt16(bigEndian: address.sin_port))
    }
}
