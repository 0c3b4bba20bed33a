/// A list kept in pages that copies share until one of them writes: a copy costs one reference, and the first write
/// behind it copies one page and the list of pages, however long the list is.
struct GraphPages<Element: Sendable>: Sendable {
    private var pages: ContiguousArray<ContiguousArray<Element>> = []
    private(set) var count = 0
    private let shift: Int
    private let mask: Int

    /// - Parameter shift: a page holds 2^shift elements.
    init(shift: Int) {
        self.shift = shift
        mask = 1 << shift - 1
    }

    @inline(__always)
    subscript(index: UInt32) -> Element {
        get { pages[Int(index) &>> shift][Int(index) & mask] }
        _modify { yield &pages[Int(index) &>> shift][Int(index) & mask] }
    }

    mutating func append(_ element: Element) {
        if count & mask == 0 {
            var page = ContiguousArray<Element>()
            page.reserveCapacity(min(mask + 1, max(16, count)))
            pages.append(page)
        }
        pages[count &>> shift].append(element)
        count += 1
    }

    /// Bytes of the pages and their list.
    var byteCount: Int {
        pages.reduce(pages.capacity * 8) { $0 + $1.capacity * MemoryLayout<Element>.stride + 32 }
    }

    /// Adds `more` equal elements, whole pages where it can.
    mutating func append(_ element: Element, count more: Int) {
        var left = more
        while left > mask, count & mask == 0 {
            pages.append(ContiguousArray(repeating: element, count: mask + 1))
            count += mask + 1
            left -= mask + 1
        }
        for _ in 0..<left { append(element) }
    }
}
