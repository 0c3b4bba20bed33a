extension DeduplicationIndex {
    /// Opens the index of a folder as far as it is whole, and says which ids the log must give again.
    ///
    /// Damaged, missing or foreign files are left out together with everything newer, and removed; what is left is
    /// right.
    /// - Parameters:
    ///   - identity: of the secret under which ids are hashed.
    ///   - logEnd: where the log ends; what the index knows from behind it, a log put back from a copy does not hold.
    /// - Returns: the index, and the point from which on the accepted ids of the log must be given to `remember` before
    ///   anything is settled: nil for all of them.
    package static func open(
        storage: any LogStorage, identity: UInt64, limits: DeduplicationLimits, logEnd: LogPoint?,
        clock: TrustedClock = TrustedClock()
    ) throws(LogStorageError) -> (index: DeduplicationIndex, checkpoint: LogPoint?) {
        var manifest =
            try DeduplicationManifest.newest(storage, identity: identity)
            ?? DeduplicationManifest(identity: identity)
        var opening = Opening(storage: storage, identity: identity, limits: limits, logEnd: logEnd)
        for listed in manifest.generations where !opening.isCut { opening.take(listed) }
        if let number = opening.cutNumber { manifest.cut(before: number) }
        let present = try storage.names().compactMap(RunFormat.number)
        let listed = Set(manifest.runNumbers)
        for number in present where !listed.contains(number) { try? storage.remove(RunFormat.name(number)) }
        manifest.nextRun = max(manifest.nextRun, (present.max() ?? 0) &+ 1)
        let index = DeduplicationIndex(
            store: DeduplicationStore(storage, manifest: manifest), limits: limits, generations: opening.generations,
            windowStart: manifest.windowStart, clock: clock)
        return (index, opening.generations.last?.runs.last?.header.through)
    }

    /// Takes run after run until one cannot be used.
    private struct Opening {
        let storage: any LogStorage
        let identity: UInt64
        let limits: DeduplicationLimits
        let logEnd: LogPoint?
        var generations: [Generation] = []
        var cutNumber: UInt32?

        var isCut: Bool { cutNumber != nil }

        private func begin(_ listed: DeduplicationManifest.Generation, _ filter: IdentifierFilter?) -> Generation {
            let capacity = Int(listed.capacity)
            return Generation(
                number: listed.number, capacity: capacity,
                filter: filter ?? IdentifierFilter(blockCount: limits.filterBlocks(identifiers: capacity)))
        }

        mutating func take(_ listed: DeduplicationManifest.Generation) {
            var generation: Generation?
            for entry in listed.runs {
                do throws(DeduplicationError) {
                    let run = try IdentifierRun(storage, number: entry.number, identity: identity, crc: entry.crc)
                    if let logEnd, run.header.through > logEnd { throw run.damage }
                    let isWhole = run.hasFilter && listed.runs.count == 1
                    let own: Generation
                    if let generation {
                        own = generation
                    } else {
                        own = begin(listed, isWhole ? try run.filter() : nil)
                    }
                    if !isWhole { try run.load(into: own.filter) }
                    own.runs.append(run)
                    own.count += run.count
                    own.latest = max(own.latest, run.header.latest)
                    if generation == nil { generations.append(own) }
                    generation = own
                } catch {
                    cutNumber = entry.number
                    return
                }
            }
        }
    }
}
