internal import AurumCore
internal import Foundation

/// A ZIP code where the demo's visitors live.
package struct DemoZIP: Sendable, Hashable {
    package var zip: String
    package var borough: String
    package var utility: String

    package init(zip: String, borough: String, utility: String) {
        self.zip = zip
        self.borough = borough
        self.utility = utility
    }

    /// Residential ZIP codes of the embedded New York City map; those that cross a city line are left out, because the
    /// advisor asks back about them.
    package static func embedded() -> [DemoZIP] {
        let text = Asset.text("places/nyc_zip_map.json")
        let map = (try? JSONDecoder().decode(JSONValue.self, from: Data(text.utf8)))?.object ?? [:]
        let crossing: Set<String> = ["10463", "11001", "11040", "11693"]
        return map.compactMap { zip, row in
            guard row["type"] == "STANDARD", !crossing.contains(zip), let borough = row["borough"]?.string,
                let utility = row["utility"]?.string
            else { return nil }
            return DemoZIP(zip: zip, borough: borough, utility: utility)
        }.sorted { $0.zip < $1.zip }
    }
}
