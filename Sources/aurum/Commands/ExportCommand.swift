internal import ArgumentParser
internal import AsyncHTTPClient
internal import AurumCore
internal import Events
internal import Foundation
internal import NIOCore
internal import NIOHTTP1

extension EventsCommand {
    /// Events into a file: as a job of the server that runs, or straight from a stopped server's log.
    struct Export: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write events to a file as NDJSON or CSV.",
            discussion: "The file is written whole or not at all; its SHA-256 is printed.")

        @OptionGroup var options: ConfigurationOptions
        @Option(name: .long, help: "First moment: a date, or RFC 3339.")
        var from: String?
        @Option(name: .long, help: "The moment after the last: a date, or RFC 3339.")
        var to: String?
        @Option(name: .long, help: "The last so many hours, days, weeks or months: 24h, 7d, 4w, 3mo.")
        var last: String?
        @Option(name: .long, help: "Time zone of dates.")
        var timezone = "UTC"
        @Option(name: .long, help: "Only this app; repeat for more.")
        var app: [String] = []
        @Option(name: .customLong("where"), help: "Only events that fit, for example \"name = purchase\".")
        var condition: String?
        @Option(name: .long, help: "ndjson or csv.")
        var format = "ndjson"
        @Option(name: .long, help: "gzip, zstd or none; by the name of the file unless told.")
        var compression: String?
        @Option(name: .long, help: "Columns with commas between: id,ts,props.plan")
        var columns: String?
        @Option(name: .long, help: "The file to write.")
        var out: String
        @Option(name: .long, help: "Organisation (without a running server).")
        var org = "default"

        private var body: JSONValue {
            let packing = out.hasSuffix(".gz") ? "gzip" : out.hasSuffix(".zst") ? "zstd" : "none"
            var members: [String: JSONValue] = [
                "format": .string(format), "compression": .string(compression ?? packing),
                "timezone": .string(timezone),
            ]
            for (name, value) in [("from", from), ("to", to), ("last", last), ("where", condition)] {
                if let value { members[name] = .string(value) }
            }
            if !app.isEmpty { members["apps"] = .array(app.map { .string($0) }) }
            if let columns { members["columns"] = .array(columns.split(separator: ",").map { .string(String($0)) }) }
            return .object(members)
        }

        func run() async throws {
            let configuration = try await options.read()
            let partial = out + ".part"
            let written: (rows: Int, bytes: Int, sha256: String)
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                written = try await fetch(contact, to: partial)
            } else {
                written = try await write(configuration, to: partial)
            }
            guard rename(partial, out) == 0 else { throw CommandFailure("cannot write \(out)") }
            Output.line("\(written.rows) events, \(written.bytes) bytes, SHA-256 \(written.sha256)")
        }

        private func write(
            _ configuration: AurumConfiguration, to path: String
        ) async throws -> (rows: Int, bytes: Int, sha256: String) {
            var written = (rows: 0, bytes: 0, sha256: "")
            let (body, org) = (body, org)
            try await EventsCommand.withLog(configuration) { log in
                do {
                    written = try await ExportService.write(
                        body, org: org, from: log.store, now: SystemWallClock().now, to: path)
                } catch let error as BehaviourError { throw CommandFailure(error) }
            }
            return written
        }

        private func fetch(
            _ contact: ServerContact, to path: String
        ) async throws -> (rows: Int, bytes: Int, sha256: String) {
            let client = ServerClient(contact: contact)
            var job = try await client.call("POST", "/v1/exports", body: body)
            let id = job["id"]?.string ?? ""
            while let state = job["state"]?.string, state == "queued" || state == "running" {
                try await Task.sleep(for: .milliseconds(100))
                job = try await client.call("GET", "/v1/exports/\(id)")
            }
            guard job["state"] == "done" else {
                throw CommandFailure("the export failed: \(job["error"]?.string ?? "unknown")")
            }
            try await download(contact, id, to: path)
            let hash = try ExportService.sha256(ofFile: path)
            guard hash == job["sha256"]?.string else {
                throw CommandFailure("the file that arrived is not the one that was written")
            }
            _ = try await client.call("DELETE", "/v1/exports/\(id)")
            return (Int(job["rows"]?.integer ?? 0), Int(job["bytes"]?.integer ?? 0), hash)
        }

        private func download(_ contact: ServerContact, _ id: String, to path: String) async throws {
            var request = HTTPClientRequest(url: contact.url + "/v1/exports/\(id)/file")
            request.headers.add(name: "authorization", value: "Bearer \(contact.token)")
            request.headers.add(name: "accept-encoding", value: "identity")
            let response = try await HTTPClient.shared.execute(request, timeout: .hours(12))
            guard response.status == .ok else {
                throw CommandFailure("the file was answered with status \(response.status.code)")
            }
            guard FileManager.default.createFile(atPath: path, contents: nil),
                let handle = FileHandle(forWritingAtPath: path)
            else { throw CommandFailure("cannot write \(path)") }
            for try await part in response.body { try handle.write(contentsOf: Data(part.readableBytesView)) }
            try handle.synchronize()
            try handle.close()
        }
    }
}
