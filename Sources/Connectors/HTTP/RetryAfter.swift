internal import AurumCore
internal import Foundation

/// How long a server asks to be left alone. Source: RFC 9110, sections 5.6.7 and 10.2.3.
enum RetryAfter {
    /// More is as long as anybody waits.
    private static let secondsMax: Int64 = 1_000_000
    static let longest: Duration = .seconds(secondsMax)

    /// Seconds, or a date as HTTP writes it; nil for what is neither.
    static func wait(_ text: String, now: Timestamp?) -> Duration? {
        let text = text.trimmingCharacters(in: .whitespaces)
        if !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }) {
            return .seconds(min(Int64(text) ?? secondsMax, secondsMax))
        }
        guard let now, let date = date(text) else { return nil }
        return min(max(.zero, date - now), longest)
    }

    static func date(_ text: String) -> Timestamp? {
        let format = DateFormatter()
        format.locale = Locale(identifier: "en_US_POSIX")
        format.timeZone = TimeZone(identifier: "GMT")
        format.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
        return format.date(from: text).map { Timestamp(milliseconds: Int64($0.timeIntervalSince1970) * 1000) }
    }
}
