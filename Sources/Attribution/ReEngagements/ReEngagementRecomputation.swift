internal import AurumCore
internal import Events

/// Opens of a recomputation that are decided together, and what of the log that takes.
private struct OpensPart: Sendable {
    /// Their devices: uses of others are of no interest.
    var devices: Set<Int64> = []
    var first = Int64.max
    var last = Int64.min
    /// Opens from here on are of another part.
    var end: Int64
}

extension InstallAttribution {
    /// Identifiers of devices whose uses are read back at once.
    private static let devicesReadBack = 200_000

    /// Decides the opens of a time range once more, by every use of their devices that the log still holds. Uses of
    /// other devices are not read back: an app's whole history may be many millions.
    /// - Parameter stay: called between two steps.
    /// - Returns: decisions that changed.
    func recomputeOpens(
        org: String, from: Int64, to: Int64, run: UID, _ stay: () async throws -> Void
    ) async throws -> Int {
        let reach = try await opens.reach(org: org)
        let apps = Set(try await store.owners().filter { $0.org == org })
        var (changed, from) = (0, from)
        while from < to {
            guard let part = try await part(org, from: from, to: to, stay) else { break }
            var bounds = InstallScanBounds(org: org)
            let (first, isOver) = part.first.subtractingReportingOverflow(reach)
            bounds.touches = (isOver ? .min : first)...part.last
            bounds.installs = (bounds.touches.lowerBound, part.last)
            (bounds.apps, bounds.devices, bounds.isOnlyUses) = (apps, part.devices, true)
            let source = source
            let scan = try await BlockingWork.value { [bounds] in
                InstallScan(try source.segments(), after: nil, bounds: bounds)
            }
            while var batch = try await BlockingWork.value({ try scan.next() }) {
                try await stay()
                batch.reopens = false
                _ = try await store.keep(batch, log: nil)
            }
            changed += try await decide(part, org: org, from: from, run: run, stay)
            from = part.end
        }
        return changed
    }

    /// The next opens; nil where there are none.
    private func part(
        _ org: String, from: Int64, to: Int64, _ stay: () async throws -> Void
    ) async throws -> OpensPart? {
        var (part, mark) = (OpensPart(end: to), InstallPageMark?.none)
        while true {
            try await stay()
            let page = try await opens.page(
                org: org, from: from, to: to, after: mark, limit: InstallFollower.decidedEach)
            guard let last = page.last?.install else { break }
            part.devices.formUnion(try await opens.devices(of: page))
            let times = page.map(\.install.facts.at.microseconds)
            (part.first, part.last) = (min(part.first, times.min() ?? .max), max(part.last, times.max() ?? .min))
            mark = InstallPageMark(at: last.facts.at, app: last.facts.app, eventID: last.eventID)
            guard part.devices.count < Self.devicesReadBack else {
                // Those of the last moment may not be complete, unless there is no other one.
                part.end = part.last > from ? part.last : from + 1
                break
            }
        }
        return mark == nil ? nil : part
    }

    private func decide(
        _ part: OpensPart, org: String, from: Int64, run: UID, _ stay: () async throws -> Void
    ) async throws -> Int {
        let (clock, retention) = (clock, usesRetention)
        // What was asked for was read back from this log, as far as it goes.
        let readBack = ReadBack(log: log, devices: part.devices) { app in
            clock.now - .seconds(Int64(retention(org, app)) * 86_400)
        }
        var (changed, mark) = (0, InstallPageMark?.none)
        while true {
            try await stay()
            let page = try await opens.page(
                org: org, from: from, to: part.end, after: mark, limit: InstallFollower.decidedEach)
            guard let last = page.last?.install else { return changed }
            changed += try await decideOpens(
                page, org: org, cause: "recomputed \(run.hex)", anew: true, readBack: readBack)
            mark = InstallPageMark(at: last.facts.at, app: last.facts.app, eventID: last.eventID)
        }
    }
}
