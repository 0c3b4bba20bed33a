/// Why a production figure cannot be given. The description is a sentence for a person; `field` names the input.
package enum ProductionError: Error, Equatable, CustomStringConvertible {
    case unknownStation(String)
    case outOfRange(field: String, value: String, range: String)
    case notANumber(field: String, value: String)
    case unknownChoice(field: String, value: String, choices: [String])
    case missing(field: String)
    case unknownOption(String)
    case data(SolarDataError)

    package var field: String {
        switch self {
        case .unknownStation: "station"
        case .outOfRange(let field, _, _), .notANumber(let field, _), .unknownChoice(let field, _, _),
            .missing(let field):
            field
        case .unknownOption(let name): name
        case .data: "data"
        }
    }

    package var description: String {
        switch self {
        case .unknownStation(let id):
            "There is no weather station \"\(id)\". Known stations: "
                + WeatherStation.allCases.map(\.rawValue).joined(separator: ", ") + "."
        case .outOfRange(let field, let value, let range): "\(field) is \(value); it must be \(range)."
        case .notANumber(let field, let value): "\(field) is \"\(value)\", which is not a number."
        case .unknownChoice(let field, let value, let choices):
            "\(field) is \"\(value)\"; it must be one of \(choices.joined(separator: ", "))."
        case .missing(let field): "\(field) is missing."
        case .unknownOption(let name): "There is no option \"\(name)\"."
        case .data(let error): error.description
        }
    }
}
