import AurumCore
import Events
import Foundation
import Testing

/// Periods of local time against Foundation's calendar.
struct PeriodCalendarTests {
    @Test(arguments: ["UTC", "America/New_York", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"])
    func `periods begin when the calendar says so, over every change of clocks`(zone: String) throws {
        let (from, to) = (Int64(1_577_836_800), Int64(1_830_297_600))
        var calendar = Calendar(identifier: .iso8601)
        calendar.timeZone = try #require(TimeZone(identifier: zone))
        let units: [(Period, Calendar.Component)] = [(.day, .day), (.week, .weekOfYear), (.month, .month)]
        for (period, component) in units {
            let own = try #require(
                PeriodCalendar(zone: zone, period: period, from: from * 1_000_000, to: to * 1_000_000))
            var random = SeededRandom(seed: 5)
            for _ in 0..<3000 {
                let second = Int64.random(in: from..<to, using: &random)
                let date = Date(timeIntervalSince1970: Double(second))
                let interval = try #require(calendar.dateInterval(of: component, for: date))
                let number = own.period(of: second * 1_000_000)
                #expect(own.start(of: number) == Int64(interval.start.timeIntervalSince1970) * 1_000_000)
                #expect(own.start(of: number + 1) == Int64(interval.end.timeIntervalSince1970) * 1_000_000)
                let parts = calendar.dateComponents([.year, .month, .day], from: interval.start)
                let name = String(format: "%04d-%02d-%02d", parts.year ?? 0, parts.month ?? 0, parts.day ?? 0)
                #expect(own.name(of: number) == name)
            }
        }
    }
}
