package import AurumCore

/// Which of the backups that a server makes by itself are kept: all of a day, then the last of each day for thirty.
/// A backup's folder is named by its time, and whatever has another name is nobody's business.
package enum BackupRetention {
    package static let allFor: Duration = .seconds(86_400)
    package static let dailyFor: Duration = .seconds(30 * 86_400)
    private static let dayMicroseconds: Int64 = 86_400_000_000
    /// Ending of a backup that is being made, or whose process ended in the middle of it.
    package static let unfinished = ".unfinished"
    /// Ending of one that was read back and is not whole.
    package static let damaged = ".damaged"
    /// `2026-11-22T10-15-00`, before its `Z`.
    private static let digits = 19

    /// The name of a folder, to the second: `2026-11-22T10-15-00Z`.
    package static func name(at time: Timestamp) -> String {
        String(time.rfc3339.prefix(digits)).replacing(":", with: "-") + "Z"
    }

    /// When the backup of this name was made; nil for a name that is none of ours.
    package static func time(of name: String) -> Timestamp? {
        guard name.utf8.count == digits + 1, name.hasSuffix("Z") else { return nil }
        let (day, clock) = (name.prefix(10), name.dropFirst(10).replacing("-", with: ":"))
        guard let time = Timestamp(rfc3339: day + clock), Self.name(at: time) == name else { return nil }
        return time
    }

    /// Until the next one is due, zero or less when it is. What a clock that ran ahead has named does not count: after
    /// such a clock was put right, nothing would be made until it is that time.
    package static func untilDue(_ names: [String], every: Duration, now: Timestamp) -> Duration {
        let newest = names.compactMap { time(of: $0) }.filter { $0 <= now }.max()
        return newest.map { $0 + every - now } ?? .zero
    }

    /// The names of what is no backup and need not be kept: unfinished ones of more than a day, whose process has
    /// ended, and damaged ones but for the newest, which goes after a day too. One that cannot be whole is tried every
    /// few minutes, and each takes the room of a site.
    package static func leftovers(_ names: [String], now: Timestamp) -> [String] {
        func made(_ ending: String) -> [(name: String, time: Timestamp)] {
            names.compactMap { name in
                guard name.hasSuffix(ending) else { return nil }
                return time(of: String(name.dropLast(ending.count))).map { (name, $0) }
            }
        }
        let broken = made(damaged).sorted { $0.time < $1.time }
        let old = (made(unfinished) + broken.suffix(1)).filter { now - $0.time > allFor }
        return (broken.dropLast() + old).map(\.name)
    }

    /// The names that need not be kept any more, oldest first. The newest backup is always kept.
    package static func superfluous(_ names: [String], now: Timestamp) -> [String] {
        let all = names.compactMap { name in time(of: name).map { (name: name, time: $0) } }
            .sorted { $0.time > $1.time }
        var days: Set<Int64> = []
        var gone: [String] = []
        for (place, one) in all.enumerated() {
            let isLastOfDay = days.insert(one.time.microseconds / dayMicroseconds).inserted
            let age = now - one.time
            if place == 0 || age <= allFor || (isLastOfDay && age <= dailyFor) { continue }
            gone.append(one.name)
        }
        return gone.reversed()
    }
}
