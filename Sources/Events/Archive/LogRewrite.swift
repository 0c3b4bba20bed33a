internal import AurumCore

/// What a rewriting did to the rows it read.
package struct RewriteTally: Sendable, Equatable {
    package var rowsRead = 0
    package var rowsWritten = 0
    /// Rows that were left out because their time had come, their person was erased, or their quarantine was over.
    package var expired = 0
    package var erased = 0
    package var quarantineOver = 0
    /// Rows that turned out to be second copies, by what they were taken for.
    package var duplicates = 0
    package var requestsDropped = 0
    /// Rows of requests of which nothing was kept, not even their places.
    var rowsDropped = 0
    package var bytesBefore = 0
    package var bytesAfter = 0
    package var files = 0
    var corrections: [String: OutcomeCounts] = [:]

    package static func += (left: inout RewriteTally, right: RewriteTally) {
        left.rowsRead += right.rowsRead
        left.rowsWritten += right.rowsWritten
        left.expired += right.expired
        left.erased += right.erased
        left.quarantineOver += right.quarantineOver
        left.duplicates += right.duplicates
        left.requestsDropped += right.requestsDropped
        left.bytesBefore += right.bytesBefore
        left.bytesAfter += right.bytesAfter
        left.files += right.files
    }
}

/// An app of an organisation.
struct AppName: Hashable, Sendable {
    var org: String
    var app: String
}

/// Copies segments and archives into one archive, app by app. Reads the sources as often as there are groups of apps,
/// so that memory stays bounded however many there are.
struct LogRewrite {
    /// A file that is read.
    enum Source: Sendable {
        case segment(SegmentDirectory.Segment)
        case archive(ArchiveFile)

        var first: UInt32 {
            switch self {
            case .segment(let segment): segment.number
            case .archive(let archive): archive.first
            }
        }

        var last: UInt32 {
            switch self {
            case .segment(let segment): segment.number
            case .archive(let archive): archive.last
            }
        }

        var byteCount: Int {
            switch self {
            case .segment(let segment): segment.durableBytes
            case .archive(let archive): archive.entry.bytes
            }
        }

        /// A catalogue of its own, so that what reading it brings into memory leaves with it.
        func catalog() throws -> SegmentCatalog {
            switch self {
            case .archive(let archive): return SegmentCatalog(archive)
            case .segment(let segment):
                let catalog = SegmentCatalog(segment)
                try catalog.extend(to: segment.durableBytes)
                return catalog
            }
        }
    }

    /// Days for which a receipt can be read, and events in quarantine.
    static let receiptDays = 30
    private static let dayMicroseconds: Int64 = 86_400_000_000
    private static let passesMax = 12
    private static let rowBytes = 100

    let sources: [Source]
    /// Archives of the same day that stand before them, the newest first: what they hold already is a second copy here.
    var earlier: [ArchiveFile] = []
    let secret: InstallationSecret
    let visibility: LogVisibility
    let now: Timestamp
    let limits: ArchiveWriter.Limits
    let search: DuplicateSearch
    /// Called after each block: rests, or throws to stop.
    let pace: () throws -> Void

    /// What a pass writes: the kinds of requests that it takes, by organisation and app.
    private struct Plan {
        var kinds: [AppName: Int] = [:]
        var passes: [Set<Int>] = []
        var rows = 0
    }

    func run(into writer: ArchiveWriter) throws -> RewriteTally {
        let plan = try plan()
        let duplicates = try search.run(rows: plan.rows, earlier: earlier.isEmpty ? nil : eachEarlierBlock) { body in
            for (file, source) in sources.enumerated() { try eachBlock(source) { try body(file, $0, $1) } }
        }
        var tally = RewriteTally()
        tally.rowsRead = plan.rows
        for pass in plan.passes {
            for (file, source) in sources.enumerated() {
                try copy(source, duplicates[file] ?? [:], plan, pass, writer, &tally)
            }
            try writer.flushAll()
        }
        tally.rowsWritten = writer.rowCount
        return tally
    }

    /// Calls `body` with every block of rows.
    /// - Throws: `BlockView.Failure.damaged` when one cannot be read: what is damaged stays as it is.
    private func eachBlock(_ source: Source, _ body: (_ number: Int, DecodedBlock) throws -> Void) throws {
        let catalog = try source.catalog()
        for (number, entry) in catalog.entries.enumerated() {
            guard let view = try catalog.view(entry.offset) else { throw BlockView.Failure.damaged }
            try body(number, try DecodedBlock(view, catalog: catalog, secret: secret))
            try pace()
        }
    }

    /// Calls `body` with every block of earlier archives that can be read until it answers false: damage in them keeps
    /// nothing here from being written.
    private func eachEarlierBlock(_ body: (DecodedBlock) throws -> Bool) throws {
        for archive in earlier {
            let catalog = SegmentCatalog(archive)
            for entry in catalog.entries {
                do {
                    if let view = try catalog.view(entry.offset) {
                        guard try body(try DecodedBlock(view, catalog: catalog, secret: secret)) else { return }
                    }
                } catch BlockView.Failure.damaged {}
                try pace()
            }
        }
    }

    // MARK: what stands together

