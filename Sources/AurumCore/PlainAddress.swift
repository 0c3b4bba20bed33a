/// Which addresses may be asked without TLS: those that never leave the machine.
package enum PlainAddress {
    /// Whether `https` is used, or `http` to this machine where the operator allows it.
    /// - Parameters:
    ///   - scheme: as it stands in the address, in either case.
    ///   - host: as it stands in the address, an IPv6 address with or without brackets.
    package static func isAllowed(scheme: String, host: String, allowLoopback: Bool) -> Bool {
        switch scheme.lowercased() {
        case "https": true
        case "http": allowLoopback && isLoopback(host)
        default: false
        }
    }

    /// `localhost`, `::1`, or four decimal numbers that begin with 127.
    static func isLoopback(_ host: String) -> Bool {
        if ["localhost", "::1", "[::1]"].contains(host.lowercased()) { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127"
            && parts.allSatisfy { $0.utf8.allSatisfy { (48...57).contains($0) } && UInt8($0) != nil }
    }
}
