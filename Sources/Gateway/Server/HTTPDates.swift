internal import Foundation
internal import Synchronization

/// The `Date` of answers, made once a second. Source: RFC 9110, section 5.6.7.
final class HTTPDates: Sendable {
    private let last = Mutex<(second: Int, text: String)>((.min, ""))

    /// By the system's clock, as every server's is.
    var now: String {
        let second = time(nil)
        return last.withLock { last in
            if last.second != second { last = (second, Self.text(second)) }
            return last.text
        }
    }

    private static func text(_ second: Int) -> String {
        let format = DateFormatter()
        format.locale = Locale(identifier: "en_US_POSIX")
        format.timeZone = TimeZone(identifier: "GMT")
        format.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        return format.string(from: Date(timeIntervalSince1970: Double(second)))
    }
}
