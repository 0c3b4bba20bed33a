/// Where Redis or Valkey is, as who we sign in, and how long things may take.
package struct RedisConfiguration: Sendable, CustomStringConvertible {
    package struct Address: Sendable, Hashable, CustomStringConvertible {
        package var host: String
        package var port: Int

        package init(host: String, port: Int) {
            self.host = host
            self.port = port
        }

        package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
    }

    /// What is wrong with a URL: a sentence for the operator, without the password.
    package struct Problem: Error, Equatable, CustomStringConvertible {
        package let description: String
    }

    /// More than one is a cluster, of which these are the nodes asked first.
    package var addresses: [Address]
    package var user: String?
    package var password: String?
    /// Of one server; a cluster has only 0.
    package var database = 0
    /// TLS 1.2 or later with the certificate's name checked.
    package var usesTLS = false
    /// A PEM file of the authorities to trust instead of the system's.
    package var authoritiesFile: String?
    /// Whether `addresses` belong to a cluster.
    package var isCluster: Bool
    package var connectionsPerNode = RedisLimits.connectionsPerNode
    package var commandTimeout: Duration = .seconds(2)
    /// For the connection and its sign-in together.
    package var connectTimeout: Duration = .seconds(5)
    /// Without a byte from the server for so long, it is asked for a sign of life.
    package var keepAliveAfter: Duration = .seconds(1)
    /// Without an answer to that, the connection is closed.
    package var keepAliveTimeout: Duration = .seconds(2)
    /// Without a byte for so long after that was asked, health says that the server is silent; the connection stays.
    package var silenceShownAfter: Duration = .milliseconds(750)
    package var reconnectFirst: Duration = .milliseconds(50)
    package var reconnectMax: Duration = .seconds(5)
    /// How long a stopping client waits for the replies it is owed.
    package var drainTimeout: Duration = .seconds(2)
    /// A cluster's map is asked for so often even when nothing points at a change.
    package var mapRefresh: Duration = .seconds(60)

    /// Reads `redis://[user[:password]@]host[:port][,host[:port]…][/database][?ca=FILE]`; `rediss` for TLS. User and
    /// password may be percent-encoded; several hosts are a cluster.
    /// - Throws: `Problem`, which never shows the password.
    package init(url: String) throws(Problem) {
        let (scheme, rest) = try Self.scheme(url)
        usesTLS = scheme == "rediss"
        let main = rest.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        var body = main.first ?? ""
        if main.count == 2 { authoritiesFile = try Self.authoritiesFile(main[1], usesTLS) }
        if let at = body.lastIndex(of: "@") {
            let parts = body[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            user = try Self.decoded(parts.first ?? "", "user")
            password = parts.count == 2 ? try Self.decoded(parts[1], "password") : nil
            if user?.isEmpty == true { user = nil }
            if user != nil, password == nil { throw Problem(description: "the Redis URL has a user but no password") }
            body = body[body.index(after: at)...]
        }
        let path = body.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        if path.count == 2, !path[1].isEmpty {
            guard let number = Int(path[1]), (0...65_535).contains(number) else {
                throw Problem(description: "the database of the Redis URL is no number: \(path[1])")
            }
            database = number
        }
        addresses = []
        isCluster = false
        let hosts = (path.first ?? "").split(separator: ",", omittingEmptySubsequences: false)
        for host in hosts { addresses.append(try Self.address(host)) }
        guard addresses.count <= RedisLimits.nodesMax else { throw Problem(description: "too many hosts of Redis") }
        isCluster = addresses.count > 1
        if isCluster, database != 0 { throw Problem(description: "a Redis cluster has no database \(database)") }
    }

    /// Without user and password: fit for logs and health.
    package var description: String {
        (usesTLS ? "rediss://" : "redis://") + addresses.map(\.description).joined(separator: ",")
            + (database == 0 ? "" : "/\(database)")
    }

    private static func scheme(_ url: String) throws(Problem) -> (String, Substring) {
        guard let range = url.firstRange(of: "://") else {
            throw Problem(description: "the Redis URL must begin with redis:// or rediss://")
        }
        let scheme = url[..<range.lowerBound].lowercased()
        if scheme.contains("sentinel") {
            throw Problem(
                description: "Redis Sentinel is not supported: give the URL of one server, or the hosts of a cluster")
        }
        guard scheme == "redis" || scheme == "rediss" else {
            throw Problem(description: "the Redis URL must begin with redis:// or rediss://, not \(scheme)://")
        }
        return (scheme, url[range.upperBound...])
    }

    private static func authoritiesFile(_ query: Substring, _ usesTLS: Bool) throws(Problem) -> String? {
        var file: String?
        for pair in query.split(separator: "&") {
            let parts = pair.split(separator: "=", maxSplits: 1)
            guard parts.count == 2, parts[0] == "ca" else {
                throw Problem(description: "the Redis URL knows ?ca=FILE only, not \(parts.first ?? "")")
            }
            file = try decoded(parts[1], "ca")
        }
        guard usesTLS || file == nil else { throw Problem(description: "?ca= needs rediss://") }
        return file
    }

    private static func address(_ text: Substring) throws(Problem) -> Address {
        var host = text
        var port: Substring?
        if text.hasPrefix("[") {
            guard let close = text.firstIndex(of: "]") else { throw Problem(description: "no host of Redis: \(text)") }
            host = text[text.index(after: text.startIndex)..<close]
            let rest = text[text.index(after: close)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { throw Problem(description: "no host of Redis: \(text)") }
            port = rest.isEmpty ? nil : rest.dropFirst()
        } else if let colon = text.lastIndex(of: ":") {
            host = text[..<colon]
            port = text[text.index(after: colon)...]
        }
        guard !host.isEmpty else { throw Problem(description: "the Redis URL has an empty host") }
        guard let port else { return Address(host: String(host), port: 6379) }
        guard let number = Int(port), (1...65_535).contains(number) else {
            throw Problem(description: "the port of Redis is none: \(port)")
        }
        return Address(host: String(host), port: number)
    }

    private static func decoded(_ text: Substring, _ part: String) throws(Problem) -> String {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            guard let high = rest.popFirst(), let low = rest.popFirst(),
                let value = UInt8(String(decoding: [high, low], as: UTF8.self), radix: 16)
            else { throw Problem(description: "the \(part) of the Redis URL is not percent-encoded rightly") }
            bytes.append(value)
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Problem(description: "the \(part) of the Redis URL is no UTF-8")
        }
        return text
    }
}
