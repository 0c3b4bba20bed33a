internal import AurumCore
internal import Logging
internal import Synchronization

/// Where an event that changes persons comes from.
struct IdentitySource {
    var org: String
    var app: String
    /// Keyed hash of the event's id inside its app.
    var event: UInt64
    /// When it happened, microseconds since 1970.
    var at: Int64
}

/// What the events of one block say about who is who, row by row; filled where events are parsed.
struct IdentityRows {
    private(set) var list: [(row: Int, change: IdentityChange)] = []

    mutating func append(_ change: IdentityChange, row: Int) { list.append((row, change)) }

    /// Takes back the rows from `row` on.
    mutating func takeBack(to row: Int) {
        while let last = list.last, last.row >= row { list.removeLast() }
    }

    mutating func reset() { list.removeAll(keepingCapacity: true) }
}

/// The identity graphs of all organisations, fed in the order of the log by the writer thread and read by anybody.
package final class PersonDirectory: Sendable {
    struct State: Sendable {
        var graphs: [String: IdentityGraph] = [:]
        /// Linked identifiers of all organisations.
        var identifiers = 0
        var links = 0
        /// The last block whose changes are in.
        var covered: BlockPlace?
        /// Changes since the last checkpoint, and the segment that it was taken in.
        var changes = 0
        var checkpointSegment: UInt32?
        var isCheckpointDue = false
        var snapshots: [String: WeakSnapshot] = [:]
        var openingSeconds = 0.0
    }

    struct WeakSnapshot: Sendable { weak var value: PersonSnapshot? }

    let limits: IdentityLimits
    private let state = Mutex(State())
    private let meters: IdentityMeters
    private let checkpoints: IdentityCheckpoints

    init(limits: IdentityLimits, meters: IdentityMeters, checkpoints: IdentityCheckpoints) {
        (self.limits, self.meters, self.checkpoints) = (limits, meters, checkpoints)
    }

    /// A directory with the same bounds that holds nobody.
    func emptied() -> PersonDirectory { PersonDirectory(limits: limits, meters: meters, checkpoints: checkpoints) }

    // MARK: feeding

    /// Takes what a block says that has just become durable, before its requests are answered. Blocks come in the order
    /// of the log.
    ///
    /// - Parameter source: of a row; nil when the row does not count.
    func commit(_ rows: IdentityRows, place: BlockPlace, source: (Int) -> IdentitySource?) {
        let isDue = state.withLock { state in
            for (row, change) in rows.list {
                if let source = source(row) { apply(change, source, to: &state, isLive: true) }
            }
            state.covered = place
            guard !state.isCheckpointDue, isCheckpointDue(state) else { return false }
            state.isCheckpointDue = true
            return true
        }
        if isDue { BlockingWork.run { self.checkpoint() } }
        if !rows.list.isEmpty { report() }
    }

    /// Takes one change that was read back from the log. Changes come in the order of the log.
    func replay(_ change: IdentityChange, _ source: IdentitySource) {
        state.withLock { apply(change, source, to: &$0, isLive: false) }
    }

    /// Says that everything up to this block was replayed.
    func cover(_ place: BlockPlace) { state.withLock { $0.covered = place } }

    private func apply(_ change: IdentityChange, _ source: IdentitySource, to state: inout State, isLive: Bool) {
        let room = limits.identifiersMax - state.identifiers
        let growth = apply(
            change, source, to: &state.graphs[source.org, default: IdentityGraph()], room: room, isLive: isLive)
        state.identifiers += growth.identifiers
        state.links += growth.links
        state.changes += growth.changes
    }

    private func apply(
        _ change: IdentityChange, _ source: IdentitySource, to graph: inout IdentityGraph, room: Int, isLive: Bool
    ) -> (identifiers: Int, links: Int, changes: Int) {
        let before = (identifiers: graph.count, links: graph.linkCount)
        var changes = 0
        switch change.kind {
        case .unmerge(let merge):
            if graph.unlink(merge) {
                changes += 1
                if isLive { meters.unmerged() }
            }
        case .link(let cause):
            let actor = change.actor.isEmpty ? source.app : change.actor
            for from in [change.from, change.alsoFrom] {
                guard let from, let to = change.to else { continue }
                let outcome = graph.link(
                    from, to, cause: cause, tag: source.event, at: source.at, actor: actor, limits: limits,
                    room: room - (graph.count - before.identifiers))
                switch outcome {
                case .linked(let merged):
                    changes += 1
                    if isLive, merged { meters.merged(cause) }
                case .refused(let reason): if isLive { meters.refused(reason) }
                case .known: break
                }
            }
        }
        return (graph.count - before.identifiers, graph.linkCount - before.links, changes)
    }

    /// Notes how long it took to come up to the end of the log.
    func opened(within duration: Duration, _ logger: Logger) {
        let (identifiers, links) = state.withLock { state in
            state.openingSeconds = duration.seconds
            return (state.identifiers, state.links)
        }
        report()
        guard identifiers > 0 else { return }
        logger.debug(
            "the identity graph is restored",
            metadata: [
                "code": "identity_restored", "identifiers": "\(identifiers)", "links": "\(links)",
                "seconds": "\(duration.seconds)",
            ])
    }

    package var openingSeconds: Double { state.withLock { $0.openingSeconds } }

    /// Tells metrics and health how full the directory is.
    func report() {
        let (identifiers, links) = state.withLock { ($0.identifiers, $0.links) }
        meters.report(identifiers: identifiers, links: links, limits: limits)
    }

    // MARK: reading

    /// A consistent view for one query: merges that come later do not show in it.
    package func snapshot(org: String) -> PersonSnapshot {
        state.withLock { state in
            guard let graph = state.graphs[org] else { return PersonSnapshot(IdentityGraph()) }
            if let known = state.snapshots[org]?.value, known.version == graph.version { return known }
            let snapshot = PersonSnapshot(graph)
            state.snapshots[org] = WeakSnapshot(value: snapshot)
            return snapshot
        }
    }

    /// The graph of an organisation as it is now.
    func graph(org: String) -> IdentityGraph { state.withLock { $0.graphs[org] } ?? IdentityGraph() }

    /// The keys of all identifiers of the persons that the given ones belong to, the given ones among them.
    func identifiers(org: String, of keys: [UInt64]) -> Set<UInt64> {
        let graph = snapshot(org: org).graph
        return keys.reduce(into: Set(keys)) { all, key in all.formUnion(graph.identifiers(key)) }
    }

    package var identifierCount: Int { state.withLock { $0.identifiers } }

    /// What the graphs hold, one line an identifier and a link, for comparing two of them.
    package var lines: [String] {
        state.withLock { state in
            state.graphs.filter { !$0.value.isPristine }.sorted { $0.key < $1.key }.flatMap { org, graph in
                ["\(org) version \(graph.version)"] + graph.lines.map { "\(org) \($0)" }
            }
        }
    }

    // MARK: checkpoints

    private func isCheckpointDue(_ state: State) -> Bool {
        guard let covered = state.covered else { return false }
        return state.changes >= max(limits.checkpointChanges, state.identifiers / 4)
            || covered.segment != (state.checkpointSegment ?? 1)
    }

    /// Writes a checkpoint of what is in now. Blocks; a failure leaves the last checkpoint and is logged.
    func checkpoint() {
        checkpoints.write { [self] in
            state.withLock { state in
                state.isCheckpointDue = false
                guard let covered = state.covered else { return nil }
                state.changes = 0
                state.checkpointSegment = covered.segment
                return IdentityCheckpoint(covered: covered, graphs: state.graphs)
            }
        }
    }

    /// A last checkpoint where something changed since.
    func close() {
        if state.withLock({ $0.changes > 0 || isCheckpointDue($0) }) { checkpoint() }
    }

    /// Starts from a checkpoint.
    func restore(_ checkpoint: IdentityCheckpoint) {
        state.withLock { state in
            state.graphs = checkpoint.graphs
            state.covered = checkpoint.covered
            state.checkpointSegment = checkpoint.covered.segment
            state.identifiers = checkpoint.graphs.values.reduce(0) { $0 + $1.count }
            state.links = checkpoint.graphs.values.reduce(0) { $0 + $1.linkCount }
        }
    }

    /// The last segment that lies wholly behind every checkpoint: none of it is read again, whichever is used.
    var lastCoveredSegment: UInt32 {
        // Both files are brought up where they lag: normally each new segment brings a checkpoint.
        if (checkpoints.oldestCovered ?? 0) + 2 < covered?.segment ?? 0 {
            checkpoint()
            checkpoint()
        }
        return max(checkpoints.oldestCovered ?? 1, 1) - 1
    }

    var covered: BlockPlace? { state.withLock { $0.covered } }
}

/// Where a block stands in the log.
struct BlockPlace: Sendable, Equatable, Comparable {
    var segment: UInt32
    var offset: UInt32

    static func < (left: BlockPlace, right: BlockPlace) -> Bool {
        (left.segment, left.offset) < (right.segment, right.offset)
    }
}

extension IdentityGraph {
    /// Nothing was ever linked.
    var isPristine: Bool { nextAge == 0 }

    /// One line an identifier and a link, in an order that does not depend on how the graph came to be.
    package var lines: [String] {
        var lines: [String] = []
        for number in 0..<UInt32(nodes.count) where nodes[number].namespace != 0 {
            let node = nodes[number]
            lines.append("\(KeyText.hex(node.key)) \(node.namespace) -> \(KeyText.hex(person(node.key)))")
        }
        for number in 0..<UInt32(links.count) where links[number].cause != 0 {
            let link = links[number]
            let ends = "\(mergeID(link).text) \(KeyText.hex(nodes[link.b].key))"
            lines.append("\(ends) \(link.cause) \(link.at) \(actors.name(link.actor))")
        }
        return lines.sorted()
    }
}
