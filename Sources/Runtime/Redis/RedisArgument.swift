package import NIOCore

/// What may stand behind a command's name; written as its bytes, never interpreted by the server's protocol.
package protocol RedisArgument: Sendable {
    /// Bytes that `writeRedisBytes` writes.
    var redisByteCount: Int { get }
    func writeRedisBytes(to buffer: inout ByteBuffer)
}

extension String: RedisArgument {
    package var redisByteCount: Int { utf8.count }
    package func writeRedisBytes(to buffer: inout ByteBuffer) { buffer.writeString(self) }
}

extension Substring: RedisArgument {
    package var redisByteCount: Int { utf8.count }
    package func writeRedisBytes(to buffer: inout ByteBuffer) { buffer.writeSubstring(self) }
}

extension Array: RedisArgument where Element == UInt8 {
    package var redisByteCount: Int { count }
    package func writeRedisBytes(to buffer: inout ByteBuffer) { buffer.writeBytes(self) }
}

extension ArraySlice: RedisArgument where Element == UInt8 {
    package var redisByteCount: Int { count }
    package func writeRedisBytes(to buffer: inout ByteBuffer) { buffer.writeBytes(self) }
}

extension ByteBuffer: RedisArgument {
    package var redisByteCount: Int { readableBytes }
    package func writeRedisBytes(to buffer: inout ByteBuffer) { buffer.writeImmutableBuffer(self) }
}

extension Int: RedisArgument {
    package var redisByteCount: Int { RedisCommand.digits(self) }
    package func writeRedisBytes(to buffer: inout ByteBuffer) { buffer.writeString(String(self)) }
}

extension Int64: RedisArgument {
    package var redisByteCount: Int { RedisCommand.digits(Int(self)) }
    package func writeRedisBytes(to buffer: inout ByteBuffer) { buffer.writeString(String(self)) }
}

extension UInt64: RedisArgument {
    package var redisByteCount: Int { String(self).utf8.count }
    package func writeRedisBytes(to buffer: inout ByteBuffer) { buffer.writeString(String(self)) }
}

/// The shortest text that gives the same number back; infinities as `inf` and `-inf`.
extension Double: RedisArgument {
    package var redisByteCount: Int { description.utf8.count }
    package func writeRedisBytes(to buffer: inout ByteBuffer) { buffer.writeString(description) }
}
