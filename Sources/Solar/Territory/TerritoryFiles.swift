internal import AurumCore
internal import Foundation

/// Reads the ZIP map and its overlay, strictly.
struct TerritoryFiles {
    static let mapName = "places/nyc_zip_map.json"
    static let overlayName = "places/territory-overlay.json"

    let stations: [WeatherStation: StationFacts]

    func entries(map: String, overlay: String) throws(SolarDataError) -> [String: Territory.Entry] {
        var entries: [String: Territory.Entry] = [:]
        let rows = try object(map, file: Self.mapName)
        for (zip, row) in rows.sorted(by: { $0.key < $1.key }) {
            entries[zip] = try entry(zip: zip, row: row, map: rows, file: Self.mapName)
        }
        let overlayRows = try object(overlay, file: Self.overlayName)["zips"]?.object
        guard let overlayRows else {
            throw SolarDataError(file: Self.overlayName, row: "zips", problem: "is missing")
        }
        for (zip, row) in overlayRows.sorted(by: { $0.key < $1.key }) {
            entries[zip] = .ask(try question(zip: zip, row: row, map: rows))
        }
        return entries
    }

    private func object(_ text: String, file: String) throws(SolarDataError) -> [String: JSONValue] {
        let decoded: JSONValue
        do {
            decoded = try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
        } catch {
            throw SolarDataError(file: file, row: "document", problem: "is not JSON: \(error)")
        }
        guard let members = decoded.object, !members.isEmpty else {
            throw SolarDataError(file: file, row: "document", problem: "is not an object with rows")
        }
        return members
    }

    private func entry(
        zip: String, row: JSONValue, map: [String: JSONValue], file: String
    ) throws(SolarDataError) -> Territory.Entry {
        let fields = RowFields(file: file, name: "ZIP \(zip)", row: row)
        try fields.only(["borough", "city", "lat", "long", "type", "utility"])
        guard zip.utf8.count == 5, zip.utf8.allSatisfy({ (48...57).contains($0) }) else {
            throw fields.error("is not five digits")
        }
        let borough: Borough = try fields.choice("borough")
        let city = try fields.text("city")
        let utility = try utility(try fields.text("utility"), fields)
        let station = try nearest(
            latitude: try fields.number("lat", 40.4...41), longitude: try fields.number("long", -74.3 ... -73.6))
        switch try fields.text("type") {
        case "STANDARD":
            return .served(
                ServedPlace(zip: zip, borough: borough, city: city, utility: utility, station: station))
        case "PO BOX", "UNIQUE": return .mailbox(borough, utility)
        default: throw fields.error("type is none of STANDARD, PO BOX, UNIQUE")
        }
    }

    private func utility(_ name: String, _ fields: RowFields) throws(SolarDataError) -> Utility {
        switch name {
        case "ConEd": return .conEdison
        case "PSEG-LI": return .psegLongIsland
        default: throw fields.error("utility \(name) is neither ConEd nor PSEG-LI")
        }
    }

    private func question(
        zip: String, row: JSONValue, map: [String: JSONValue]
    ) throws(SolarDataError) -> TerritoryQuestion {
        let fields = RowFields(file: Self.overlayName, name: "ZIP \(zip)", row: row)
        try fields.only(["ask", "canBeOutside", "choices", "why"])
        let ask: TerritoryQuestion.Ask = try fields.choice("ask")
        guard let canBeOutside = row["canBeOutside"]?.bool else { throw fields.error("canBeOutside is missing") }
        guard let rows = row["choices"]?.array, !rows.isEmpty else { throw fields.error("choices are missing") }
        var choices: [ServedPlace] = []
        for (index, choice) in rows.enumerated() {
            let name = "ZIP \(zip) choice \(index + 1)"
            let own = RowFields(file: Self.overlayName, name: name, row: choice)
            try own.only(["borough", "city", "lat", "long", "utility"])
            choices.append(
                ServedPlace(
                    zip: zip, borough: try own.choice("borough"), city: try own.text("city"),
                    utility: try utility(try own.text("utility"), own),
                    station: try nearest(
                        latitude: try own.number("lat", 40.4...41), longitude: try own.number("long", -74.3 ... -73.6)))
            )
        }
        return TerritoryQuestion(
            zip: zip, ask: ask, choices: choices, canBeOutside: canBeOutside, why: try fields.text("why"))
    }

    /// The station with the shortest way, on a plane good enough for one city.
    private func nearest(latitude: Double, longitude: Double) throws(SolarDataError) -> WeatherStation {
        func squared(_ facts: StationFacts) -> Double {
            let north = facts.latitude - latitude
            let east = (facts.longitude - longitude) * cos(latitude * .pi / 180)
            return north * north + east * east
        }
        let ordered = stations.values.sorted {
            (squared($0), $0.station.rawValue) < (squared($1), $1.station.rawValue)
        }
        guard let first = ordered.first else {
            throw SolarDataError(file: StationFacts.file, row: "document", problem: "holds no station")
        }
        return first.station
    }
}

/// One JSON row read field by field; every error carries the file and the row.
struct RowFields {
    let file: String
    let name: String
    let row: JSONValue

    func error(_ problem: String) -> SolarDataError { SolarDataError(file: file, row: name, problem: problem) }

    /// Refuses fields other than `names`.
    func only(_ names: Set<String>) throws(SolarDataError) {
        guard let members = row.object else { throw error("is not an object") }
        if let odd = members.keys.filter({ !names.contains($0) }).min() { throw error("has the unknown field \(odd)") }
    }

    func text(_ field: String) throws(SolarDataError) -> String {
        guard let text = row[field]?.string, !text.isEmpty else { throw error("\(field) is missing") }
        return text
    }

    func number(_ field: String, _ range: ClosedRange<Double>) throws(SolarDataError) -> Double {
        let text = try text(field)
        guard let value = Double(text), range.contains(value) else { throw error("\(field) is \(text)") }
        return value
    }

    func choice<Choice: RawRepresentable<String>>(_ field: String) throws(SolarDataError) -> Choice {
        let text = try text(field)
        guard let value = Choice(rawValue: text) else { throw error("\(field) is \(text)") }
        return value
    }
}
