#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Zeroed memory straight from the system; all of it goes back when its owner frees it.
struct AnonymousMemory {
    /// Two megabytes: below this a large page cannot be used.
    private static let largePageBytes = 2 << 20
    /// The allocator gives back at once what came from the system in one piece, but only above its own threshold.
    private let mapped: UnsafeMutableRawPointer
    private let mappedBytes: Int
    /// Aligned to a page at least.
    let base: UnsafeMutableRawPointer
    let byteCount: Int

    /// - Parameters:
    ///   - isRandom: whether it is read at random for long: then in large pages, which take long to get.
    ///   - isFilled: whether all of it is written soon, each place after a look at it. Its pages are got at once: one
    ///     that is read first has to be exchanged at the first write, for which every processor is interrupted.
    init(byteCount: Int, isRandom: Bool = false, isFilled: Bool = false) {
        let isLarge = isRandom && byteCount >= Self.largePageBytes
        self.byteCount = byteCount
        mappedBytes = byteCount + (isLarge ? Self.largePageBytes : 0)
        #if canImport(Glibc)
            let flags = MAP_PRIVATE | MAP_ANONYMOUS
        #else
            let flags = MAP_PRIVATE | MAP_ANON
        #endif
        let address = mmap(nil, max(1, mappedBytes), PROT_READ | PROT_WRITE, flags, -1, 0)
        guard let address, address != MAP_FAILED else {
            preconditionFailure("no memory for \(byteCount) bytes")
        }
        mapped = address
        base = isLarge ? address.alignedUp(toMultipleOf: Self.largePageBytes) : address
        #if canImport(Glibc)
            if isLarge { _ = madvise(base, byteCount, MADV_HUGEPAGE) }
            // Linux before 5.14 refuses, and gets them one by one.
            if isFilled { _ = madvise(base, byteCount, MADV_POPULATE_WRITE) }
        #endif
    }

    func deallocate() { munmap(mapped, max(1, mappedBytes)) }
}
