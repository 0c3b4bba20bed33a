internal import AurumCore
internal import Logging
internal import Synchronization

/// Erasing a person: hidden at once, taken out of the files by the next runs.
extension LogUpkeep {
    /// Erasures that may wait for their files at a time.
    package static let pendingMax = 10_000

    /// Hides every event of a person, durably, before it returns; the rows leave the files later.
    ///
    /// - Parameters:
    ///   - identifiers: in the form in which the log keeps them; everything that is linked to them goes as well.
    ///   - actor: the key that asks.
    package func erase(
        org: String, _ identifiers: [PersonIdentifier], actor: String
    ) async throws -> ErasureRecord {
        let keys = secret.keys(org: org, app: "")
        let own = identifiers.map { keys.person($0).high }
        return try await BlockingWork.value { [self] in
            let linked = views.persons.identifiers(org: org, of: own)
            let person = own.first.map { views.persons.snapshot(org: org).person($0) } ?? 0
            return try hide(org, linked, person, actor)
        }
    }

    private func hide(
        _ org: String, _ keys: Set<UInt64>, _ person: UInt64, _ actor: String
    ) throws -> ErasureRecord {
        let end = views.directory.segments.last.map {
            LogPosition(segment: $0.number, offset: UInt32(clamping: $0.durableBytes), row: 0)
        }
        let now = clock.now.microseconds
        let result: Result<ErasureLedger.Entry, any Error> = state.withLock { state in
            guard !state.hasFailed, state.ledger.pending.count < Self.pendingMax else {
                return .failure(UpkeepError.storage(.failed(operation: "note another erasure", code: 0)))
            }
            var ledger = state.ledger
            let entry = ledger.add(
                ErasureLedger.Entry(
                    sequence: 0, org: org, keys: keys.sorted(),
                    end: end ?? LogPosition(segment: 0, offset: 0, row: 0), at: now, actor: actor, person: person),
                secret)
            do throws(LogStorageError) {
                try ledger.write(storage)
            } catch {
                return .failure(UpkeepError.storage(error))
            }
            state.ledger = ledger
            visibility.set(ledger.pending)
            return .success(entry)
        }
        let entry = try result.get()
        logger.info(
            "a person was erased", metadata: ["code": "person_erased", "org": "\(org)", "erasure": "\(entry.sequence)"])
        return ErasureRecord(entry)
    }

    /// The erasures of an organisation, newest first.
    package func erasures(org: String) -> [ErasureRecord] {
        state.withLock { $0.ledger.entries.filter { $0.org == org }.reversed().map { ErasureRecord($0) } }
    }

    /// Whether a record is as this installation wrote it.
    package func isGenuine(_ record: ErasureRecord, org: String) -> Bool {
        state.withLock { state in
            guard let entry = state.ledger.entries.first(where: { $0.sequence == record.sequence && $0.org == org })
            else { return false }
            return ErasureRecord(entry) == record && secret.signature(entry.statement) == entry.signature
        }
    }

    /// Adds up what was taken out for erasures that are not done.
    func noteErased(_ rows: Int, through sequence: Int64) {
        guard rows > 0 else { return }
        state.withLock { state in
            for erasure in state.ledger.pending where erasure.sequence <= sequence {
                state.erasedRows[erasure.sequence, default: 0] += rows
            }
        }
    }

    /// Closes the erasures that every file was rewritten for: their keys are forgotten.
    func finishErasures() throws {
        let segments = views.directory.segments
        let now = clock.now.microseconds
        let failure: LogStorageError? = state.withLock { state in
            var ledger = state.ledger
            let lost = LogLosses.missingSegments(segments.map(\.number), state.manifest)
            for erasure in ledger.pending {
                let waits =
                    segments.contains { $0.number <= erasure.end.segment }
                    // Also those that are lost: one that is put back must not bring an erased person back.
                    || state.manifest.archives.contains {
                        $0.first <= erasure.end.segment && $0.erasures < erasure.sequence
                    } || lost.contains { $0.first <= erasure.end.segment }
                guard !waits else { continue }
                ledger.finish(
                    erasure.sequence, rows: state.erasedRows[erasure.sequence] ?? 0, at: now, secret)
            }
            guard ledger != state.ledger else { return nil }
            do throws(LogStorageError) {
                try ledger.write(storage)
            } catch {
                return error
            }
            state.ledger = ledger
            visibility.set(ledger.pending)
            return nil
        }
        if let failure { throw failure }
    }
}
