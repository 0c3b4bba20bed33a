internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// One TCP connection over which any bytes go: what clients send that do not keep to HTTP.
package final class RawConnection: Sendable {
    private let descriptor: Int32

    /// - Parameter receiveBytes: that the system takes for a client that does not read; its own choice without one.
    package init(_ url: String, receiveBytes: Int32? = nil) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        if var bytes = receiveBytes {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(MemoryLayout<Int32>.size))
        }
        _ = try LoopbackSocket.connect(descriptor, to: url)
    }

    deinit { close(descriptor) }

    package func send(_ text: String) {
        _ = Glibc.send(descriptor, text, text.utf8.count, Int32(MSG_NOSIGNAL))
    }

    /// No more will be sent.
    package func finish() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// The connection ends without a word when this is let go.
    package func breakOff() {
        var linger = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout<Glibc.linger>.size))
    }

    /// The next bytes of the server; none when it has closed, or when 10 s pass without one.
    package func next() -> String {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        var wish = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&wish, 1, 10_000) == 1 else { return "" }
        let count = recv(descriptor, &bytes, bytes.count, 0)
        return String(decoding: bytes[..<max(0, count)], as: UTF8.self)
    }

    /// What the server sends until it closes, or until 10 s pass without a byte.
    package func rest() -> String {
        var all = ""
        while case let part = next(), !part.isEmpty { all += part }
        return all
    }
}
