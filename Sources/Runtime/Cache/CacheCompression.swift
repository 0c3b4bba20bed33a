internal import CZstd

/// Values as they travel to the server and lie there: large ones compressed, where that saves something.
enum CacheCompression {
    /// Values below are not worth the work.
    static let bytesMin = 4 << 10
    /// What saves less is kept as it is.
    static let savingPercentMin = 10
    private static let level: Int32 = 1

    /// The value as one zstd frame; nil when it is kept as it is.
    static func packed(_ value: [UInt8]) -> [UInt8]? {
        guard value.count >= bytesMin else { return nil }
        let most = value.count - value.count * savingPercentMin / 100
        let packed = [UInt8](unsafeUninitializedCapacity: ZSTD_compressBound(value.count)) { out, count in
            let size = value.withUnsafeBytes {
                ZSTD_compress(out.baseAddress, out.count, $0.baseAddress, $0.count, level)
            }
            count = ZSTD_isError(size) == 0 ? size : 0
        }
        return packed.isEmpty || packed.count > most ? nil : packed
    }

    /// nil for what is no whole frame, or one that says it holds more than a value may: nothing is allocated for it.
    static func unpacked(_ frame: ArraySlice<UInt8>) -> [UInt8]? {
        frame.withUnsafeBytes { frame -> [UInt8]? in
            // What the header of the frame says; of frames without a size, and of no frames, numbers beyond any size.
            let told = ZSTD_getFrameContentSize(frame.baseAddress, frame.count)
            guard told <= UInt64(CacheLimits.valueBytesMax) else { return nil }
            let whole = Int(told)
            var isWhole = false
            let value = [UInt8](unsafeUninitializedCapacity: whole) { out, count in
                let size = ZSTD_decompress(out.baseAddress, whole, frame.baseAddress, frame.count)
                isWhole = ZSTD_isError(size) == 0 && size == whole
                count = isWhole ? whole : 0
            }
            return isWhole ? value : nil
        }
    }
}
