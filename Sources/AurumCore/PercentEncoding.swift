extension String {
    /// The text as it stands in a path or a query: everything but the unreserved characters of RFC 3986, section 2.3,
    /// is percent-encoded.
    package var percentEncoded: String {
        let digits = Array("0123456789ABCDEF".utf8)
        var bytes: [UInt8] = []
        for byte in utf8 {
            let isUnreserved =
                (48...57).contains(byte) || (97...122).contains(byte | 0x20) || [0x2d, 0x2e, 0x5f, 0x7e].contains(byte)
            if isUnreserved {
                bytes.append(byte)
            } else {
                bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
