internal import AurumCore

/// Where a click may lead: an `http` or `https` address whose host is one of the app's.
package struct RedirectTarget: Sendable, Equatable {
    /// The address, with bytes that must not stand in a header percent-escaped.
    package let text: String
    /// Lower case, with the port if the address names one.
    package let authority: String

    /// nil for anything that browsers might read as another host than we do.
    package init?(_ text: String) {
        let scheme: String
        let lower = text.prefix(8).lowercased()
        if lower.hasPrefix("https://") {
            scheme = "https://"
        } else if lower.hasPrefix("http://") {
            scheme = "http://"
        } else {
            return nil
        }
        let rest = text.utf8.dropFirst(scheme.utf8.count)
        let host = rest.prefix { ![UInt8(ascii: "/"), UInt8(ascii: "?"), UInt8(ascii: "#")].contains($0) }
        let authority = String(decoding: host, as: UTF8.self).lowercased()
        guard Self.isAuthority(authority) else { return nil }
        let tail = rest.dropFirst(host.count)
        // Browsers take a backslash for a slash, and drop line ends and tabs.
        guard !tail.contains(UInt8(ascii: "\\")), !tail.contains(where: { $0 < 0x20 || $0 == 0x7f }) else { return nil }
        self.authority = authority
        self.text = scheme + authority + Self.escaped(tail)
    }

    /// Letters, digits, hyphens and dots, or a bracketed address; then perhaps a port. No user, no escapes.
    private static func isAuthority(_ text: String) -> Bool {
        guard let (host, port) = split(text), !host.isEmpty else { return false }
        if let port { guard UInt16(port) != nil else { return false } }
        if host.hasPrefix("["), host.hasSuffix("]") {
            return host.utf8.dropFirst().dropLast().allSatisfy {
                (48...57).contains($0) || (97...102).contains($0) || $0 == UInt8(ascii: ":") || $0 == UInt8(ascii: ".")
            }
        }
        return host.utf8.allSatisfy {
            (48...57).contains($0) || (97...122).contains($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".")
        }
    }

    private static func split(_ authority: String) -> (host: String, port: String?)? {
        if authority.hasPrefix("[") {
            guard let end = authority.firstIndex(of: "]") else { return nil }
            let rest = authority[authority.index(after: end)...]
            guard rest.isEmpty || rest.hasPrefix(":") else { return nil }
            return (String(authority[...end]), rest.isEmpty ? nil : String(rest.dropFirst()))
        }
        let parts = authority.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2 else { return nil }
        return (String(parts[0]), parts.count == 2 ? String(parts[1]) : nil)
    }

    private static func escaped(_ text: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var bytes: [UInt8] = []
        for byte in text {
            if byte > 0x20, byte < 0x7f, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "<"),
                byte != UInt8(ascii: ">")
            {
                bytes.append(byte)
            } else {
                bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Whether the host is one of `hosts`. `example.com` allows that host on every port, `example.com:8080` that port
    /// only, `*.example.com` every host below it.
    package func isAllowed(by hosts: Set<String>) -> Bool {
        if hosts.contains(authority) { return true }
        guard let host = Self.split(authority)?.host else { return false }
        if hosts.contains(host) { return true }
        var rest = host[...]
        while let dot = rest.firstIndex(of: ".") {
            rest = rest[rest.index(after: dot)...]
            if hosts.contains("*." + rest) { return true }
        }
        return false
    }

    /// The address with one more query parameter, before its fragment; unchanged when it has one of that name.
    package func adding(_ name: String, _ value: String) -> String {
        let parts = text.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
        let page = parts[0]
        let query = page.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        if query.count == 2, query[1].split(separator: "&").contains(where: { $0.hasPrefix(name + "=") }) {
            return text
        }
        let separator = query.count == 1 ? "?" : query[1].isEmpty || query[1].hasSuffix("&") ? "" : "&"
        return page + separator + name + "=" + value.percentEncoded + (parts.count == 2 ? "#" + parts[1] : "")
    }

    /// The host, with its port, of a web origin such as `https://www.example.com`.
    package static func host(ofOrigin origin: String) -> String? { RedirectTarget(origin)?.authority }
}
