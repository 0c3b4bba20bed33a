internal import AurumCore
internal import Foundation
internal import Solar
internal import TestSupport
import Testing

@Suite struct ProductionTests {
    struct ReferenceCase: Decodable, Sendable {
        var station: String
        var tilt: Double
        var azimuth: Double
        var annual_ac_kwh: Double
        var monthly_ac_kwh: [Double]
    }

    struct RandomCase: Decodable, Sendable {
        var options: [String: String]
        var annual: Double
        var monthly: [Double]
    }

    private func matches(_ production: Production, annual: Double, monthly: [Double], _ what: String) {
        let error = production.annualKilowattHours / annual - 1
        #expect(abs(error) <= 0.002, "\(what): the year is off by \(error * 100) %")
        for (month, (own, reference)) in zip(production.monthlyKilowattHours, monthly).enumerated() {
            let part = own / reference - 1
            #expect(abs(part) <= 0.005, "\(what): month \(month + 1) is off by \(part * 100) %")
        }
        #expect(production.monthlyKilowattHours.count == 12)
        #expect(abs(production.monthlyKilowattHours.reduce(0, +) - production.annualKilowattHours) < 1e-6)
    }

    @Test func `the 28 reference cases hold within their bars`() throws {
        struct File: Decodable { var cases: [ReferenceCase] }
        let cases = try JSONDecoder().decode(File.self, from: Fixture.data("solar/pvwatts_reference.json")).cases
        #expect(cases.count == 28)
        for reference in cases {
            let station = try #require(WeatherStation(rawValue: reference.station))
            let request = try ProductionRequest(
                station: station, tilt: reference.tilt, azimuth: reference.azimuth, kilowatts: 7)
            matches(
                try PVWatts.produce(request), annual: reference.annual_ac_kwh, monthly: reference.monthly_ac_kwh,
                "\(reference.station) \(reference.tilt)/\(reference.azimuth)")
        }
    }

    @Test func `48 unseen arrays, racks and premium modules among them, agree with the oracle`() throws {
        struct File: Decodable { var cases: [RandomCase] }
        let cases = try JSONDecoder().decode(File.self, from: Fixture.data("solar/pysam_cases.json")).cases
        #expect(cases.count == 48)
        for reference in cases {
            let production = try PVWatts.produce(ProductionRequest(options: reference.options))
            matches(production, annual: reference.annual, monthly: reference.monthly, "\(reference.options)")
        }
    }

    @Test func `whole daylight hours agree within 2 W for 99 of 100, hours of sunrise and sunset within 70 W`() throws {
        struct Hours: Decodable {
            var risingOrSettingHours: [Int]
            var watts: [Double]
        }
        let reference = try JSONDecoder().decode(Hours.self, from: Fixture.data("solar/pysam_hours.json"))
        let request = try ProductionRequest(station: .centralPark, tilt: 20, azimuth: 180, kilowatts: 7)
        let own = try PVWatts(station: .centralPark).hourly(request)
        #expect(own.count == 8760)
        let edges = Set(reference.risingOrSettingHours)
        #expect(edges.count == 730)
        var whole: [Double] = []
        for (hour, (mine, theirs)) in zip(own, reference.watts).enumerated() {
            let difference = abs(mine - theirs)
            if edges.contains(hour) {
                #expect(difference <= 70, "hour \(hour)")
            } else if theirs > 0 || mine > 0 {
                whole.append(difference)
            }
        }
        whole.sort()
        #expect(whole.count > 3500)
        #expect(whole[whole.count * 99 / 100] <= 2, "p99 is \(whole[whole.count * 99 / 100]) W")
    }

    @Test func `the traced hours agree within 2 W`() throws {
        struct Trace: Decodable {
            var index: Int
            var pysam_ac_w: Double
        }
        let rows = try JSONDecoder().decode([Trace].self, from: Fixture.data("solar/pvwatts_trace.json"))
        #expect(!rows.isEmpty)
        let request = try ProductionRequest(station: .centralPark, tilt: 20, azimuth: 180, kilowatts: 7)
        let own = try PVWatts(station: .centralPark).hourly(request)
        for row in rows {
            #expect(abs(own[row.index] - row.pysam_ac_w) <= 2, "hour \(row.index)")
        }
    }

