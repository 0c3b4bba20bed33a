internal import ArgumentParser
internal import AsyncHTTPClient
internal import AurumCore
internal import Foundation
internal import NIOCore
internal import NIOHTTP1

extension EventsCommand {
    /// `aurum events import FILE`.
    struct Import: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send a file of events, one JSON object a line, to the running server.",
            discussion: """
                Events keep their ids, so that importing a file again stores nothing twice. Prints what became of \
                them, and the first refused lines with their numbers; exit 1 when some were quarantined.
                Example: aurum events import events.ndjson --key $KEY
                """)

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "A file of NDJSON, or - for standard input.")
        var file: String
        @Option(
            name: .long, help: "A key with events:write; without it the running server of the data folder is asked.")
        var key: String?
        @Option(name: .long, help: "URL of the server (with --key).")
        var target = "http://127.0.0.1:8080"

        private static let namedMax = 10

        /// What became of the lines so far.
        private struct Account {
            var counts: [String: Int64] = [:]
            var named = 0
            var linesSent = 0
        }

        func run() async throws {
            var batches = LineBatches(try InputFile.handle(file))
            let contact = try await contact()
            var account = Account()
            while let batch = try batches.next() { try await send(batch, contact, &account) }
            let names = ["received", "stored", "duplicate", "quarantined", "bot", "late"]
            Output.line(names.map { "\(account.counts[$0] ?? 0) \($0)" }.joined(separator: ", "))
            if (account.counts["quarantined"] ?? 0) > 0 { throw ExitCode(1) }
        }

        private func contact() async throws -> ServerContact {
            if let key { return ServerContact(url: target, token: key, pid: 0) }
            let configuration = try await options.read()
            guard let contact = ServerContact.read(folder: configuration.dataDirectory) else {
                throw CommandFailure(
                    "no server runs on \(configuration.dataDirectory); start it, or give --key and --target")
            }
            return contact
        }

        /// Sends a batch; one that the server takes for too large goes in halves, down to the line.
        private func send(_ batch: LineBatch, _ contact: ServerContact, _ account: inout Account) async throws {
            var request = HTTPClientRequest(url: contact.url + "/v1/events")
            request.method = .POST
            request.headers.add(name: "authorization", value: "Bearer \(contact.token)")
            request.headers.add(name: "content-type", value: "application/x-ndjson")
            request.headers.add(name: "accept-encoding", value: "identity")
            request.body = .bytes(ByteBuffer(bytes: batch.bytes))
            let response: HTTPClientResponse
            do { response = try await ServerClient.send(request, to: contact.url, timeout: .seconds(60)) } catch {
                throw failure("\(error)", account)
            }
            let body = try await response.body.collect(upTo: 4 << 20)
            let answer = try? JSONDecoder().decode(JSONValue.self, from: Data(body.readableBytesView))
            if response.status == .payloadTooLarge, let (first, second) = batch.halves {
                try await send(first, contact, &account)
                return try await send(second, contact, &account)
            }
            guard response.status == .accepted, case .object(let members)? = answer else {
                let sentence = answer?["detail"]?.string ?? "the server answered \(response.status.code)"
                let isOfLines = [.badRequest, .payloadTooLarge].contains(response.status)
                throw failure(isOfLines ? "\(batch.place): \(sentence)" : sentence, account)
            }
            for (name, value) in members {
                if let count = value.integer { account.counts[name, default: 0] += count }
            }
            name(members["problems"]?.array ?? [], batch, &account)
            account.linesSent += batch.lineCount
        }

        /// The first refused lines, on standard error.
        private func name(_ problems: [JSONValue], _ batch: LineBatch, _ account: inout Account) {
            let refused = problems.filter { $0["outcome"] == "quarantined" }.prefix(Self.namedMax - account.named)
            guard !refused.isEmpty else { return }
            let numbers = batch.eventLines
            for problem in refused {
                guard let index = problem["index"]?.integer, numbers.indices.contains(Int(index)) else { continue }
                let facts = [problem["reason"], problem["field"], problem["detail"]].compactMap { $0?.string }
                Output.error("line \(numbers[Int(index)]): \(facts.joined(separator: ", "))")
                account.named += 1
            }
        }

        private func failure(_ sentence: String, _ account: Account) -> CommandFailure {
            let sent = account.linesSent
            guard sent > 0 else { return CommandFailure(sentence) }
            return CommandFailure(
                "\(sentence)\n  The first \(sent) lines were taken; importing the file again stores none of them twice."
            )
        }
    }
}

/// Whole lines of a file that go in one request.
private struct LineBatch {
    var bytes: [UInt8]
    /// Of its first line, from 1.
    var number: Int
    var lineCount: Int

    var place: String {
        lineCount == 1 ? "line \(number)" : "lines \(number) to \(number + lineCount - 1)"
    }

    /// The numbers of the lines that hold something.
    var eventLines: [Int] {
        bytes.split(separator: 0x0a, omittingEmptySubsequences: false).enumerated()
            .filter { $0.element.contains { byte in byte > 0x20 } }.map { number + $0.offset }
    }

    /// nil for a single line.
    var halves: (LineBatch, LineBatch)? {
        guard lineCount > 1 else { return nil }
        var lines = 0
        guard
            let end = bytes.firstIndex(where: { byte in
                lines += byte == 0x0a ? 1 : 0
                return lines == lineCount / 2
            })
        else { return nil }
        return (
            LineBatch(bytes: Array(bytes[...end]), number: number, lineCount: lines),
            LineBatch(bytes: Array(bytes[(end + 1)...]), number: number + lines, lineCount: lineCount - lines)
        )
    }
}

/// The lines of a file in batches.
private struct LineBatches {
    private static let linesMax = 1000
    private static let bytesMax = 2 << 20
    /// More than any server takes in one body.
    private static let lineBytesMax = 64 << 20

    private let input: FileHandle
    private var rest: [UInt8] = []
    private var number = 1
    private var isOver = false

    init(_ input: FileHandle) { self.input = input }

    /// The next whole lines, at most a batch of them; nil at the end.
    mutating func next() throws -> LineBatch? {
        while true {
            if let batch = cut() { return batch }
            if isOver { return nil }
            guard rest.count <= Self.lineBytesMax else {
                throw CommandFailure(
                    "line \(number) is longer than \(Self.lineBytesMax >> 20) MB; one line is one event")
            }
            let isFirst = number == 1 && rest.isEmpty
            guard let piece = try input.read(upToCount: 1 << 20), !piece.isEmpty else {
                isOver = true
                continue
            }
            if isFirst, piece.starts(with: [0x1f, 0x8b]) || piece.starts(with: [0x28, 0xb5, 0x2f, 0xfd]) {
                throw CommandFailure(
                    "the file is compressed; unpack it on the way: zcat FILE (or zstdcat) | aurum events import -")
            }
            rest.append(contentsOf: piece)
        }
    }

    private mutating func cut() -> LineBatch? {
        var lines = 0
        var end = 0
        for (index, byte) in rest.enumerated() where byte == 0x0a {
            if index >= Self.bytesMax, end > 0 { break }
            lines += 1
            end = index + 1
            if lines == Self.linesMax { break }
        }
        if lines < Self.linesMax, end < Self.bytesMax, !isOver { return nil }
        if isOver, end == 0 { (end, lines) = (rest.count, 1) }
        guard end > 0 else { return nil }
        let batch = LineBatch(bytes: Array(rest.prefix(end)), number: number, lineCount: lines)
        rest.removeFirst(end)
        number += lines
        return batch
    }
}
