internal import AurumCore

/// Brings the persons up to the end of the log: what a checkpoint covers is skipped, the rest is read again.
struct IdentityReplay {
    let secret: InstallationSecret
    let persons: PersonDirectory

    /// Takes what one block says. Blocks come in the order in which they were committed, and none twice.
    func take(_ block: any ColumnBlock) throws {
        let types = try block.types()
        guard types.contains(where: { IdentityRule.mayLink(Int($0)) }) else { return }
        let outcomes = try block.outcomes()
        for row in 0..<block.rowCount where IdentityRule.mayLink(Int(types[row])) {
            guard let outcome = EventOutcome(rawValue: outcomes[row]), IdentityRule.counts(outcome),
                let event = try block.event(row)
            else { continue }
            take(event)
        }
        guard block.rowCount > 0 else { return }
        let first = block.position(0)
        persons.cover(BlockPlace(segment: first.segment, offset: first.offset))
    }

    private func take(_ event: StoredEvent) {
        let keys = secret.keys(org: event.org, app: event.app)
        guard let change = IdentityChange(event, keys) else { return }
        let source = IdentitySource(
            org: event.org, app: event.app, event: keys.event(id: event.id).high, at: event.at.microseconds)
        persons.replay(change, source)
    }

    /// Reads the blocks of the log behind what is covered; damaged ones are left out.
    func run(_ catalog: LogCatalog) throws {
        let covered = persons.covered
        // Archives are behind every checkpoint: they are read only where none is left.
        if covered == nil { try readArchives(catalog) }
        for segment in try catalog.all() where segment.archive == nil && segment.number >= covered?.segment ?? 0 {
            for entry in segment.entries {
                let place = BlockPlace(segment: segment.number, offset: UInt32(entry.offset))
                if let covered, place <= covered { continue }
                guard let view = try segment.view(entry.offset) else { continue }
                do {
                    try take(try DecodedBlock(view, catalog: segment, secret: secret))
                } catch BlockView.Failure.damaged {
                    continue
                }
                persons.cover(place)
            }
        }
    }

    private func readArchives(_ catalog: LogCatalog) throws {
        for archive in try catalog.all() where archive.archive != nil {
            let ordered = try ArchiveWindows(archive, secret) { _, _ in true }
            for index in ordered.windows.indices {
                do {
                    try take(try ordered.read(index))
                } catch BlockView.Failure.damaged {
                    try takeWhole(ordered.pieces(index))
                }
            }
        }
    }

    private func takeWhole(_ pieces: [WindowBlock]) throws {
        for piece in pieces {
            do { try take(piece) } catch BlockView.Failure.damaged { continue }
        }
    }
}
