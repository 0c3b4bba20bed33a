/// `http://host:port`: all that a load or a check needs to know of a URL.
package struct HTTPEndpoint: Sendable, Hashable {
    package var host: String
    package var port: Int
    /// Path and query, beginning with `/`.
    package var path: String
    package var isTLS: Bool

    package init(_ url: String) throws(LoadError) {
        let parts = url.split(separator: ":", maxSplits: 1).map(String.init)
        guard parts.count == 2, parts[1].hasPrefix("//"), ["http", "https", "ws", "wss"].contains(parts[0]) else {
            throw .badTarget(url)
        }
        isTLS = parts[0] == "https" || parts[0] == "wss"
        let rest = parts[1].dropFirst(2)
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        path = String(rest.dropFirst(authority.count))
        if !path.hasPrefix("/") { path = "/" + path }
        let pieces = authority.split(separator: ":", omittingEmptySubsequences: false)
        guard let name = pieces.first, !name.isEmpty, pieces.count <= 2 else { throw .badTarget(url) }
        host = String(name)
        guard pieces.count == 2 else {
            port = isTLS ? 443 : 80
            return
        }
        guard let number = Int(pieces[1]), (1...65_535).contains(number) else { throw .badTarget(url) }
        port = number
    }

    package var authority: String { "\(host):\(port)" }
}
