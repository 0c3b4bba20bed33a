internal import Logging

extension Logger {
    /// What is measured says what it has to say in rows, never between them.
    static var silent: Logger { Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() } }
}
