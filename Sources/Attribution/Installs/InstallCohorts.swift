package import AurumCore
internal import Events

/// What cohorts of installs are asked.
package struct InstallCohortQuestion: Sendable, Equatable {
    package enum Dimension: String, Sendable, CaseIterable { case campaign, channel }
    /// Where somebody's time in the app begins.
    package enum Beginning: String, Sendable, CaseIterable {
        case install
        case reEngagement = "re_engagement"
    }

    package var beginning = Beginning.install
    package var period = CohortQuestion.Period.week
    package var dimension = Dimension.campaign
    /// Whose values are revenue.
    package var conversion = "purchase"
    /// nil means all.
    package var app: String?
    /// nil: `days` before `to`.
    package var from: CivilDate?
    /// Not included; nil: tomorrow.
    package var to: CivilDate?
    package var days = 90
    package var timezone = "UTC"

    /// Of one answer: those that are counted, and those that only take what comes after them.
    package var countedMax = 200_000
    package var takersMax = 2_000_000

    package static let daysMax = 400
    /// Conversions of the people behind one answer.
    package static let conversionsMax = 1_000_000
    package static let linesMax = 2000
    /// Days of 24 hours after the install on which somebody may be back.
    static let retentionDays: [Int64] = [0, 1, 7, 30]
    /// Days of 24 hours after the install within which revenue is counted.
    static let horizons: [Int64] = [1, 7, 30]
    static let dayMicroseconds: Int64 = 86_400_000_000

    package init() {}
}

/// An install that brings somebody, neither rejected as fraud nor one of a device that had the app before, or a
/// re-engagement.
struct InstallMember: Sendable {
    let app: String
    let at: Int64
    /// As the log knows it.
    let person: UInt64
    let key: String
    let beginning: InstallCohortQuestion.Beginning
    /// Not counted itself: only takes what it brought from others.
    var isOutside = false

    /// What somebody did afterwards: bit n for the n-th of `retentionDays`.
    var returned: UInt8 = 0

    init(
        app: String, at: Int64, person: UInt64, key: String,
        beginning: InstallCohortQuestion.Beginning = .install
    ) {
        (self.app, self.at, self.person, self.key, self.beginning) = (app, at, person, key, beginning)
    }

    /// The same as one that only takes what comes after it.
    var outside: InstallMember {
        var taker = InstallMember(app: app, at: at, person: person, key: "", beginning: beginning)
        taker.isOutside = true
        return taker
    }

    /// Whether a conversion of its person at a time may be its own.
    func holds(_ time: Int64) -> Bool {
        at <= time && (beginning == .install || time - at <= ReEngagementRule.holdsFor)
    }

    /// Notes that the person did something at a time.
    mutating func note(_ time: Int64) {
        guard time > at else { return }
        let age = (time - at) / InstallCohortQuestion.dayMicroseconds
        guard let place = InstallCohortQuestion.retentionDays.firstIndex(of: age) else { return }
        returned |= 1 << UInt8(place)
    }
}

/// A conversion of somebody who installed.
struct InstallConversion: Sendable {
    let person: UInt64
    let app: String
    let at: Int64
    let id: UInt64
    /// Millionths of the currency's unit; nil where the event says nothing of it.
    let value: Int64?
    let currency: Currency?
    /// nil without an order id.
    let order: UInt64?
}

/// Puts installs and what followed them together by period and key.
struct InstallCohortTally {
    private struct Place: Hashable {
        let start: Int
        let key: String
    }

    private struct Figures {
        var installs: Int64 = 0
        var returned = InstallCohortQuestion.retentionDays.map { _ in Int64(0) }
        /// Millionths by the place of the horizon.
        var revenue: [Currency: [Int128]] = [:]
    }

    private let question: InstallCohortQuestion
    private let zone: ZoneClock
    private let now: Timestamp
    private var found: [Place: Figures] = [:]

    init(_ question: InstallCohortQuestion, _ zone: ZoneClock, now: Timestamp) {
        (self.question, self.zone, self.now) = (question, zone, now)
    }