    private func plan() throws -> Plan {
        var rows: [AppName: Int] = [:]
        var plan = Plan()
        for source in sources {
            let catalog = try source.catalog()
            guard !catalog.hasGap else { throw BlockView.Failure.damaged }
            for entry in catalog.entries {
                guard let view = try catalog.view(entry.offset) else { throw BlockView.Failure.damaged }
                for request in view.requests {
                    rows[AppName(org: request.org, app: request.app), default: 0] += request.rowCount
                }
                plan.rows += entry.rowCount
            }
        }
        let apps = rows.sorted { ($0.key.org, $0.key.app) < ($1.key.org, $1.key.app) }
        let waiting = apps.reduce(0) { $0 + min($1.value, limits.blockRowsMax) * Self.rowBytes }
        let share = max(limits.bufferBytesMax, waiting / Self.passesMax + 1)
        // Kind 0 takes all small apps.
        var pass: Set<Int> = [0]
        var bytes = 0
        for (number, app) in apps.enumerated() {
            guard app.value >= limits.ownBlockRows else {
                plan.kinds[app.key] = 0
                continue
            }
            let more = min(app.value, limits.blockRowsMax) * Self.rowBytes
            if bytes + more > share, !pass.isEmpty {
                plan.passes.append(pass)
                (pass, bytes) = ([], 0)
            }
            plan.kinds[app.key] = number + 1
            pass.insert(number + 1)
            bytes += more
        }
        plan.passes.append(pass)
        return plan
    }

    // MARK: copying

    private func copy(
        _ source: Source, _ duplicates: [Int: RowBits], _ plan: Plan, _ pass: Set<Int>, _ writer: ArchiveWriter,
        _ tally: inout RewriteTally
    ) throws {
        let catalog = try source.catalog()
        var names: [UInt32: SourceNames] = [:]
        for (number, entry) in catalog.entries.enumerated() {
            guard
                try catalog.sources(of: entry).contains(where: {
                    pass.contains(plan.kinds[AppName(org: $0.org, app: $0.app)] ?? 0)
                })
            else {
                continue
            }
            guard let view = try catalog.view(entry.offset) else { throw BlockView.Failure.damaged }
            let block = try DecodedBlock(view, catalog: catalog, secret: secret)
            let known = names[entry.shard] ?? SourceNames(block.dictionary, catalog)
            names[entry.shard] = known
            let copied = try SourceBlock(block, known)
            let removal = try removal(block)
            let verdicts = ArchiveBuffer.Verdicts(gone: removal.all, duplicates: duplicates[number] ?? RowBits())
            for (place, request) in view.requests.enumerated() {
                let kind = plan.kinds[AppName(org: request.org, app: request.app)] ?? 0
                guard pass.contains(kind) else { continue }
                let rows = request.firstRow..<request.firstRow + request.rowCount
                count(rows, removal, verdicts.duplicates, block, request.org, &tally)
                if request.receivedAt < receiptEnd, rows.allSatisfy({ removal.all.contains($0) }) {
                    tally.requestsDropped += 1
                    tally.rowsDropped += rows.count
                    continue
                }
                try writer.append(copied, request: place, kind: kind, verdicts)
            }
            try pace()
        }
    }

    private var receiptEnd: Int64 { now.microseconds - Int64(Self.receiptDays) * Self.dayMicroseconds }

    /// Rows that are left out, by why.
    private struct Removal {
        var before: Set<Int> = []
        var expired: Set<Int> = []
        var erased: Set<Int> = []
        var quarantineOver: Set<Int> = []
        var all: Set<Int> = []
    }

    private func removal(_ block: DecodedBlock) throws -> Removal {
        let outcomes = try block.storedOutcomes()
        var removal = Removal()
        removal.before = Set(outcomes.indices.filter { outcomes[$0] == DecodedBlock.goneOutcome })
        removal.expired = Set(try visibility.expiredRows(block, outcomes))
        removal.erased = Set(try visibility.erasedRows(block))
        for request in block.view.requests where request.counts.quarantined > 0 && request.receivedAt < receiptEnd {
            for row in request.firstRow..<request.firstRow + request.rowCount
            where outcomes[row] == EventOutcome.quarantined.rawValue {
                removal.quarantineOver.insert(row)
            }
        }
        removal.all = removal.before.union(removal.expired).union(removal.erased).union(removal.quarantineOver)
        return removal
    }

    private func count(
        _ rows: Range<Int>, _ removal: Removal, _ duplicates: RowBits, _ block: DecodedBlock, _ org: String,
        _ tally: inout RewriteTally
    ) {
        for row in rows where duplicates.contains(row) && !removal.all.contains(row) {
            tally.duplicates += 1
            if let outcome = (try? block.storedOutcomes()[row]).flatMap(EventOutcome.init(rawValue:)) {
                tally.corrections[org, default: OutcomeCounts()][outcome] += 1
            }
        }
        guard removal.all.count > removal.before.count else { return }
        for row in rows where removal.all.contains(row) && !removal.before.contains(row) {
            if removal.erased.contains(row) {
                tally.erased += 1
            } else if removal.expired.contains(row) {
                tally.expired += 1
            } else {
                tally.quarantineOver += 1
            }
        }
    }
}
