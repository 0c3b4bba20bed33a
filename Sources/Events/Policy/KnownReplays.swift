internal import Database
internal import Synchronization

/// The replayed events of organisations as they were read last, until something is written: every question about
/// outcomes asks for them.
final class KnownReplays: Sendable {
    private struct State {
        var rows: [String: ReplayedRows] = [:]
        /// How often it was all forgotten.
        var generation = 0
    }

    private static let organisationsMax = 1000
    private let state = Mutex(State())

    func rows(_ org: String, _ read: () async throws -> ReplayedRows) async rethrows -> ReplayedRows {
        let (known, generation) = state.withLock { ($0.rows[org], $0.generation) }
        if let known { return known }
        let rows = try await read()
        state.withLock { state in
            // What was read before something was written may lack it.
            guard state.generation == generation else { return }
            if state.rows.count >= Self.organisationsMax { state.rows = [:] }
            state.rows[org] = rows
        }
        return rows
    }

    func forget() {
        state.withLock { state in
            state.rows = [:]
            state.generation += 1
        }
    }
}

/// Where a replayed event stood: its receipt and its index there.
struct ReplayedPlace: RowDecodable {
    var receipt: String
    var place: Int

    init(row: Row) throws { (receipt, place) = (try row.get("receipt"), try row.get("place")) }
}