    /// - Parameters:
    ///   - members: of all apps.
    ///   - persons: the person of each, whoever it was merged with; 0 for nobody.
    ///   - conversions: those that count, by the rule of their definition.
    mutating func add(_ members: [InstallMember], persons: [UInt64], _ conversions: [InstallConversion]) {
        var places: [Place] = []
        var entered: [PersonOfApp: [Int]] = [:]
        for (index, member) in members.enumerated() {
            let place = Place(start: Int(zone.key(question.period.bucket, at: member.at)), key: member.key)
            places.append(place)
            if !member.isOutside { count(member, place) }
            if persons[index] != 0 {
                entered[PersonOfApp(person: persons[index], app: member.app), default: []].append(index)
            }
        }
        for conversion in conversions {
            guard let value = conversion.value, let currency = conversion.currency else { continue }
            // The newest install or re-engagement in force brought it.
            let own = entered[PersonOfApp(person: conversion.person, app: conversion.app)] ?? []
            let earlier = own.filter { members[$0].holds(conversion.at) }
            guard let index = earlier.max(by: { members[$0].at < members[$1].at }), !members[index].isOutside else {
                continue
            }
            let age = conversion.at - members[index].at
            let none = InstallCohortQuestion.horizons.map { _ in Int128(0) }
            for (place, days) in InstallCohortQuestion.horizons.enumerated()
            where age < days * InstallCohortQuestion.dayMicroseconds {
                found[places[index], default: Figures()].revenue[currency, default: none][place] += Int128(value)
            }
        }
    }

    private mutating func count(_ member: InstallMember, _ place: Place) {
        var figures = found[place] ?? Figures()
        figures.installs += 1
        for day in figures.returned.indices where member.returned & 1 << UInt8(day) != 0 {
            figures.returned[day] += 1
        }
        found[place] = figures
    }

    /// Newest periods first, largest cohorts of a period first.
    func members() -> [String: JSONValue] {
        let sorted = found.sorted { one, other in
            if one.key.start != other.key.start { return one.key.start > other.key.start }
            if one.value.installs != other.value.installs { return one.value.installs > other.value.installs }
            return one.key.key < other.key.key
        }
        return [
            "lines": .array(sorted.prefix(InstallCohortQuestion.linesMax).map { line($0.key, $0.value) }),
            "is_cut": .bool(sorted.count > InstallCohortQuestion.linesMax),
        ]
    }

    private func line(_ place: Place, _ figures: Figures) -> JSONValue {
        let end = zone.start(ofDay: CivilDate(daysSince1970: question.period.next(after: place.start)))
        let retention = InstallCohortQuestion.retentionDays.enumerated().map { index, day -> JSONValue in
            [
                "day": .integer(day), "persons": .integer(figures.returned[index]),
                "share": .number(Double(figures.returned[index]) / Double(max(1, figures.installs))),
                "mature": .bool(end + .seconds((day + 1) * 86_400) <= now),
            ]
        }
        let revenue = figures.revenue.sorted { $0.key.code < $1.key.code }.flatMap { currency, sums in
            sums.enumerated().map { index, sum -> JSONValue in
                let days = InstallCohortQuestion.horizons[index]
                let minor = Self.minor(sum, currency)
                return [
                    "currency": .string(currency.code), "days": .integer(days), "revenue_minor": .integer(minor),
                    "ltv_minor": Ratio.of(minor, by: figures.installs).map { .integer($0) } ?? .null,
                    "mature": .bool(end + .seconds(days * 86_400) <= now),
                ]
            }
        }
        return [
            "start": .string(CivilDate(daysSince1970: place.start).description),
            question.dimension.rawValue: .string(place.key),
            (question.beginning == .install ? "installs" : "re_engagements"): .integer(figures.installs),
            "retention": .array(retention), "revenue": .array(revenue),
        ]
    }

    /// Whole minor units of a sum, halves away from zero.
    private static func minor(_ sum: Int128, _ currency: Currency) -> Int64 {
        var unit: Int128 = 1_000_000
        for _ in 0..<currency.fractionDigits { unit /= 10 }
        let (whole, rest) = sum.quotientAndRemainder(dividingBy: unit)
        return Int64(clamping: whole + (rest.magnitude * 2 >= unit.magnitude ? sum.signum() : 0))
    }
}

struct PersonOfApp: Hashable {
    let person: UInt64
    let app: String
}
