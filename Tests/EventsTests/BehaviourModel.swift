import AurumCore
import Events
import Foundation
import Logging
import Telemetry
import TestSupport

/// A query engine over a log, at the time of these tests.
func openEngine(_ log: EventLog) -> QueryEngine {
    QueryEngine(
        source: log.store, registry: MetricRegistry(), clock: ManualWallClock(testNow),
        logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
}

/// One event of the plain model, in the order in which it was sent.
struct PlainEvent: Sendable {
    var id: String
    var person: String
    var app: String
    /// Milliseconds since 1970.
    var time: Int64
    var name: String
    var source: String?
    /// Millionths.
    var value: Int64?
    var currency: String?
    var session: String?

    var line: String {
        var members: [String: JSONValue] = [
            "id": .string(id), "type": "track", "name": .string(name), "ts": .integer(time),
            person.hasPrefix("u") ? "user_id" : "anonymous_id": .string(person),
        ]
        if let source { members["campaign"] = ["source": .string(source)] }
        if let value, let currency {
            members["value"] = .string(Millionths(value: value).decimal)
            members["currency"] = .string(currency)
        }
        if let session { members["session_id"] = .string(session) }
        return JSONValue.object(members).canonical
    }

    static let names = ["a", "b", "c", "d", "e"]

    /// Events with many equal times, long silences and streaks.
    static func some(_ count: Int, persons: Int, days: Int64, now: Int64, random: inout SeededRandom) -> [PlainEvent] {
        var clocks: [Int: Int64] = [:]
        return (0..<count).map { number in
            let person = Int.random(in: 0..<persons, using: &random)
            var time: Int64
            if let last = clocks[person], Int.random(in: 0..<4, using: &random) > 0 {
                time = last + [0, 1000, 60_000, 1_800_000, 1_801_000, 3_600_000][Int.random(in: 0..<6, using: &random)]
            } else {
                time = now - Int64.random(in: 0..<days * 86_400, using: &random) * 1000
            }
            time = min(time, now)
            clocks[person] = time
            let hasValue = Int.random(in: 0..<3, using: &random) == 0
            return PlainEvent(
                id: "e\(number)", person: (person % 2 == 0 ? "u" : "a") + "\(person)",
                app: Int.random(in: 0..<5, using: &random) == 0 ? "game" : "shop", time: time,
                name: names[Int.random(in: 0..<names.count, using: &random)],
                source: [nil, "google", "bing"][Int.random(in: 0..<3, using: &random)],
                value: hasValue ? Int64.random(in: 1...5_000_000, using: &random) : nil,
                currency: hasValue ? ["USD", "EUR"][Int.random(in: 0..<2, using: &random)] : nil,
                session: [nil, "s1", "s2"][Int.random(in: 0..<3, using: &random)])
        }
    }
}

/// Each question answered person by person, as plainly as it can be said.
struct BehaviourModel {
    let events: [PlainEvent]

    /// The events of each person by time; those of one moment as they were sent.
    private func lives(_ keep: (PlainEvent) -> Bool = { _ in true }) -> [[PlainEvent]] {
        Dictionary(grouping: events.enumerated().filter { keep($0.element) }, by: \.element.person).values.map { life in
            life.sorted { ($0.element.time, $0.offset) < ($1.element.time, $1.offset) }.map(\.element)
        }
    }

    // MARK: funnel

    struct Funnel: Equatable {
        var persons: [Int]
        /// Milliseconds, sorted, by step.
        var times: [[Int64]]
    }

    func funnel(
        _ steps: [(PlainEvent) -> Bool], order: String, window: Int64, range: Range<Int64>
    ) -> [String?: Funnel] {
        var groups: [String?: Funnel] = [:]
        let none = Funnel(persons: steps.map { _ in 0 }, times: steps.map { _ in [] })
        for life in lives({ $0.time >= range.lowerBound && $0.time < range.upperBound + window }) {
            var best: (source: String?, times: [Int64])?
            for start in life.indices where life[start].time < range.upperBound {
                let times = attempt(life, start, steps, order, window)
                if times.count > best?.times.count ?? 0 { best = (life[start].source, times) }
            }
            guard let best else { continue }
            for (step, time) in best.times.enumerated() {
                groups[best.source, default: none].persons[step] += 1
                if step > 0 { groups[best.source, default: none].times[step].append(time - best.times[step - 1]) }
            }
        }
        return groups.mapValues { Funnel(persons: $0.persons, times: $0.times.map { $0.sorted() }) }
    }

    private func attempt(
        _ life: [PlainEvent], _ start: Int, _ steps: [(PlainEvent) -> Bool], _ order: String, _ window: Int64
    ) -> [Int64] {
        let begin = life[start].time
        if order == "any" {
            guard steps.contains(where: { $0(life[start]) }) else { return [] }
            return steps.compactMap { step in
                life[start...].first { step($0) && $0.time - begin <= window }?.time
            }.sorted()
        }
        guard steps[0](life[start]) else { return [] }
        var times = [begin]
        var at = start
        for step in steps.dropFirst() {
            let rest = order == "strict" ? life[(at + 1)...].prefix(1) : life[(at + 1)...]
            guard let next = rest.firstIndex(where: step), life[next].time - begin <= window else { break }
            times.append(life[next].time)
            at = next
        }
        return times
    }

    // MARK: retention and cohorts

    struct Period {
        let calendar: Calendar
        let unit: String

        init(zone: String, unit: String) {
            var calendar = Calendar(identifier: .iso8601)
            calendar.timeZone = TimeZone(identifier: zone) ?? .gmt
            (self.calendar, self.unit) = (calendar, unit)
        }

        private func start(_ time: Int64) -> Date {
            let date = Date(timeIntervalSince1970: Double(time) / 1000)
            switch unit {
            case "day": return calendar.startOfDay(for: date)
            case "week": return calendar.dateInterval(of: .weekOfYear, for: date)?.start ?? date
            default: return calendar.dateInterval(of: .month, for: date)?.start ?? date
            }
        }

        func name(_ time: Int64) -> String {
            let parts = calendar.dateComponents([.year, .month, .day], from: start(time))
            return String(format: "%04d-%02d-%02d", parts.year ?? 0, parts.month ?? 0, parts.day ?? 0)
        }

        func distance(_ from: Int64, _ to: Int64) -> Int {
            let component: Calendar.Component = unit == "day" ? .day : unit == "week" ? .weekOfYear : .month
            return calendar.dateComponents([component], from: start(from), to: start(to)).value(for: component) ?? 0
        }

        /// The end of the day that comes `days` after the one of `time`, in milliseconds.
        func end(ofDay days: Int, after time: Int64) -> Int64 {
            let day = calendar.date(byAdding: .day, value: days + 1, to: calendar.startOfDay(for: start(time)))
            return Int64(((day ?? .distantPast).timeIntervalSince1970 * 1000).rounded())
        }
    }

    struct Retention: Equatable {
        var persons = 0
        var eligible: [Int]
        var returned: [Int]
    }

    func retention(
        first: (PlainEvent) -> Bool, comeBack: (PlainEvent) -> Bool, mode: String, days: [Int], range: Range<Int64>,
        zone: String, now: Int64
    ) -> Retention {
        let calendar = Period(zone: zone, unit: "day")
        var result = Retention(eligible: days.map { _ in 0 }, returned: days.map { _ in 0 })
        for life in lives() {
            guard let begin = life.firstIndex(where: { first($0) && range.contains($0.time) }) else { continue }
            result.persons += 1
            let later = life[begin...].filter(comeBack).map { calendar.distance(life[begin].time, $0.time) }
            for (index, day) in days.enumerated() where calendar.end(ofDay: day, after: life[begin].time) <= now {
                result.eligible[index] += 1
                let isBack =
                    switch mode {
                    case "classic": later.contains(day)
                    case "rolling": later.contains { (1...day).contains($0) }
                    default: later.contains { $0 >= day }
                    }
                if isBack { result.returned[index] += 1 }
            }
        }
        return result
    }

    struct Cell: Equatable {
        var persons = 0
        var count = 0
        var values: [String: Int64] = [:]
    }

    func cohorts(
        first: (PlainEvent) -> Bool, later: (PlainEvent) -> Bool, period: Period, range: Range<Int64>
    ) -> [String: [Int: Cell]] {
        var cohorts: [String: [Int: Cell]] = [:]
        for life in lives({ range.contains($0.time) }) {
            guard let begin = life.firstIndex(where: first) else { continue }
            var mine: [Int: Cell] = [:]
            for event in life[begin...] where later(event) {
                let after = period.distance(life[begin].time, event.time)
                mine[after, default: Cell()].persons = 1
                mine[after, default: Cell()].count += 1
                if let value = event.value, let currency = event.currency {
                    mine[after, default: Cell()].values[currency, default: 0] += value
                }
            }
            let name = period.name(life[begin].time)
            cohorts[name, default: [:]].merge(mine) { old, new in
                Cell(
                    persons: old.persons + new.persons, count: old.count + new.count,
                    values: old.values.merging(new.values, uniquingKeysWith: +))
            }
        }
        return cohorts
    }

    // MARK: paths

    func paths(
        _ anchor: (PlainEvent) -> Bool, isForward: Bool, depth: Int, window: Int64, range: Range<Int64>
    ) -> [[String]: Int] {
        var counts: [[String]: Int] = [:]
        let wide =
            isForward ? range.lowerBound..<range.upperBound + window : range.lowerBound - window..<range.upperBound
        for life in lives({ wide.contains($0.time) }) {
            guard let begin = life.firstIndex(where: { anchor($0) && range.contains($0.time) }) else { continue }
            let rest = isForward ? Array(life[begin...]) : Array(life[...begin].reversed())
            var path: [String] = []
            for event in rest where abs(event.time - life[begin].time) <= window {
                if path.last != event.name { path.append(event.name) }
            }
            let cut = Array(path.prefix(depth + 1))
            counts[isForward ? cut : cut.reversed(), default: 0] += 1
        }
        return counts
    }

    // MARK: sessions

    struct Visit: Hashable {
        var person: String
        var app: String
        var start: Int64
        var end: Int64
        var events: Int
        var entry: String
        var exit: String
    }

    func sessions(gap: Int64, range: Range<Int64>) -> [Visit] {
        var visits: [Visit] = []
        // Who goes on for longer than this without a pause is told from what came before by this much of it.
        let earliest = range.lowerBound - 86_400_000 - gap
        for life in lives() {
            for (app, all) in Dictionary(grouping: life, by: \.app) {
                let own = all.filter { $0.time >= earliest }
                var open: [PlainEvent] = []
                func close() {
                    guard let first = open.first, let last = open.last, range.contains(first.time) else { return }
                    visits.append(
                        Visit(
                            person: first.person, app: app, start: first.time, end: last.time, events: open.count,
                            entry: open.filter { $0.time == first.time }.map(\.name).min() ?? "",
                            exit: open.filter { $0.time == last.time }.map(\.name).max() ?? ""))
                }
                for event in own {
                    if let first = open.first, let last = open.last,
                        event.time - last.time > gap || event.time - first.time > 86_400_000
                    {
                        close()
                        open = []
                    }
                    open.append(event)
                }
                close()
            }
        }
        return visits
    }
}
