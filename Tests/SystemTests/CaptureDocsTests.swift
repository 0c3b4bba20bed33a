import AurumCore
import Foundation
import TestSupport
import Testing
import Validation

/// The examples of docs/capture.md, run as a reader would run them.
struct CaptureDocsTests {
    private struct Example {
        var command: String
        /// What the command prints, as the page says.
        var prints: String
    }

    /// Blocks of commands and the block of text that follows each.
    private static func examples() throws -> [Example] {
        let page = try String(contentsOfFile: AurumBinary.root + "/docs/capture.md", encoding: .utf8)
        var blocks: [(kind: String, text: String)] = []
        var open: (kind: String, lines: [Substring])?
        for line in page.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("```") {
                if let block = open {
                    blocks.append((block.kind, block.lines.joined(separator: "\n")))
                    open = nil
                } else {
                    open = (String(line.dropFirst(3)), [])
                }
            } else {
                open?.lines.append(line)
            }
        }
        return blocks.indices.dropLast().compactMap { index in
            guard blocks[index].kind == "sh", blocks[index + 1].kind == "text" else { return nil }
            return Example(command: blocks[index].text, prints: blocks[index + 1].text)
        }
    }

    @Test func `every example of the page prints what the page says`() async throws {
        let server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
        let target = try await server.start()
        let admin = TestClient(url: target.url, key: target.adminToken)
        let key = try await admin.makeKey(["events:write", "events:read"], app: "shop")
        let site = try await admin.makeKey(
            ["events:write"], app: "shop", publishable: true, origins: ["https://www.example.com"])
        let examples = try Self.examples()
        #expect(examples.count >= 12)
        for example in examples {
            let shell = try ChildProcess(
                "/bin/bash", ["-euo", "pipefail", "-c", example.command],
                environment: ["AURUM": target.url, "KEY": key.key, "SITE_KEY": site.key])
            let status = try await shell.exit()
            let printed = shell.output.trimmingCharacters(in: .whitespacesAndNewlines)
            #expect(status == 0 && Self.matches(printed, example.prints), "\(example.command)\n→ \(printed)")
        }
        let stored = try await key.get("/v1/events?app=shop&limit=1000")
        let formats = Set((stored.body["events"]?.array ?? []).compactMap { $0["source_format"]?.string })
        #expect(formats == ["native", "segment", "rudder", "posthog", "ga4", "pixel", "click", "install"])
        await server.stop()
    }

    /// `…` stands for anything.
    private static func matches(_ text: String, _ pattern: String) -> Bool {
        let parts = pattern.trimmingCharacters(in: .whitespacesAndNewlines).components(separatedBy: "…")
        guard parts.count > 1 else { return text == parts[0] }
        guard text.hasPrefix(parts[0]), text.hasSuffix(parts[parts.count - 1]) else { return false }
        var rest = text[...]
        for part in parts where !part.isEmpty {
            guard let found = rest.range(of: part) else { return false }
            rest = rest[found.upperBound...]
        }
        return true
    }

    @Test func `the page and the API's document name the same routes`() async throws {
        let page = try String(contentsOfFile: AurumBinary.root + "/docs/capture.md", encoding: .utf8)
        let server = SpawnedServer(executable: AurumBinary.path, environment: ["AURUM_LOG_LEVEL": "error"])
        let target = try await server.start()
        let document = try await TestClient(url: target.url, key: "").get("/openapi.json")
        var capture: Set<String> = []
        for (path, operations) in document.body["paths"]?.object ?? [:] {
            for (method, operation) in operations.object ?? [:] {
                let isCapture =
                    operation["x-aurum-scope"] == "events:write"
                    || (operation["tags"] == ["events"] && operation["x-aurum-scope"] == nil
                        && !path.hasPrefix("/schemas"))
                if isCapture { capture.insert("\(method.uppercased()) \(path)") }
            }
        }
        #expect(capture.count >= 27)
        for route in capture { #expect(page.contains("`\(route)`"), "docs/capture.md lacks \(route)") }
        for match in page.matches(of: /`((?:GET|POST) \/[^`? ]+)`/) {
            #expect(
                capture.contains(String(match.output.1)) || match.output.1.hasPrefix("GET /v1/"),
                "docs/capture.md names \(match.output.1), which does not exist")
        }
        await server.stop()
    }
}
