internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// TCP to a server of this machine, below every library.
enum LoopbackSocket {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// Connects to `http://127.0.0.1:port` and answers the port.
    static func connect(_ descriptor: Int32, to url: String) throws -> Int {
        guard let parts = URLComponents(string: url), let port = parts.port else {
            throw Failure(description: "no port in \(url)")
        }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port).bigEndian)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        let status = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else { throw Failure(description: "cannot connect to \(url)") }
        return port
    }
}
