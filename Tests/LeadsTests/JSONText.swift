import AurumCore
import Foundation

/// Reads JSON text in tests.
enum JSONText {
    static func parse(_ text: String) throws -> JSONValue {
        try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
    }
}