    @Test func `verify gives 28 passing rows from the embedded reference`() throws {
        let rows = try SolarReference.verify()
        #expect(rows.count == 28)
        for row in rows { #expect(row.passed, "\(row)") }
    }

    @Test func `the JSON of a production has the year and its months`() throws {
        let request = try ProductionRequest(options: [
            "station": "725033", "tilt": "12", "azimuth": "205", "kilowatts": "4.4", "dc-ac": "1.1", "losses": "11",
            "inverter-efficiency": "96.5", "mount": "roof",
        ])
        let json = try JSONEncoder().encode(try PVWatts.produce(request))
        let value = try JSONDecoder().decode(JSONValue.self, from: json)
        #expect(Set(try #require(value.object).keys) == ["annualKilowattHours", "monthlyKilowattHours"])
        #expect(value["monthlyKilowattHours"]?.array?.count == 12)
    }

    @Test(arguments: [
        (["station": "999999"], "station", "no weather station \"999999\""),
        (["tilt": "91"], "tilt", "from 0 to 90 degrees"),
        (["tilt": "-1"], "tilt", "from 0 to 90 degrees"),
        (["azimuth": "361"], "azimuth", "from 0 to 360 degrees"),
        (["kilowatts": "0"], "kilowatts", "above 0"),
        (["kilowatts": "nan"], "kilowatts", "not a number"),
        (["kilowatts": "seven"], "kilowatts", "not a number"),
        (["losses": "100"], "losses", "from 0 to 99"),
        (["dc-ac": "0"], "dc-ac", "above 0"),
        (["inverter-efficiency": "0.96"], "inverter-efficiency", "from 90 to 99.5"),
        (["mount": "pole"], "mount", "one of roof, rack"),
        (["module": "thin"], "module", "one of standard, premium"),
        (["colour": "blue"], "colour", "no option"),
    ])
    func `a bad input is named in a sentence`(change: [String: String], field: String, words: String) {
        var options = ["station": "725033", "tilt": "20", "azimuth": "180", "kilowatts": "7"]
        options.merge(change) { _, new in new }
        let error = #expect(throws: ProductionError.self) { try ProductionRequest(options: options) }
        #expect(error?.field == field)
        #expect(error?.description.contains(words) == true, "\(String(describing: error))")
    }

    @Test(arguments: ["station", "tilt", "azimuth", "kilowatts"])
    func `a missing input is named`(field: String) {
        var options = ["station": "725033", "tilt": "20", "azimuth": "180", "kilowatts": "7"]
        options[field] = nil
        #expect(throws: ProductionError.missing(field: field)) { try ProductionRequest(options: options) }
    }

    @Test func `output grows with size, shrinks with losses and never leaves the inverter's rating`() throws {
        var random = SeededRandom(seed: 11)
        for _ in 0..<soakCount(500) {
            let station = WeatherStation.allCases.randomElement(using: &random) ?? .jfk
            let tilt = Double.random(in: 0...90, using: &random)
            let azimuth = Double.random(in: 0...360, using: &random)
            let size = Double.random(in: 1...100, using: &random)
            let ratio = Double.random(in: 1...1.6, using: &random)
            let losses = Double.random(in: 0...40, using: &random)
            func run(_ kilowatts: Double, _ losses: Double) throws -> [Double] {
                try PVWatts(station: station).hourly(
                    ProductionRequest(
                        station: station, tilt: tilt, azimuth: azimuth, kilowatts: kilowatts, dcAcRatio: ratio,
                        lossesPercent: losses))
            }
            let base = try run(size, losses)
            let total = base.reduce(0, +)
            let what: Comment = "seed 11: \(station) \(tilt)/\(azimuth), \(size) kW, ratio \(ratio), losses \(losses)"
            #expect(base.allSatisfy { $0.isFinite && $0 >= 0 && $0 <= size / ratio * 1000 + 1e-6 }, what)
            #expect(try run(size * 2, losses).reduce(0, +) > total, what)
            #expect(try run(size, losses + 5).reduce(0, +) < total, what)
        }
    }
}
