internal import AsyncHTTPClient
package import AurumCore
internal import Foundation
internal import NIOCore
internal import NIOHTTP1

/// A headless Chromium, driven over the W3C WebDriver protocol through Debian's chromium-driver.
package final class WebDriver: Sendable {
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
        package init(description: String) { self.description = description }
    }

    private let driver: ChildProcess
    private let base: String
    private let session: String

    private init(driver: ChildProcess, base: String, session: String) {
        self.driver = driver
        self.base = base
        self.session = session
    }

    /// Starts a browser with a fresh profile.
    /// - Parameters:
    ///   - dark: prefers-color-scheme.
    ///   - size: window in CSS pixels.
    package static func start(dark: Bool = false, size: (width: Int, height: Int) = (1280, 900)) async throws
        -> WebDriver
    {
        let driver = try ChildProcess("/usr/bin/chromedriver", ["--port=0"])
        let line = try await driver.line(containing: "started successfully on port", within: .seconds(20))
        guard
            let port = line.split(separator: " ").last.flatMap({
                Int($0.trimmingCharacters(in: .punctuationCharacters))
            })
        else { throw Failure(description: "no port in: \(line)") }
        let base = "http://127.0.0.1:\(port)"
        var arguments: [JSONValue] = [
            "--headless=new", "--disable-gpu", "--disable-dev-shm-usage",
            .string("--window-size=\(size.width),\(size.height)"),
            // Headless Chromium names itself and would rightly be counted as a bot.
            "--user-agent=Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
        ]
        if geteuid() == 0 { arguments.append("--no-sandbox") }
        if dark { arguments.append("--blink-settings=preferredColorScheme=0") }
        let answer = try await call(
            "POST", base + "/session",
            [
                "capabilities": [
                    "alwaysMatch": [
                        "browserName": "chrome", "goog:chromeOptions": ["args": .array(arguments)],
                        "goog:loggingPrefs": ["browser": "ALL"],
                    ]
                ]
            ])
        guard let session = answer["sessionId"]?.string else { throw Failure(description: "no session") }
        return WebDriver(driver: driver, base: base, session: "\(base)/session/\(session)")
    }

    package func open(_ url: String) async throws {
        _ = try await Self.call("POST", session + "/url", ["url": .string(url)])
    }

    /// Runs a function body in the page and answers what it returns.
    @discardableResult
    package func run(_ script: String, _ arguments: [JSONValue] = []) async throws -> JSONValue {
        try await Self.call("POST", session + "/execute/sync", ["script": .string(script), "args": .array(arguments)])
    }

    /// Waits until the function body answers something other than null, false or "".
    @discardableResult
    package func wait(
        for what: String, within: Duration = .seconds(15), _ script: String, _ arguments: [JSONValue] = []
    ) async throws -> JSONValue {
        let deadline = ContinuousClock.now + within
        while true {
            let value = try await run(script, arguments)
            if value != .null, value != false, value != "" { return value }
            guard ContinuousClock.now < deadline else {
                let text = try await run("return document.body.innerText.slice(0, 2000)")
                throw Failure(description: "waited for \(what); the page says: \(text.string ?? "")")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// Makes the page this large, in CSS pixels: also narrower than the narrowest window.
    package func resize(width: Int, height: Int = 844) async throws {
        let metrics: JSONValue = [
            "width": .integer(Int64(width)), "height": .integer(Int64(height)), "deviceScaleFactor": 1,
            "mobile": false,
        ]
        _ = try await Self.call(
            "POST", session + "/goog/cdp/execute",
            ["cmd": "Emulation.setDeviceMetricsOverride", "params": metrics])
    }

    /// A PNG of the window.
    package func screenshot(to path: String) async throws {
        let answer = try await Self.call("GET", session + "/screenshot", nil)
        guard let data = answer.string.flatMap({ Data(base64Encoded: $0) }) else {
            throw Failure(description: "no picture")
        }
        try data.write(to: URL(fileURLWithPath: path))
    }

    /// Console messages since the last call, errors and warnings only.
    package func consoleProblems() async throws -> [String] {
        let answer = try await Self.call("POST", session + "/se/log", ["type": "browser"])
        return (answer.array ?? []).compactMap { entry in
            guard let level = entry["level"]?.string, level == "SEVERE" || level == "WARNING" else { return nil }
            return entry["message"]?.string
        }
    }

    /// Ends the browser and its driver.
    package func stop() async {
        _ = try? await Self.call("DELETE", session, nil)
        // It outlives SIGTERM.
        driver.kill()
    }

    private static func call(_ method: String, _ url: String, _ body: JSONValue?) async throws -> JSONValue {
        var request = HTTPClientRequest(url: url)
        request.method = .init(rawValue: method)
        if let body {
            request.headers.add(name: "content-type", value: "application/json")
            request.body = .bytes(ByteBuffer(string: body.canonical))
        }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(60))
        let data = try await response.body.collect(upTo: 64 << 20)
        let answer = try JSONDecoder().decode(JSONValue.self, from: Data(data.readableBytesView))
        guard response.status == .ok else {
            throw Failure(
                description: "\(url): \(answer["value"]?["message"]?.string ?? "status \(response.status.code)")")
        }
        return answer["value"] ?? .null
    }
}
