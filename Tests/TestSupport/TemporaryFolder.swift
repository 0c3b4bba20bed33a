package import Foundation

/// A folder of its own for one test, removed with the value.
package final class TemporaryFolder: Sendable {
    package let path: String

    package init() {
        path = NSTemporaryDirectory() + "aurum-test-" + UUID().uuidString
        try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    package func file(_ name: String) -> String { path + "/" + name }
}

/// Files that tests read: `Tests/Fixtures`.
package enum Fixture {
    package static func data(_ name: String) throws -> Data {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        return try Data(contentsOf: root.appendingPathComponent("Fixtures/\(name)"))
    }
}

/// How many seeded runs a test makes: the full count in `make soak`, a twenty-fifth otherwise.
package func soakCount(_ full: Int) -> Int {
    ProcessInfo.processInfo.environment["TEST_SOAK"] == nil ? max(1, full / 25) : full
}
