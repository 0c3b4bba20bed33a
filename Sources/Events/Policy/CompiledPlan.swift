package import AurumCore

/// One version of an app's tracking plan, ready to be held against events.
///
/// Looks at the bytes of `props` only: no value is made of a property that the plan does not name.
package final class CompiledPlan: Sendable {
    package let version: Int
    /// What happens to `track` and `conversion` events with names that the plan does not list.
    package let refusesUnknownNames: Bool
    /// Names that the plan marks `personal`.
    package let personalKeys: [String]

    private struct Entry: Sendable {
        var name: [UInt8]
        /// nil takes any properties.
        var schema: PlanSchema?
    }

    private let entries: [UInt32: [Entry]]
    package static let namesMax = 5000

    /// Reads `{"names":{"Signed Up":{…schema of props…}},"unknown_names":"allow"|"refuse"}`.
    /// - Throws: `PolicyError.invalid` with every problem found.
    package init(_ document: JSONValue, version: Int) throws(PolicyError) {
        var reader = PlanSchemaReader()
        guard let members = document.object else {
            throw .invalid([PolicyProblem("", "the plan must be a JSON object")])
        }
        for name in members.keys.sorted() where !["names", "unknown_names", "mode", "description"].contains(name) {
            reader.problems.append(PolicyProblem(String(name.prefix(40)), "is no member of a plan"))
        }
        let listed = Self.names(members["names"], &reader)
        var refuses = true
        switch members["unknown_names"]?.string {
        case nil where members["unknown_names"] == nil: break
        case "refuse"?: break
        case "allow"?: refuses = false
        default: reader.problems.append(PolicyProblem("unknown_names", "must be allow or refuse"))
        }
        var entries: [UInt32: [Entry]] = [:]
        for (name, schema) in listed.sorted(by: { $0.key < $1.key }) {
            guard !name.isEmpty, name.utf8.count <= 200 else {
                reader.problems.append(PolicyProblem("names", "a name has 1 to 200 bytes"))
                continue
            }
            let compiled = schema == .bool(true) ? nil : reader.schema(schema, "names.\(name.prefix(60))")
            entries[NameHash.of(name), default: []].append(Entry(name: Array(name.utf8), schema: compiled))
        }
        guard reader.problems.isEmpty else { throw .invalid(reader.problems) }
        self.version = version
        self.entries = entries
        refusesUnknownNames = refuses
        personalKeys = Array(Set(reader.personalKeys)).sorted()
    }

    /// Names as an object from name to schema, or as a list of `{"name":…,"schema":…}`.
    private static func names(_ value: JSONValue?, _ reader: inout PlanSchemaReader) -> [String: JSONValue] {
        switch value {
        case .object(let members)? where members.count <= namesMax: return members
        case .array(let list)? where list.count <= namesMax:
            var names: [String: JSONValue] = [:]
            for (index, item) in list.enumerated() {
                guard let name = item["name"]?.string else {
                    reader.problems.append(PolicyProblem("names[\(index)].name", "is missing"))
                    continue
                }
                names[name] = item["schema"] ?? .bool(true)
            }
            return names
        default:
            reader.problems.append(
                PolicyProblem(
                    "names", "must be an object of at most \(namesMax) names, each with a JSON Schema of props"))
            return [:]
        }
    }

    /// The first rule that an accepted event breaks; nil when it keeps the plan.
    func check(_ parser: inout EventParser) -> PlanViolation? {
        let isNamed = parser.isFilled(.name)
        let hash: UInt32
        let name: [UInt8]
        if isNamed {
            let (bytes, count) = parser.decoded(parser.slice(.name))
            hash = NameHash.of(bytes, count)
            name = entries[hash] == nil ? [] : Array(UnsafeBufferPointer(start: bytes, count: count))
        } else {
            hash = NameHash.ofType(parser.type)
            name = EventType(rawValue: UInt8(truncatingIfNeeded: parser.type)).map { Array($0.name.utf8) } ?? []
        }
        guard let entry = entries[hash]?.first(where: { $0.name == name }) else {
            let isCustom =
                parser.type == Int(EventType.track.rawValue) || parser.type == Int(EventType.conversion.rawValue)
            return refusesUnknownNames && isCustom ? PlanViolation(rule: .unknownName, path: "name") : nil
        }
        guard let schema = entry.schema else { return nil }
        guard parser.has(.props) else {
            let empty: [UInt8] = [0x7b, 0x7d]
            return empty.withUnsafeBufferPointer { PlanCheck.violation($0, schema) }
        }
        let slice = parser.slice(.props)
        return PlanCheck.violation(UnsafeBufferPointer(start: parser.base + slice.start, count: slice.count), schema)
    }
}
