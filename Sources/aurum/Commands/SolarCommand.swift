internal import ArgumentParser
internal import Foundation
internal import Solar

/// The solar vertical's numbers from the command line.
struct SolarCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "solar", abstract: "Energy of a solar array, and the check of the method behind it.",
        subcommands: [ProductionCommand.self, VerifyProduction.self, TerritoryCommand.self])

    struct ProductionCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "production",
            abstract: "Yearly and monthly energy of a fixed array, by the PVWatts v8 method on a typical year.",
            discussion: """
                Example: aurum solar production --station 725033 --tilt 20 --azimuth 180 --kilowatts 7 --json
                Stations: 725033 Central Park, 725030 LaGuardia, 744860 JFK.
                """)

        @Option(name: .long, help: "Weather station: 725033, 725030 or 744860.")
        var station: String
        @Option(name: .long, help: "Tilt from horizontal in degrees, 0 to 90.")
        var tilt: String
        @Option(name: .long, help: "Direction the array faces, degrees clockwise from north (180 is south).")
        var azimuth: String
        @Option(name: .long, help: "DC size in kilowatts.")
        var kilowatts: String
        @Option(name: .customLong("dc-ac"), help: "DC to AC ratio.")
        var dcAc = "1.2"
        @Option(name: .long, help: "System losses in percent.")
        var losses = "14.08"
        @Option(name: .long, help: "Inverter efficiency in percent.")
        var inverterEfficiency = "96"
        @Option(name: .long, help: "roof or rack.")
        var mount = "roof"
        @Option(name: .long, help: "standard or premium.")
        var module = "standard"
        @Flag(name: .long, help: "Print {\"annualKilowattHours\",\"monthlyKilowattHours\"} as JSON.")
        var json = false

        func run() throws {
            let options = [
                "station": station, "tilt": tilt, "azimuth": azimuth, "kilowatts": kilowatts, "dc-ac": dcAc,
                "losses": losses, "inverter-efficiency": inverterEfficiency, "mount": mount, "module": module,
            ]
            let production: Production
            do {
                production = try PVWatts.produce(try ProductionRequest(options: options))
            } catch { throw CommandFailure(error.description) }
            if json { return try Output.json(production) }
            Output.line(String(format: "%.1f kWh a year", production.annualKilowattHours))
            let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
            for (month, energy) in zip(months, production.monthlyKilowattHours) {
                Output.line(String(format: "  \(month) %8.1f kWh", energy))
            }
        }
    }

    struct VerifyProduction: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "verify-production",
            abstract: "Compare the method with 28 reference cases; fails when one is off by more than its bar.")

        func run() throws {
            let rows = try SolarReference.verify()
            Output.line("station  tilt  azimuth   expected kWh   actual kWh   year %   worst month %")
            for row in rows {
                let figures = String(
                    format: "%4.0f   %6.0f   %12.1f  %11.1f  %+.3f          %.3f", row.tilt, row.azimuth, row.expected,
                    row.actual, row.annualErrorPercent, row.worstMonthErrorPercent)
                Output.line("\(row.station)   \(figures)  \(row.passed ? "ok" : "MISS")")
            }
            guard !rows.isEmpty, rows.allSatisfy(\.passed) else { throw ExitCode(1) }
        }
    }

    struct TerritoryCommand: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "territory", abstract: "Borough, utility and weather station of a New York City ZIP code.")

        @Argument(help: "Five digits.")
        var zip: String

        func run() throws {
            switch try Territory().lookup(zip) {
            case .served(let place):
                Output.line(
                    "\(place.zip)  \(place.borough.rawValue), \(place.utility.name), station \(place.station.rawValue)")
            case .askBorough(let question): Output.line("\(question.zip)  ask: \(question.why)")
            case .mailbox(let zip, let borough):
                Output.line("\(zip)  a mailbox ZIP in \(borough.rawValue); ask for the house's")
            case .outside(let zip): Output.line("\(zip)  outside New York City")
            case .invalid: throw CommandFailure("a ZIP code is five digits")
            }
        }
    }
}
