internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// A WebSocket client that reads only when it is told to: the kind that fills a careless server's memory.
package final class StubbornSocket: Sendable {
    private let descriptor: Int32

    /// Connects to `http://127.0.0.1:port` and asks for an upgrade; reads the answer's head and nothing more.
    package init(_ url: String, path: String, key: String) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var small: Int32 = 4096
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &small, socklen_t(MemoryLayout<Int32>.size))
        let port = try LoopbackSocket.connect(descriptor, to: url)
        let request =
            "GET \(path) HTTP/1.1\r\nHost: 127.0.0.1:\(port)\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            + "Authorization: Bearer \(key)\r\n\r\n"
        guard send(descriptor, request, request.utf8.count, 0) == request.utf8.count else {
            throw LoopbackSocket.Failure(description: "cannot send")
        }
        var head: [UInt8] = []
        while !head.suffix(4).elementsEqual("\r\n\r\n".utf8) { head += try read(1) }
        guard String(decoding: head, as: UTF8.self).contains(" 101 ") else {
            throw LoopbackSocket.Failure(description: String(decoding: head, as: UTF8.self))
        }
    }

    deinit { close(descriptor) }

    private func read(_ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var filled = 0
        while filled < count {
            let got = bytes.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress! + filled, count - filled, 0) }
            guard got > 0 else { throw LoopbackSocket.Failure(description: "the server is gone") }
            filled += got
        }
        return bytes
    }

    /// The text of the next text frame; other frames are passed over. nil after a close frame. Blocks.
    package func next() throws -> String? {
        while true {
            let head = try read(2)
            var length = Int(head[1] & 0x7f)
            if length == 126 {
                length = try read(2).reduce(0) { $0 << 8 | Int($1) }
            } else if length == 127 {
                length = try read(8).reduce(0) { $0 << 8 | Int($1) }
            }
            let body = try read(length)
            switch head[0] & 0x0f {
            case 1: return String(decoding: body, as: UTF8.self)
            case 8: return nil
            default: continue
            }
        }
    }
}
