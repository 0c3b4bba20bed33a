package import NIOCore

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Keeps outbound requests from reaching this machine, its network and its cloud's metadata service. It looks at
/// addresses, not names: once before the request, for a clear answer, and once at the opened connection, where no
/// second look-up can replace what was checked.
package struct EgressGuard: Sendable {
    /// Why an address may not be reached.
    package struct Refused: Error, Equatable {
        package let reason: String
    }

    /// 127.0.0.0/8 and ::1 are permitted, and nothing else that is private. For demo and tests; shown in health.
    package let allowLoopback: Bool

    package init(allowLoopback: Bool) { self.allowLoopback = allowLoopback }

    /// Whether a connection to `address` may carry a request.
    package func check(_ address: SocketAddress?) throws(Refused) {
        guard let text = address?.ipAddress else { throw Refused(reason: "egress_not_an_address") }
        try check(text)
    }

    /// Whether the address written as `text` may be reached; what cannot be read may not.
    package func check(_ text: String) throws(Refused) {
        var bytes = [UInt8](repeating: 0, count: 16)
        if inet_pton(AF_INET, text, &bytes) == 1 {
            try check(v4: number(bytes[0..<4]))
        } else if inet_pton(AF_INET6, text, &bytes) == 1 {
            try check(v6: bytes)
        } else {
            throw Refused(reason: "egress_not_an_address")
        }
    }

    /// Refused IPv4 networks. Source: IANA IPv4 Special-Purpose Address Registry.
    private static let refusedV4: [(network: UInt32, bits: UInt32)] = [
        (0x0000_0000, 8), (0x0A00_0000, 8), (0x6440_0000, 10), (0xA9FE_0000, 16), (0xAC10_0000, 12), (0xC000_0000, 24),
        (0xC000_0200, 24), (0xC0A8_0000, 16), (0xC612_0000, 15), (0xC633_6400, 24), (0xCB00_7100, 24), (0xE000_0000, 3),
    ]

    private func check(v4 number: UInt32) throws(Refused) {
        if number >> 24 == 127 {
            guard allowLoopback else { throw Refused(reason: "egress_loopback") }
            return
        }
        for (network, bits) in Self.refusedV4 where (number ^ network) >> (32 - bits) == 0 {
            throw Refused(reason: "egress_private_address")
        }
    }

    /// IPv6: only global unicast (2000::/3), less the ranges that carry IPv4 or documentation addresses.
    private func check(v6 bytes: [UInt8]) throws(Refused) {
        let zeros = bytes.prefix(10).allSatisfy { $0 == 0 }
        if zeros, bytes[10] == 0xFF, bytes[11] == 0xFF { return try check(v4: number(bytes[12...])) }
        if zeros, bytes[10...14].allSatisfy({ $0 == 0 }), bytes[15] == 1 {
            guard allowLoopback else { throw Refused(reason: "egress_loopback") }
            return
        }
        guard bytes[0] >> 5 == 1 else { throw Refused(reason: "egress_private_address") }
        let first = UInt16(bytes[0]) << 8 | UInt16(bytes[1])
        let second = UInt16(bytes[2]) << 8 | UInt16(bytes[3])
        if first == 0x2002 { return try check(v4: number(bytes[2...5])) }
        if first == 0x2001, second < 0x0200 || second == 0x0DB8 { throw Refused(reason: "egress_private_address") }
    }

    private func number(_ bytes: ArraySlice<UInt8>) -> UInt32 { bytes.reduce(0) { $0 << 8 | UInt32($1) } }
}
