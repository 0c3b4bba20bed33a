internal import CZlib
internal import CZstd

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// gzip of `bytes`.
package func gzip(_ bytes: [UInt8]) -> [UInt8] {
    var stream = z_stream()
    _ = deflateInit2_(
        &stream, 9, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    defer { deflateEnd(&stream) }
    var input = bytes
    var out = [UInt8](repeating: 0, count: Int(deflateBound(&stream, UInt(bytes.count))))
    let count = input.withUnsafeMutableBufferPointer { source in
        out.withUnsafeMutableBufferPointer { target in
            stream.next_in = source.baseAddress
            stream.avail_in = UInt32(source.count)
            stream.next_out = target.baseAddress
            stream.avail_out = UInt32(target.count)
            _ = deflate(&stream, Z_FINISH)
            return target.count - Int(stream.avail_out)
        }
    }
    return Array(out.prefix(count))
}

/// zstd of `bytes`.
package func zstd(_ bytes: [UInt8]) -> [UInt8] {
    var out = [UInt8](repeating: 0, count: ZSTD_compressBound(bytes.count))
    let count = ZSTD_compress(&out, out.count, bytes, bytes.count, 3)
    return Array(out.prefix(count))
}

/// CPU time of this thread.
package func threadSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

/// A small body that unpacks to very many bytes.
package func zstdBomb(bytes: Int) -> [UInt8] {
    guard let context = ZSTD_createCCtx() else { return [] }
    defer { ZSTD_freeCCtx(context) }
    let piece = [UInt8](repeating: 0x20, count: 1 << 20)
    var packed: [UInt8] = []
    var out = [UInt8](repeating: 0, count: 1 << 20)
    for number in 0..<(bytes >> 20) {
        let isLast = number == (bytes >> 20) - 1
        piece.withUnsafeBytes { source in
            out.withUnsafeMutableBytes { target in
                var input = ZSTD_inBuffer(src: source.baseAddress, size: source.count, pos: 0)
                var output = ZSTD_outBuffer(dst: target.baseAddress, size: target.count, pos: 0)
                _ = ZSTD_compressStream2(context, &output, &input, isLast ? ZSTD_e_end : ZSTD_e_continue)
                packed.append(contentsOf: target.prefix(output.pos))
            }
        }
    }
    return packed
}
