internal import AurumCore
internal import Events
internal import Foundation
internal import TestSupport
import Testing

/// A request of a real client library as it was recorded.
struct RecordedRequest {
    var path: String
    var head: [String]
    var encoding: BodyEncoding
    var body: [UInt8]

    init(_ name: String) throws {
        let raw = Array(try Fixture.data("wire/\(name).raw"))
        let text = String(decoding: raw, as: Unicode.ASCII.self)
        let split = try #require(
            raw.indices.first {
                raw[$0...].starts(with: [13, 10, 13, 10]) || raw[$0...].starts(with: [10, 13, 10])
            })
        head = text.prefix(split).split(whereSeparator: \.isNewline).map(String.init)
        path = String(try #require(head.first).split(separator: " ")[1])
        encoding = head.contains { $0.lowercased() == "content-encoding: gzip" } ? .gzip : .identity
        body = Array(raw[(split + (raw[split] == 13 ? 4 : 3))...])
    }
}

extension EventLog {
    /// Everything of the test's organisation, oldest first.
    func all() async throws -> [StoredEvent] {
        var filter = EventFilter(org: "acme")
        filter.newestFirst = false
        filter.outcomes = Set(EventOutcome.allCases).subtracting([.quarantined, .duplicate])
        return try await store.events(filter)
    }

    /// Translates and stores a body of PostHog's shape, as the route does.
    func sendPostHog(
        _ body: [UInt8], at moment: Timestamp = testNow, limits: EventLimits = EventLimits()
    ) async throws -> Receipt {
        let text = try body.withUnsafeBytes {
            try PostHogBody.text($0, limits: limits, bodyBytesMax: limits.postHogBodyBytesMax)
        }
        let translated = try text.withUnsafeBytes {
            try PostHogBody.translate($0, limits: limits, receivedAt: moment)
        }
        var source = testSource
        source.isHistorical = translated.isHistorical
        source.sentAt = translated.sentAt
        return try await capture.submit(translated.lines, format: .postHog, source: source, receivedAt: moment)
    }

    /// The same for GA4's Measurement Protocol.
    func sendMeasurement(_ body: String, at moment: Timestamp = testNow) async throws -> Receipt {
        let translated = try Array(body.utf8).withUnsafeBytes {
            try MeasurementBody.translate($0, limits: EventLimits())
        }
        return try await capture.submit(
            translated.lines, format: .measurement, source: testSource, receivedAt: moment)
    }
}

/// JSON text as a value.
func json(_ text: String) throws -> JSONValue { try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8)) }
