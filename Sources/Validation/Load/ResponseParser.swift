/// One HTTP/1.1 answer inside received bytes. Only what a load generator needs: status, length, body.
package struct ParsedResponse: Equatable {
    package var status: Int
    /// Where the body lies in the given bytes; the framing of a chunked body is taken out into `chunks`.
    package var body: Range<Int>
    package var chunks: [UInt8]?
    /// Bytes that belong to this answer.
    package var consumed: Int
    package var closes: Bool
    /// It says when to try again.
    package var hasRetryAfter = false
}

package enum ResponseParser {
    /// The first whole answer in `bytes`; nil while more bytes are needed. Throws when it is not HTTP/1.
    package static func parse(_ bytes: UnsafeRawBufferPointer) throws(LoadError) -> ParsedResponse? {
        var start = 0
        while true {
            guard let headEnd = find([13, 10, 13, 10], in: bytes, from: start) else {
                if bytes.count - start > 65_536 { throw .notHTTP }
                return nil
            }
            guard let head = head(bytes, start..<headEnd) else { throw .notHTTP }
            let bodyStart = headEnd + 4
            if (100..<200).contains(head.status) {
                start = bodyStart
                continue
            }
            if head.status == 204 || head.status == 304 {
                return ParsedResponse(
                    status: head.status, body: bodyStart..<bodyStart, consumed: bodyStart, closes: head.closes,
                    hasRetryAfter: head.hasRetryAfter)
            }
            if head.chunked { return try chunked(bytes, bodyStart, head) }
            guard let length = head.length else { throw .notHTTP }
            guard bytes.count - bodyStart >= length else { return nil }
            return ParsedResponse(
                status: head.status, body: bodyStart..<(bodyStart + length), consumed: bodyStart + length,
                closes: head.closes, hasRetryAfter: head.hasRetryAfter)
        }
    }

    private struct Head {
        var status: Int
        var length: Int?
        var chunked = false
        var closes = false
        var hasRetryAfter = false
    }

    private static func head(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Head? {
        guard range.count >= 12, lowered(bytes, range.lowerBound, is: "http/1."),
            let status = number(bytes, (range.lowerBound + 9)..<(range.lowerBound + 12))
        else { return nil }
        var head = Head(status: status)
        var line = range.lowerBound
        while line < range.upperBound {
            let end = find([13, 10], in: bytes, from: line).map { min($0, range.upperBound) } ?? range.upperBound
            if lowered(bytes, line, is: "content-length:") {
                head.length = number(bytes, trimmed(bytes, (line + 15)..<end))
            } else if lowered(bytes, line, is: "transfer-encoding:") {
                head.chunked = true
            } else if lowered(bytes, line, is: "retry-after:") {
                head.hasRetryAfter = true
            } else if lowered(bytes, line, is: "connection:") {
                let value = trimmed(bytes, (line + 11)..<end)
                head.closes = value.count == 5 && lowered(bytes, value.lowerBound, is: "close")
            }
            line = end + 2
        }
        return head
    }

    private static func chunked(
        _ bytes: UnsafeRawBufferPointer, _ bodyStart: Int, _ head: Head
    ) throws(LoadError) -> ParsedResponse? {
        var body: [UInt8] = []
        var index = bodyStart
        while true {
            guard let lineEnd = find([13, 10], in: bytes, from: index) else { return nil }
            var size = 0
            for position in index..<lineEnd {
                let byte = bytes[position] | 0x20
                if byte == UInt8(ascii: ";") | 0x20 { break }
                switch byte {
                case 48...57: size = size * 16 + Int(byte - 48)
                case 97...102: size = size * 16 + Int(byte - 87)
                default: throw .notHTTP
                }
                guard size < 1 << 28 else { throw .notHTTP }
            }
            let data = lineEnd + 2
            guard bytes.count >= data + size + 2 else { return nil }
            if size == 0 {
                return ParsedResponse(
                    status: head.status, body: bodyStart..<bodyStart, chunks: body, consumed: data + 2,
                    closes: head.closes, hasRetryAfter: head.hasRetryAfter)
            }
            body.append(contentsOf: bytes[data..<(data + size)])
            index = data + size + 2
        }
    }

    private static func find(_ needle: [UInt8], in bytes: UnsafeRawBufferPointer, from start: Int) -> Int? {
        var index = start
        let last = bytes.count - needle.count
        while index <= last {
            if bytes[index] == needle[0] {
                var matched = 1
                while matched < needle.count, bytes[index + matched] == needle[matched] { matched += 1 }
                if matched == needle.count { return index }
            }
            index += 1
        }
        return nil
    }

    private static func lowered(_ bytes: UnsafeRawBufferPointer, _ start: Int, is text: StaticString) -> Bool {
        let count = text.utf8CodeUnitCount
        guard start + count <= bytes.count else { return false }
        for offset in 0..<count {
            let wanted = text.utf8Start[offset]
            let byte = bytes[start + offset]
            let folded = (65...90).contains(byte) ? byte | 0x20 : byte
            if folded != wanted { return false }
        }
        return true
    }

    private static func trimmed(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Range<Int> {
        var start = range.lowerBound
        var end = range.upperBound
        while start < end, bytes[start] == 32 { start += 1 }
        while end > start, bytes[end - 1] == 32 { end -= 1 }
        return start..<end
    }

    private static func number(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) -> Int? {
        guard !range.isEmpty, range.count <= 12 else { return nil }
        var value = 0
        for index in range {
            guard (48...57).contains(bytes[index]) else { return nil }
            value = value * 10 + Int(bytes[index] - 48)
        }
        return value
    }
}

package enum LoadError: Error, Equatable {
    case notHTTP
    case badTarget(String)
    case unreachable(String)
    case noKeys
    /// A folder without NDJSON files.
    case noData(String)
}
