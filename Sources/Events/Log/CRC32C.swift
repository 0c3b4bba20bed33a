internal import CProcessor

/// CRC-32C (Castagnoli), eight bytes a step: by the processor's instruction where the engine is built for it, elsewhere
/// through eight tables. Source: RFC 3720, appendix B.4; Intel's "slicing-by-8" (Kounavis and Berry, 2005).
package enum CRC32C {
    private struct Tables: @unchecked Sendable {  // immutable after init
        let words: UnsafeMutablePointer<UInt32>

        init() {
            words = .allocate(capacity: 8 * 256)
            for index in 0..<256 {
                var value = UInt32(index)
                for _ in 0..<8 { value = value >> 1 ^ (value & 1 == 1 ? 0x82F6_3B78 : 0) }
                words[index] = value
            }
            for index in 0..<256 {
                for table in 1..<8 {
                    let previous = words[(table - 1) * 256 + index]
                    words[table * 256 + index] = previous >> 8 ^ words[Int(previous & 0xff)]
                }
            }
        }
    }

    private static let tables = Tables()

    package static func of(_ bytes: UnsafeRawBufferPointer, continuing start: UInt32 = 0) -> UInt32 {
        guard let base = bytes.baseAddress else { return start }
        if aurum_has_crc32c() != 0 { return ~aurum_crc32c(~start, base, UInt(bytes.count)) }
        return byTables(bytes, continuing: start)
    }

    /// The same without the instruction.
    package static func byTables(_ bytes: UnsafeRawBufferPointer, continuing start: UInt32 = 0) -> UInt32 {
        guard let base = bytes.baseAddress else { return start }
        let words = tables.words
        var crc = ~start
        var index = 0
        while index &+ 8 <= bytes.count {
            let word = base.loadUnaligned(fromByteOffset: index, as: UInt64.self) ^ UInt64(crc)
            crc =
                words[1792 &+ Int(word & 0xff)] ^ words[1536 &+ Int(word &>> 8 & 0xff)]
                ^ words[1280 &+ Int(word &>> 16 & 0xff)] ^ words[1024 &+ Int(word &>> 24 & 0xff)]
                ^ words[768 &+ Int(word &>> 32 & 0xff)] ^ words[512 &+ Int(word &>> 40 & 0xff)]
                ^ words[256 &+ Int(word &>> 48 & 0xff)] ^ words[Int(word &>> 56)]
            index &+= 8
        }
        while index < bytes.count {
            crc = words[Int((crc ^ UInt32(bytes[index])) & 0xff)] ^ crc &>> 8
            index &+= 1
        }
        return ~crc
    }

    package static func of(_ bytes: [UInt8]) -> UInt32 { bytes.withUnsafeBytes { of($0) } }
}
