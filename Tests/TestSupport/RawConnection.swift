internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// One TCP connection over which any bytes go: what clients send that do not keep to HTTP.
package final class RawConnection: Sendable {
    private let descriptor: Int32

    package init(_ url: String) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        _ = try Self.connect(descriptor, to: url)
    }

    deinit { close(descriptor) }

    /// Connects to `http://127.0.0.1:port` and answers the port.
    static func connect(_ descriptor: Int32, to url: String) throws -> Int {
        guard let parts = URLComponents(string: url), let port = parts.port else {
            throw StubbornSocket.Failure(description: "no port in \(url)")
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
        guard status == 0 else { throw StubbornSocket.Failure(description: "cannot connect to \(url)") }
        return port
    }

    package func send(_ text: String) {
        _ = Glibc.send(descriptor, text, text.utf8.count, Int32(MSG_NOSIGNAL))
    }

    /// No more will be sent.
    package func finish() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// What the server sends until it closes, or until 10 s pass without a byte.
    package func rest() -> String {
        var all: [UInt8] = []
        var bytes = [UInt8](repeating: 0, count: 65_536)
        while true {
            var wish = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&wish, 1, 10_000) == 1 else { return String(decoding: all, as: UTF8.self) }
            let count = recv(descriptor, &bytes, bytes.count, 0)
            guard count > 0 else { return String(decoding: all, as: UTF8.self) }
            all += bytes[..<count]
        }
    }
}
