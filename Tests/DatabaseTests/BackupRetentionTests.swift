import AurumCore
import Database
import Testing

/// Which backups a server keeps of those that it made by itself.
struct BackupRetentionTests {
    private static let now = Timestamp(rfc3339: "2026-11-22T10:15:00Z") ?? Timestamp(microseconds: 0)

    private func name(_ ago: Duration) -> String { BackupRetention.name(at: Self.now - ago) }
    private func hours(_ count: Int) -> Duration { .seconds(count * 3600) }

    @Test func `a name says the time, and no other name does`() {
        #expect(BackupRetention.name(at: Self.now) == "2026-11-22T10-15-00Z")
        #expect(BackupRetention.time(of: "2026-11-22T10-15-00Z") == Self.now)
        for name in [
            "", "2026-11-22", "2026-11-22T10-15-00", "2026-11-22T10:15:00Z", "2026-13-22T10-15-00Z",
            "2026-11-22T10-15-00Z.unfinished", "before-the-upgrade--Z", "2026_11-22T10-15-00Z", "2026-11-22 10-15-00Z",
        ] { #expect(BackupRetention.time(of: name) == nil, "\(name)") }
    }

    @Test func `all of a day are kept, then the last of each day for thirty days`() {
        let quarters = (0..<(40 * 96)).map { name(.seconds($0 * 900)) }
        let gone = Set(BackupRetention.superfluous(quarters.shuffled(), now: Self.now))
        let kept = quarters.filter { !gone.contains($0) }
        // 24 hours and both their ends; the 21st has its last one among them. Then the lasts that are at most thirty
        // days old.
        let day = quarters.prefix(97)
        #expect(Array(kept.prefix(97)) == Array(day))
        let lasts = kept.dropFirst(97)
        #expect(lasts.allSatisfy { $0.hasSuffix("T23-45-00Z") }, "\(lasts)")
        #expect(lasts.first == "2026-11-20T23-45-00Z" && lasts.last == "2026-10-23T23-45-00Z", "\(lasts)")
        #expect(lasts.count == 29)
        // Doing it again takes nothing.
        #expect(BackupRetention.superfluous(kept, now: Self.now).isEmpty)
    }

    @Test func `the newest is kept however old it is, and strangers are left alone`() {
        let old = name(hours(24 * 400))
        #expect(BackupRetention.superfluous([old], now: Self.now).isEmpty)
        let older = name(hours(24 * 500))
        #expect(BackupRetention.superfluous([old, "mine", older, ".DS_Store"], now: Self.now) == [older])
        #expect(BackupRetention.superfluous(["mine", "2020"], now: Self.now).isEmpty)
    }

    @Test func `backups of a clock that ran ahead are kept`() {
        let names = [name(.zero), name(.zero - hours(50)), name(hours(1))]
        #expect(BackupRetention.superfluous(names, now: Self.now).isEmpty)
    }

    @Test func `one is due when the newest is old enough, and a name of the future keeps nobody waiting`() {
        func due(_ names: [String]) -> Duration {
            BackupRetention.untilDue(names, every: .seconds(900), now: Self.now)
        }
        #expect(due([]) == .zero && due(["mine"]) == .zero)
        #expect(due([name(hours(2)), name(.seconds(300))]) == .seconds(600))
        #expect(due([name(.seconds(900))]) == .zero)
        #expect(due([name(.zero - hours(50)), name(.seconds(300))]) == .seconds(600))
        #expect(due([name(.zero - hours(50)), name(.seconds(1000))]) == .seconds(-100))
    }

    @Test func `of what is not whole the newest stays for a day`() {
        let (damaged, unfinished) = (BackupRetention.damaged, BackupRetention.unfinished)
        let names = [
            name(hours(1)) + damaged, name(hours(3)), name(hours(2)) + damaged, "mine" + damaged,
            name(hours(5)) + unfinished,
            name(hours(25)) + unfinished, name(hours(30)), "mine",
        ]
        #expect(
            BackupRetention.leftovers(names, now: Self.now) == [name(hours(2)) + damaged, name(hours(25)) + unfinished])
        #expect(BackupRetention.leftovers([name(hours(25)) + damaged], now: Self.now) == [name(hours(25)) + damaged])
        #expect(BackupRetention.leftovers([name(hours(23)) + damaged], now: Self.now).isEmpty)
    }
}
