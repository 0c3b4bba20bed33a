/// Where a request stood in the log when it was committed: what its receipt and the positions of its events say for
/// ever, wherever its rows are kept later.
struct RequestOrigin: Sendable, Comparable {
    var segment: UInt32
    var offset: UInt32
    /// Its number in the block.
    var request: UInt16
    /// Its first row in the block.
    var firstRow: UInt32

    init(segment: UInt32, offset: UInt32, request: UInt16, firstRow: UInt32) {
        (self.segment, self.offset, self.request, self.firstRow) = (segment, offset, request, firstRow)
    }

    init?(_ reader: inout StreamReader) {
        guard let segment = reader.word(UInt32.self), let offset = reader.word(UInt32.self),
            let request = reader.word(UInt16.self), let firstRow = reader.word(UInt32.self)
        else { return nil }
        self.init(segment: segment, offset: offset, request: request, firstRow: firstRow)
    }

    func encode(into bytes: inout RawBytes) {
        bytes.append(segment)
        bytes.append(offset)
        bytes.append(request)
        bytes.append(firstRow)
    }

    static func < (left: RequestOrigin, right: RequestOrigin) -> Bool {
        (left.segment, left.offset, left.request) < (right.segment, right.offset, right.request)
    }

    /// The position of the event with this index in the request.
    func position(_ index: Int) -> LogPosition {
        LogPosition(segment: segment, offset: offset, row: firstRow + UInt32(truncatingIfNeeded: index))
    }
}
