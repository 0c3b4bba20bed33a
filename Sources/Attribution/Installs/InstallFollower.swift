internal import AurumCore
internal import Database
internal import Events
internal import Telemetry

/// Whose opens and uses of apps a follower looks at.
private struct FollowedApps: Sendable {
    var installed: Set<InstallStore.Owner>
    /// Others of which uses were passed over.
    var passedOver: Set<InstallStore.Owner>
    var readAt: Timestamp
}

/// Follows the event log and matches each of its installs once.
///
/// What it reads and how far it has read are written in one transaction, and so is each decision with the mark that it
/// was made: a process that ends at any moment goes on in the next one where the tables are. An install is decided when
/// everything that was durable together with it has been read.
package actor InstallFollower {
    private let installs: InstallAttribution
    private var place: InstallScanPlace?
    private var uses = UseBuffer()
    private var position: LogPosition?
    private var isPlaced = false
    /// nil before they are read.
    private var apps: FollowedApps?
    private var isWorking = false
    /// Rows behind the position that the table holds, none of them of interest.
    private var unwritten = 0
    /// More are not read twice after a start.
    private static let unwrittenMax = 1_000_000
    /// Between two looks at what other servers have of new apps.
    private static let appsFor: Duration = .seconds(60)
    /// Installs decided together.
    static let decidedEach = 100

    package init(_ installs: InstallAttribution) { self.installs = installs }

    /// Whether uses of apps wait to be written, which another call does when their time is up.
    package var holdsUses: Bool { uses.heldFrom != nil }

    /// Reads everything that is durable now and decides every install that waits. Returns at once while another call
    /// works.
    /// - Throws: database errors and what the log throws; what was done stays done.
    package func catchUp() async throws {
        guard !isWorking else { return }
        isWorking = true
        defer { isWorking = false }
        try await read()
        try await decide()
    }

    private func read() async throws {
        if !isPlaced {
            position = try await installs.store.position(log: installs.log)
            isPlaced = true
        }
        let (source, position, place) = (installs.source, position, place)
        var bounds = InstallScanBounds()
        let apps = try await followedApps()
        (bounds.apps, bounds.passedOver) = (apps.installed, apps.passedOver)
        let scan = try await BlockingWork.value { [bounds] in
            let segments = try source.segments()
            guard place == nil, let position else {
                return InstallScan(segments, after: position, bounds: bounds, place: place)
            }
            // Tables that were put back beside an older log are ahead of it: what is read twice changes nothing.
            let isAhead = try LogCursor.lastPosition(of: segments).map { $0 < position } ?? true
            return InstallScan(segments, after: isAhead ? nil : position, bounds: bounds)
        }
        // After the snapshot was taken: whatever was received after a template was made is compared with it.
        scan.watch(try await installs.watches())
        while var batch = try await BlockingWork.value({ try scan.next() }) {
            try Task.checkCancellation()
            (batch.activity, batch.moved) = uses.take(
                batch.activity, opens: batch.opens, after: self.position, now: installs.clock.now)
            if let read = batch.position { self.position = read }
            self.apps?.installed = scan.apps
            self.apps?.passedOver = scan.passedOver
            unwritten += batch.rows
            // That nothing was there need not be durable.
            if batch.isEmpty, unwritten < Self.unwrittenMax { continue }
            try await keep(batch)
        }
        self.place = scan.place
        guard uses.isDue(installs.clock.now) else { return }
        var rest = InstallBatch()
        (rest.moved, rest.position) = (uses.takeAll(), self.position)
        try await keep(rest)
    }

    /// Apps that somebody installed, by what was read here and, now and then, by what others have read.
    private func followedApps() async throws -> FollowedApps {
        let now = installs.clock.now
        if let apps, apps.readAt <= now, now < apps.readAt + Self.appsFor { return apps }
        let installed = Set(try await installs.store.owners())
        var passedOver = apps?.passedOver
        if passedOver == nil { passedOver = Set(try await installs.opens.passedOver(log: installs.log)) }
        var found = FollowedApps(installed: installed, passedOver: passedOver ?? [], readAt: now)
        // Somebody installed them elsewhere: here their uses are kept from now on.
        var batch = InstallBatch()
        for owner in found.passedOver.intersection(installed) { batch.keptSince[owner] = now }
        found.passedOver.subtract(installed)
        if !batch.isEmpty { try await keep(batch) }
        apps = found
        return found
    }

    private func keep(_ batch: InstallBatch) async throws {
        do {
            let lost = try await installs.store.keep(batch, log: installs.log, usesTo: uses.heldFrom)
            // Somebody was erased meanwhile: what they do from now on is new.
            if lost > 0 { uses.forgetWritten() }
        } catch {
            // The next call begins where the table says.
            (place, isPlaced, uses, apps) = (nil, false, UseBuffer(), nil)
            throw error
        }
        count(batch.touches)
        if batch.position != nil { unwritten = 0 }
    }

    /// Decides every install and every open that waits, and whom conversions are told to.
    /// - Throws: what one organisation has wrong, once everything of all others is done; without a database at once.
    private func decide() async throws {
        var failure: (any Error)?
        do { try await decideWaiting() } catch {
            try Self.rethrow(error)
            failure = error
        }
        // After the installs: whoever is back was there before.
        do { try await installs.decideOpens() } catch {
            try Self.rethrow(error)
            failure = failure ?? error
        }
        try await installs.store.callbacks?.settle()
        if let failure { throw failure }
    }

    private func count(_ touches: [SeenTouch]) {
        for (channel, found) in Dictionary(grouping: touches, by: \.touch.channel) {
            installs.registry.counter(.attributionTouchpoints, channel).increment(by: found.count)
        }
    }

    private func decideWaiting() async throws {
        var isOver = false
        var failed: [String: any Error] = [:]
        while !isOver {
            try Task.checkCancellation()
            let waiting = try await installs.store.waiting(limit: Self.decidedEach, without: Array(failed.keys))
            for (org, installs) in Dictionary(grouping: waiting, by: \.facts.org) {
                do { _ = try await self.installs.decide(installs, cause: "followed") } catch {
                    try Self.rethrow(error)
                    failed[org] = error
                }
            }
            isOver = waiting.count < Self.decidedEach
        }
        let left = try await installs.store.waitingCount()
        installs.registry.gauge(.attributionInstallsWaiting).set(Double(left))
        if let failure = failed.values.first { throw failure }
    }

    /// What one organisation has wrong keeps no other waiting; without a database all wait.
    static func rethrow(_ error: any Error) throws {
        if Task.isCancelled || error is CancellationError { throw error }
        if let error = error as? SQLError, error.isTemporary { throw error }
    }
}
