internal import CZlib
internal import CZstd

/// Packs one part of a file: a gzip member or a zstd frame of its own, the same bytes for the same text.
struct ExportPacker: Sendable {
    struct Failure: Error {}

    let compression: ExportRequest.Compression
    private static let gzipLevel: Int32 = 6
    private static let zstdLevel: Int32 = 3

    func pack(_ text: [UInt8]) throws(Failure) -> [UInt8] {
        switch compression {
        case .none: text
        case .gzip: try gzip(text)
        case .zstd: try zstd(text)
        }
    }

    private func gzip(_ text: [UInt8]) throws(Failure) -> [UInt8] {
        var stream = z_stream()
        // 15 bits of window; 16 more ask for a gzip header, which without a time in it is always the same.
        let started = deflateInit2_(
            &stream, Self.gzipLevel, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
            Int32(MemoryLayout<z_stream>.size))
        guard started == Z_OK else { throw Failure() }
        defer { deflateEnd(&stream) }
        let bound = Int(deflateBound(&stream, UInt(text.count)))
        var status = Z_OK
        let packed = [UInt8](unsafeUninitializedCapacity: bound) { out, count in
            text.withUnsafeBufferPointer { source in
                stream.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
                stream.avail_in = UInt32(source.count)
                stream.next_out = out.baseAddress
                stream.avail_out = UInt32(out.count)
                status = deflate(&stream, Z_FINISH)
            }
            count = bound - Int(stream.avail_out)
        }
        guard status == Z_STREAM_END else { throw Failure() }
        return packed
    }

    private func zstd(_ text: [UInt8]) throws(Failure) -> [UInt8] {
        guard let context = ZSTD_createCCtx() else { throw Failure() }
        defer { ZSTD_freeCCtx(context) }
        _ = ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, Self.zstdLevel)
        _ = ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)
        var isBad = false
        let packed = [UInt8](unsafeUninitializedCapacity: ZSTD_compressBound(text.count)) { out, count in
            let size = text.withUnsafeBufferPointer {
                ZSTD_compress2(context, out.baseAddress, out.count, $0.baseAddress, $0.count)
            }
            isBad = ZSTD_isError(size) != 0
            count = isBad ? 0 : size
        }
        if isBad { throw Failure() }
        return packed
    }
}
