internal import Crypto

/// A Lua script. It is sent by its hash, and once in full where the server does not know it.
package struct RedisScript: Sendable, Equatable {
    package let source: String
    /// SHA-1 in lower-case hexadecimal, as `EVALSHA` takes it.
    package let sha: String
    /// Whether it writes nothing.
    package let isRead: Bool

    package init(_ source: String, isRead: Bool = false) {
        self.source = source
        self.isRead = isRead
        let digits = Array("0123456789abcdef".utf8)
        // The server names scripts by SHA-1; nothing of security hangs on it.
        let hash = Insecure.SHA1.hash(data: Array(source.utf8))
        sha = String(decoding: hash.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    func byHash(_ keys: [String], _ arguments: [any RedisArgument]) -> RedisCommand {
        command("EVALSHA", sha, keys, arguments)
    }

    func inFull(_ keys: [String], _ arguments: [any RedisArgument]) -> RedisCommand {
        command("EVAL", source, keys, arguments)
    }

    private func command(
        _ name: String, _ body: String, _ keys: [String], _ arguments: [any RedisArgument]
    ) -> RedisCommand {
        var all: [any RedisArgument] = [body, keys.count]
        all.reserveCapacity(2 + keys.count + arguments.count)
        for key in keys { all.append(key) }
        all += arguments
        return RedisCommand(name, arguments: all, isRead: isRead)
    }
}
