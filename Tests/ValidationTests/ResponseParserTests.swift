import Testing
internal import Validation

@Suite struct ResponseParserTests {
    private func parse(_ text: String) throws -> ParsedResponse? {
        try Array(text.utf8).withUnsafeBytes { bytes throws(LoadError) in try ResponseParser.parse(bytes) }
    }

    private static let plain = "HTTP/1.1 202 Accepted\r\ncontent-LENGTH:  5\r\nX: y\r\n\r\nhello"
    private static let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\nA\r\n, you all!\r\n0\r\n\r\n"

    @Test func `an answer with a length is found whole`() throws {
        let response = try #require(try parse(Self.plain + "HTTP/1.1 200"))
        #expect(response.status == 202)
        #expect(response.body.count == 5)
        #expect(response.consumed == Self.plain.utf8.count)
        #expect(!response.closes)
    }

    @Test func `a chunked answer is put together`() throws {
        let response = try #require(try parse(Self.chunked))
        #expect(response.chunks.map { String(decoding: $0, as: UTF8.self) } == "hello, you all!")
        #expect(response.consumed == Self.chunked.utf8.count)
    }

    @Test(arguments: [plain, chunked])
    func `no part of an answer is taken for the whole`(text: String) throws {
        for length in 0..<text.utf8.count {
            #expect(
                try parse(String(decoding: Array(text.utf8.prefix(length)), as: UTF8.self)) == nil, "cut at \(length)")
        }
    }

    @Test func `an interim answer is skipped and a closing one is told`() throws {
        let text = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
        let response = try #require(try parse(text))
        #expect(response.status == 204 && response.closes && response.consumed == text.utf8.count)
    }

    @Test func `a refusal that says when to try again is told from one that does not`() throws {
        let patient = "HTTP/1.1 503 Service Unavailable\r\nretry-AFTER: 1\r\nContent-Length: 0\r\n\r\n"
        let bare = "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"
        #expect(try parse(patient)?.hasRetryAfter == true)
        #expect(try parse(bare)?.hasRetryAfter == false)
    }

    @Test func `what is not HTTP is refused`() {
        #expect(throws: LoadError.notHTTP) { try parse("SSH-2.0-OpenSSH_9.2 banner\r\n\r\n") }
        #expect(throws: LoadError.notHTTP) { try parse("HTTP/1.1 200 OK\r\n\r\n") }
    }
}
