/// Events that left the quarantine by a replay. Their newest outcome is that of the row that the replay brought, so the
/// row that was refused counts as nothing any more.
package struct ReplayedRows: Sendable {
    /// A request as its receipt names it.
    package struct Request: Hashable, Sendable {
        package var segment: UInt32
        package var offset: UInt32
        package var request: UInt16
    }

    package static let none = ReplayedRows([])

    private let places: [Request: [Int]]
    /// Changes with the set: what was worked out under another holds no longer.
    let version: Int

    var isEmpty: Bool { places.isEmpty }

    /// - Parameter events: receipt and index of each.
    package init(_ events: [(receipt: String, index: Int)]) {
        var places: [Request: [Int]] = [:]
        var version = events.count
        for event in events {
            guard let id = ReceiptID(event.receipt) else { continue }
            let request = Request(segment: id.segment, offset: id.offset, request: id.request)
            places[request, default: []].append(event.index)
            var hasher = Hasher()
            hasher.combine(request)
            hasher.combine(event.index)
            version = version &+ hasher.finalize()
        }
        (self.places, self.version) = (places, version)
    }

    /// Indices of the events of a request that were replayed.
    func indices(of request: Request) -> [Int] { places[request] ?? [] }
}
