import Attribution
import AurumCore
import Foundation
import TestSupport

/// Files that the results are held to, and inputs made from text.
enum AttributionFixtures {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Fixtures/attribution")

    static func bytes(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: folder.appending(path: name)))
    }

    static func json(_ name: String) throws -> JSONValue {
        try JSONDecoder().decode(JSONValue.self, from: Data(try bytes(name)))
    }

    static func input(_ name: String) throws -> PathInput {
        try PathFile.read(DelimitedReader(try bytes(name)), PathReading())
    }

    static func read(_ text: String, _ reading: PathReading = PathReading(), step: Int = .max) throws -> PathInput {
        try PathFile.read(DelimitedReader(Array(text.utf8), step: step), reading)
    }

    /// Random paths over up to `channelsMax` channels, conversions, values and nulls.
    static func randomTable(_ random: inout SeededRandom, channelsMax: Int, rowsMax: Int = 60) -> PathTable {
        let channels = Int.random(in: 1...channelsMax, using: &random)
        var table = PathTable(channels: (0..<channels).map { "c\($0 / 10)\($0 % 10)" })
        for _ in 0..<Int.random(in: 1...rowsMax, using: &random) {
            let length = Int.random(in: 1...8, using: &random)
            let path = (0..<length).map { _ in UInt16(Int.random(in: 0..<channels, using: &random)) }
            let conversions = Double(Int.random(in: 0...3, using: &random))
            let value = conversions > 0 ? Double(Int.random(in: 1...9000, using: &random)) / 100 : 0
            table.append(
                path, conversions: conversions, value: value, nulls: Double(Int.random(in: 0...4, using: &random)))
        }
        return table
    }
}

/// How far two numbers are apart, relative to the larger.
func apart(_ one: Double, _ other: Double) -> Double {
    let scale = max(one.magnitude, other.magnitude)
    return scale == 0 ? 0 : (one - other).magnitude / scale
}
