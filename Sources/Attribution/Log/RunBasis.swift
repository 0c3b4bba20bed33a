internal import AurumCore
internal import Events

/// A short name of everything that the result of a run follows from: two runs with the same one give the same bytes.
enum RunBasis {
    /// Counts changes of what a run computes from the same inputs: a release that computes something else has another.
    private static let method = "1"

    /// - Throws: what the log throws.
    static func hex(
        _ request: LogRunRequest, segments: [ColumnSegment], persons: any PersonResolver
    ) throws -> String {
        var digest = PartsDigest()
        digest.add(method)
        digest.add(request.org)
        digest.add(try LogCursor.lastPosition(of: segments)?.description ?? "")
        // Erased and expired events leave without a new row: then a segment is another one.
        for segment in segments { digest.add(String(segment.identity)) }
        digest.add("persons \(persons.version)")
        digest.add("\(request.from?.rfc3339 ?? "") to \(request.to?.rfc3339 ?? "")")
        for known in request.definitions {
            digest.add("\(known.version) \(known.from) \(known.to)")
            digest.add(known.definition.json.canonical)
        }
        digest.add(request.milestone?.json.canonical ?? "")
        for (app, rule) in [("", request.sessions.standard)] + request.sessions.apps.sorted(by: { $0.key < $1.key }) {
            digest.add("session \(app) \(rule.gap) \(rule.isClients)")
        }
        for touch in request.joined {
            let place = touch.place
            digest.add("\(place.person) \(place.order) \(place.tail) \(place.click)")
            digest.add("\(touch.at.microseconds) \(touch.kind)")
            digest.add(touch.campaign)
            digest.add("\(touch.channel) \(touch.app)")
        }
        for window in request.windows { digest.add("window \(window.startsAt.microseconds) \(window.json.canonical)") }
        request.rejected.name(in: &digest)
        return digest.hex
    }
}
