package import NIOCore

/// What may stand behind a command's name; written as its bytes, never interpreted by the server's protocol.
package protocol RedisArgument: Sendable {
    /// Bytes that `writeRedisBytes` writes.
    var redisByteCount: Int { get }
    /// - Parameter place: has room for `redisByteCount` bytes, all of which are written.
    func writeRedisBytes(to place: UnsafeMutableRawPointer)
}

extension UnsafeMutableRawPointer {
    fileprivate func copy(_ bytes: some Collection<UInt8>) {
        let isDone: Void? = bytes.withContiguousStorageIfAvailable { bytes in
            if let start = bytes.baseAddress { copyMemory(from: start, byteCount: bytes.count) }
        }
        guard isDone == nil else { return }
        for (offset, byte) in bytes.enumerated() { storeBytes(of: byte, toByteOffset: offset, as: UInt8.self) }
    }
}

extension String: RedisArgument {
    package var redisByteCount: Int { utf8.count }
    package func writeRedisBytes(to place: UnsafeMutableRawPointer) { place.copy(utf8) }
}

extension Substring: RedisArgument {
    package var redisByteCount: Int { utf8.count }
    package func writeRedisBytes(to place: UnsafeMutableRawPointer) { place.copy(utf8) }
}

extension Array: RedisArgument where Element == UInt8 {
    package var redisByteCount: Int { count }
    package func writeRedisBytes(to place: UnsafeMutableRawPointer) { place.copy(self) }
}

extension ArraySlice: RedisArgument where Element == UInt8 {
    package var redisByteCount: Int { count }
    package func writeRedisBytes(to place: UnsafeMutableRawPointer) { place.copy(self) }
}

extension ByteBuffer: RedisArgument {
    package var redisByteCount: Int { readableBytes }
    package func writeRedisBytes(to place: UnsafeMutableRawPointer) { place.copy(readableBytesView) }
}

extension Int: RedisArgument {
    package var redisByteCount: Int { RedisCommand.digits(self) }
    package func writeRedisBytes(to place: UnsafeMutableRawPointer) { place.copy(String(self).utf8) }
}

extension Int64: RedisArgument {
    package var redisByteCount: Int { RedisCommand.digits(Int(self)) }
    package func writeRedisBytes(to place: UnsafeMutableRawPointer) { place.copy(String(self).utf8) }
}

extension UInt64: RedisArgument {
    package var redisByteCount: Int { String(self).utf8.count }
    package func writeRedisBytes(to place: UnsafeMutableRawPointer) { place.copy(String(self).utf8) }
}

/// The shortest text that gives the same number back; infinities as `inf` and `-inf`.
extension Double: RedisArgument {
    package var redisByteCount: Int { description.utf8.count }
    package func writeRedisBytes(to place: UnsafeMutableRawPointer) { place.copy(description.utf8) }
}
