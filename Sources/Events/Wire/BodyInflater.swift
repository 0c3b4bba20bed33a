internal import CZlib
internal import CZstd

/// Unpacks a body while counting what comes out, so that a small body cannot become a large one.
struct BodyInflater {
    let limits: EventLimits
    private static let stepBytes = 64 << 10

    /// The decoded bytes, or why the body is refused: `bodyTooLarge`, `inflateRatio`, or `brokenPacking` with the
    /// offset in the packed bytes.
    func inflate(_ body: UnsafeRawBufferPointer, _ encoding: BodyEncoding) throws(CaptureError) -> [UInt8] {
        switch encoding {
        case .identity: return Array(body)
        case .gzip: return try gunzip(body)
        case .zstd: return try unzstd(body)
        }
    }

    private func check(_ decoded: Int, of packed: Int) throws(CaptureError) {
        if decoded > packed * limits.inflateRatioMax { throw .inflateRatio }
        if decoded > limits.bodyBytesMax { throw .bodyTooLarge }
    }

    /// Room for as much as the body may become. Only what is written takes memory; growing step by step would hold the
    /// bytes twice.
    private func room(for body: UnsafeRawBufferPointer) -> [UInt8] {
        var decoded: [UInt8] = []
        decoded.reserveCapacity(min(limits.bodyBytesMax, body.count * limits.inflateRatioMax))
        return decoded
    }

    private func gunzip(_ body: UnsafeRawBufferPointer) throws(CaptureError) -> [UInt8] {
        var stream = z_stream()
        // 15 bits of window; 32 more tell gzip and zlib headers apart by themselves.
        guard inflateInit2_(&stream, 15 + 32, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
            throw .overloaded
        }
        defer { inflateEnd(&stream) }
        stream.next_in = UnsafeMutablePointer(mutating: body.baseAddress?.assumingMemoryBound(to: UInt8.self))
        stream.avail_in = UInt32(clamping: body.count)
        var decoded = room(for: body)
        var step = [UInt8](repeating: 0, count: Self.stepBytes)
        while true {
            let (status, count) = step.withUnsafeMutableBufferPointer { buffer in
                stream.next_out = buffer.baseAddress
                stream.avail_out = UInt32(buffer.count)
                let status = CZlib.inflate(&stream, Z_NO_FLUSH)
                return (status, buffer.count - Int(stream.avail_out))
            }
            try check(decoded.count + count, of: body.count)
            decoded.append(contentsOf: step.prefix(count))
            if status == Z_STREAM_END {
                if stream.avail_in == 0 { return decoded }
                guard inflateReset(&stream) == Z_OK else { throw .brokenPacking(offset: Int(stream.total_in)) }
            } else if status != Z_OK || (count == 0 && stream.avail_in == 0) {
                throw .brokenPacking(offset: body.count - Int(stream.avail_in))
            }
        }
    }

    private func unzstd(_ body: UnsafeRawBufferPointer) throws(CaptureError) -> [UInt8] {
        guard let context = ZSTD_createDCtx() else { throw .overloaded }
        defer { ZSTD_freeDCtx(context) }
        // Windows larger than 8 MB would take more memory than the body may have.
        _ = ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, 23)
        var input = ZSTD_inBuffer(src: body.baseAddress, size: body.count, pos: 0)
        var decoded = room(for: body)
        var step = [UInt8](repeating: 0, count: Self.stepBytes)
        while true {
            let (status, count) = step.withUnsafeMutableBytes { buffer in
                var output = ZSTD_outBuffer(dst: buffer.baseAddress, size: buffer.count, pos: 0)
                let status = ZSTD_decompressStream(context, &output, &input)
                return (status, output.pos)
            }
            guard ZSTD_isError(status) == 0 else { throw .brokenPacking(offset: input.pos) }
            try check(decoded.count + count, of: body.count)
            decoded.append(contentsOf: step.prefix(count))
            if status == 0, input.pos == input.size { return decoded }
            if count == 0, input.pos == input.size { throw .brokenPacking(offset: input.pos) }
        }
    }
}
