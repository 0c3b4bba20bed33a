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

    /// Reads the blocks of the log's files behind what is covered; damaged ones are left out.
    func run(_ directory: SegmentDirectory) throws(LogStorageError) {
        let covered = persons.covered
        for segment in directory.segments where segment.number >= covered?.segment ?? 0 {
            var walk = SegmentWalk(segment.file, end: segment.durableBytes)
            while case .block(let offset, let header)? = try Self.step(&walk) {
                let place = BlockPlace(segment: segment.number, offset: UInt32(offset))
                if let covered, place <= covered { continue }
                guard header.kind == .rows, !segment.damagedOffsets.contains(offset) else { continue }
                do throws(BlockView.Failure) {
                    take(try BlockView(segment.file, segment: segment.number, offset: offset, header: header))
                } catch {
                    if case .storage(let failure) = error { throw failure }
                }
                persons.cover(place)
            }
        }
    }

    /// The next block, stepping over damage; nil at the end.
    private static func step(_ walk: inout SegmentWalk) throws(LogStorageError) -> SegmentWalk.Step? {
        while true {
            let step = try walk.next()
            switch step {
            case .block: return step
            case .damage: continue
            case .end, .unknownVersion: return nil
            }
        }
    }

    /// Decodes only the rows that may say something.
    private func take(_ block: BlockView) {
        let names = [NameHash.of(IdentityRule.merged), NameHash.of(IdentityRule.unmerged)]
        let rows: [Int] =
            block.withRows { base, count in
                (0..<count).filter { number in
                    let row = RowView(base: base + number * RowLayout.byteCount)
                    guard IdentityRule.mayLink(Int(row.type)), IdentityRule.counts(row.outcome) else { return false }
                    return row.type != EventType.internal.rawValue || names.contains(row.name)
                }
            } ?? []
        guard !rows.isEmpty else { return }
        let decoder = EventDecoder(secret: secret)
        let reader = PayloadReader(block)
        for row in rows {
            guard let raw = try? reader.raw(row), let event = decoder.event(raw, row: row, block: block) else {
                continue
            }
            take(event)
        }
    }
}
