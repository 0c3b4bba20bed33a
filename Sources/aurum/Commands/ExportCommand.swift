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
            discussion: """
                The name of the file says how it is written: .csv, .ndjson or .jsonl, then .gz or .zst where it is \
                compressed. It is written whole or not at all; its SHA-256 is printed.
                Example: aurum events export --last 7d --where "name = purchase" --out week.csv.gz
                """)

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
        @Option(name: .long, help: "ndjson or csv; by the name of the file unless told, else ndjson.")
        var format: ExportRequest.Format?
        @Option(name: .long, help: "gzip, zstd or none; by the name of the file unless told, else none.")
        var compression: ExportRequest.Compression?
        @Option(name: .long, help: "Columns with commas between: id,ts,props.plan")
        var columns: String?
        @Option(
            name: .long,
            help: "ads leaves out events that refuse advertising; any leaves out none, and the log records it.")
        var consent = ExportRequest.Consent.ads
        @Option(name: .long, help: "The file to write.")
        var out: String
        @Option(name: .long, help: "Organisation (without a running server).")
        var org = "default"

        func validate() throws {
            let named = ExportFileName(out)
            if let format, let other = named.format, format != other {
                throw ValidationError("--format \(format.rawValue) and the name \(out) say different things")
            }
            if let compression, let other = named.compression, compression != other {
                throw ValidationError("--compression \(compression.rawValue) and the name \(out) say different things")
            }
        }

        private var body: JSONValue {
            let named = ExportFileName(out)
            var members: [String: JSONValue] = [
                "format": .string((format ?? named.format ?? .ndjson).rawValue),
                "compression": .string((compression ?? named.compression ?? ExportRequest.Compression.none).rawValue),
                "timezone": .string(timezone), "consent": .string(consent.rawValue),
            ]
            for (name, value) in [("from", from), ("to", to), ("last", last), ("where", condition)] {
                if let value { members[name] = .string(value) }
            }
            if !app.isEmpty { members["apps"] = .array(app.map { .string($0) }) }
            if let columns { members["columns"] = .array(columns.split(separator: ",").map { .string(String($0)) }) }
            return .object(members)
        }

        func run() async throws {
            try checkPlace()
            let configuration = try await options.read()
            let partial = out + ".part"
            let written: (rows: Int, bytes: Int, sha256: String, damagedBlocks: Int)
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                written = try await fetch(contact, to: partial)
            } else {
                written = try await write(configuration, to: partial)
            }
            guard rename(partial, out) == 0 else { throw CommandFailure("cannot write \(out)") }
            Output.line("\(written.rows) events, \(written.bytes) bytes, SHA-256 \(written.sha256)")
            if written.damagedBlocks > 0 {
                Output.line("left out what is damaged in \(written.damagedBlocks) blocks; see aurum events verify")
            }
        }

        /// Before anything is read: whether there can be such a file.
        private func checkPlace() throws {
            var isFolder: ObjCBool = false
            if FileManager.default.fileExists(atPath: out, isDirectory: &isFolder), isFolder.boolValue {
                throw CommandFailure("\(out) is a folder; give a file")
            }
            let parent = URL(fileURLWithPath: out).deletingLastPathComponent().path
            guard FileManager.default.fileExists(atPath: parent, isDirectory: &isFolder), isFolder.boolValue else {
                throw CommandFailure("there is no folder \(parent)")
            }
            guard FileManager.default.isWritableFile(atPath: parent) else {
                throw CommandFailure("the folder \(parent) cannot be written")
            }
        }

        private func write(
            _ configuration: AurumConfiguration, to path: String
        ) async throws -> (rows: Int, bytes: Int, sha256: String, damagedBlocks: Int) {
            var written = (rows: 0, bytes: 0, sha256: "", damagedBlocks: 0)
            let (body, org) = (body, org)
            try await EventsCommand.withLog(configuration) { log in
                do {
                    let now = SystemWallClock().now
                    let record = try ExportRequest(body, org: org, now: now, targets: ExportTargets())
                        .record(UID(now: now), org: org, actor: "command", at: now)
                    if let record { try await log.capture.appendInternal([InternalEvent(record)]) }
                    written = try await ExportService.write(body, org: org, from: log.store, now: now, to: path)
                } catch let error as BehaviourError {
                    throw CommandFailure(error)
                } catch let error as ExportError { throw CommandFailure("the export failed: \(error.sentence)") }
            }
            return written
        }

        private func fetch(
            _ contact: ServerContact, to path: String
        ) async throws -> (rows: Int, bytes: Int, sha256: String, damagedBlocks: Int) {
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
            func number(_ name: String) -> Int { Int(job[name]?.integer ?? 0) }
            return (number("rows"), number("bytes"), hash, number("damaged_blocks"))
        }

        private func download(_ contact: ServerContact, _ id: String, to path: String) async throws {
            var request = HTTPClientRequest(url: contact.url + "/v1/exports/\(id)/file")
            request.headers.add(name: "authorization", value: "Bearer \(contact.token)")
            request.headers.add(name: "accept-encoding", value: "identity")
            let response = try await ServerClient.send(request, to: contact.url, timeout: .hours(12))
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

/// What the name of a file says of how it is written.
struct ExportFileName {
    let format: ExportRequest.Format?
    let compression: ExportRequest.Compression?

    init(_ path: String) {
        var parts =
            path.lowercased().split(separator: "/").last?.split(separator: ".").dropFirst().map(String.init) ?? []
        switch parts.last {
        case "gz": compression = .gzip
        case "zst": compression = .zstd
        default: compression = nil
        }
        if compression != nil { parts.removeLast() }
        switch parts.last {
        case "csv": format = .csv
        case "ndjson", "jsonl": format = .ndjson
        default: format = nil
        }
    }
}

extension ExportRequest.Format: ExpressibleByArgument {}
extension ExportRequest.Compression: ExpressibleByArgument {}
extension ExportRequest.Consent: ExpressibleByArgument {}
