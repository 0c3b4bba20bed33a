package import AurumCore
package import Database
internal import Foundation
package import Logging
internal import Synchronization

#if canImport(Glibc)
    internal import Glibc
#else
    internal import Darwin
#endif

/// Exports: asked for over the API, written in the background to the data folder, taken up again after a crash where
/// they were left. Who calls `work` and `expire` is given from outside; it does each export once at a time.
package final class ExportService: Sendable {
    /// Sees to it that `work` is called for an export, if and only if the transaction commits.
    package typealias Enqueue = @Sendable (_ id: UID, _ org: String, Transaction) throws -> Void

    let store: ExportStore
    let engine: QueryEngine
    private let folder: String
    private let directory: String?
    private let freeBytesMin: Int
    let clock: any WallClock
    let logger: Logger
    let enqueue: Enqueue
    /// The same for what is under way and has lost its job: not refused where a new one would be.
    private let enqueueAgain: Enqueue
    /// nil where nothing is posted.
    let hooks: ExportHooks?
    let bulk: BulkWrites
    private let known = Mutex<UID?>(nil)
    /// Posts under way.
    let posts = Mutex(0)
    /// When files of no use were last looked for.
    private let tidiedAt = Mutex<Timestamp?>(nil)

    /// - Parameters:
    ///   - folder: where files lie; made where it is missing.
    ///   - directory: where the target `directory` puts its copies; nil when there is none.
    ///   - freeBytesMin: of the volume: below it no more is written.
    ///   - bulk: whether a schedule may make an export now.
    ///   - enqueueAgain: for exports that are under way; nil where a new one is never refused either.
    package init(
        database: Database, engine: QueryEngine, folder: String, directory: String?, freeBytesMin: Int,
        clock: any WallClock, logger: Logger, hooks: ExportHooks? = nil, bulk: BulkWrites = BulkWrites(),
        enqueueAgain: Enqueue? = nil, enqueue: @escaping Enqueue
    ) {
        store = ExportStore(database: database)
        (self.engine, self.folder, self.directory) = (engine, folder, directory)
        (self.freeBytesMin, self.clock, self.logger) = (freeBytesMin, clock, logger)
        (self.hooks, self.bulk) = (hooks, bulk)
        (self.enqueue, self.enqueueAgain) = (enqueue, enqueueAgain ?? enqueue)
    }

    /// Where exports may go here.
    var targets: ExportTargets {
        ExportTargets(
            hasDirectory: directory != nil, hasHooks: hooks != nil, allowsLoopback: hooks?.allowsLoopback == true)
    }

    // MARK: API

    /// Makes an export, unless one was made for the key, and answers with it as it was then. One with consent `any` is
    /// recorded as an event of the log.
    /// - Parameter actor: the key that asks.
    /// - Throws: `ExportError.tooMany`, `IdempotencyKeyReused`, and what is wrong with the body.
    package func create(
        _ body: JSONValue, org: String, actor: String, once key: IdempotencyKey? = nil
    ) async throws -> KeptAnswer {
        let now = clock.now
        let request = try ExportRequest(body, org: org, now: now, targets: targets)
        if let query = request.query { _ = try engine.query(query) }
        let id = UID(now: now)
        let record = request.record(id, org: org, actor: actor, at: now)
        let secret = request.secret.flatMap { hooks?.sealed($0, org: org) }
        return try await store.add(
            request, secret: secret, org: org, id: id, record: record, once: key, enqueue: enqueue)
    }

    package func job(_ id: UID, org: String) async throws -> ExportJob? { try await store.job(id, org: org) }

    package func list(org: String) async throws -> [ExportJob] { try await store.list(org: org) }

    /// False when there is none.
    package func remove(_ id: UID, org: String) async throws -> Bool {
        guard let job = try await store.remove(id, org: org) else { return false }
        removeFile(job)
        return true
    }

    /// Where the file of a finished job lies, and what it holds; nil before it is done.
    package func file(_ job: ExportJob) -> (path: String, request: ExportRequest)? {
        guard job.state == .done, let request = request(job) else { return nil }
        return (path(job, request), request)
    }

    private func path(_ job: ExportJob, _ request: ExportRequest) -> String { "\(folder)/\(request.fileName(job.id))" }

    private func request(_ job: ExportJob) -> ExportRequest? {
        try? ExportRequest(job.request, org: job.org, now: job.createdAt, targets: .stored)
    }

    private func removeFile(_ job: ExportJob) {
        guard let request = request(job) else { return }
        try? FileManager.default.removeItem(atPath: path(job, request))
    }

    // MARK: without a job

    /// Writes the events that a body asks for straight to a file.
    package static func write(
        _ body: JSONValue, org: String, from source: any ColumnSource, now: Timestamp, to path: String
    ) async throws -> (rows: Int, bytes: Int, sha256: String, damagedBlocks: Int) {
        let request = try ExportRequest(body, org: org, now: now, targets: ExportTargets())
        return try await BlockingWork.value {
            let writer = try ExportWriter(
                request, segments: try OrderedLog.segments(of: source, request), path: path,
                checkpoint: ExportCheckpoint())
            while try writer.nextPart() != nil {}
            let last = writer.checkpoint
            return (last.rows, last.bytes, try writer.finish(), last.damagedBlocks ?? 0)
        }
    }

    /// SHA-256 of a file as hex.
    package static func sha256(ofFile path: String) throws -> String {
        let size = try FileManager.default.attributesOfItem(atPath: path)[.size] as? NSNumber
        return try ExportFile(path, keep: size?.intValue ?? 0).finish()
    }

    // MARK: work

    /// Makes the folder and sees to exports that an earlier process or release left open.
    package func adopt() async throws {
        try FileManager.default.createDirectory(
            atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        let id = try nodeOfFolder()
        known.withLock { $0 = id }
        await tidy()
        try await askAgain()
    }

    /// Asks for what is open and may have lost its job: to a node that did not know its kind, or that ended too often.
    /// An organisation for which that cannot be done now keeps nobody from it; it is asked for again within the hour.
    package func askAgain() async throws {
        for org in try await store.orgsAtWork() {
            do { try await store.adopt(org, enqueueAgain, post: hooks?.enqueueAgain) } catch {
                if Task.isCancelled { throw error }
                logger.error(
                    "jobs of exports were not asked for again",
                    metadata: ["code": "exports_not_adopted", "org": "\(org)", "error": "\(error)"])
            }
        }
    }

    /// Once an hour, removes files of the folder that are of no use any more: exports are removed by one node for all,
    /// and what this one began another may have finished.
    func tidy() async {
        let now = clock.now
        let isTime = tidiedAt.withLock { last in
            if let last, now - last < Self.tidyEvery { return false }
            last = now
            return true
        }
        guard isTime, let node else { return }
        do {
            // Names first: what is made meanwhile is not among them, and its export is there before it.
            let folder = folder
            let names = try await BlockingWork.value { try FileManager.default.contentsOfDirectory(atPath: folder) }
            let used = try await store.ofUse(on: node)
            try await BlockingWork.value {
                for name in names {
                    guard let stem = name.split(separator: ".").first, stem.count < name.count, let id = UID(stem),
                        !used.contains(id)
                    else { continue }
                    try FileManager.default.removeItem(atPath: "\(folder)/\(name)")
                }
            }
        } catch {
            logger.warning(
                "old files of exports are left", metadata: ["code": "exports_not_tidied", "error": "\(error)"])
        }
    }

    private static let tidyEvery: Duration = .seconds(3600)

    /// Who wrote the files of this folder; nil before `adopt`.
    var node: UID? { known.withLock { $0 } }

    /// Kept in the folder, so that another folder is another writer.
    private func nodeOfFolder() throws -> UID {
        let path = "\(folder)/node"
        if let text = try? String(contentsOfFile: path, encoding: .utf8), let id = UID(text) { return id }
        let id = UID(now: clock.now)
        try Data(id.hex.utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
        return id
    }

    /// Whether releases before schedules and webhooks would fail an export for good.
    package static func needsNewRelease(_ id: UID, org: String, in tx: Transaction) throws -> Bool {
        let found = try tx.value(
            Int.self,
            """
            SELECT COUNT(*) FROM exports
            WHERE org = \(org) AND id = \(id) AND (schedule IS NOT NULL OR hook_secret IS NOT NULL)
            """)
        return (found ?? 0) > 0
    }

    /// Does one export, from where it is; nothing when it was removed or is over. What keeps it from being written
    /// stands in the export itself.
    /// - Parameter onPart: called after every part that the file holds for good, with the rows so far.
    /// - Throws: `CancellationError` when the task was cancelled, what the store throws, what `onPart` throws, and for
    ///   an export of a schedule, whose period nobody asks for again, what may pass: then it goes on later.
    package func work(
        _ id: UID, org: String, onPart: @escaping @Sendable (_ rows: Int) async throws -> Void = { _ in }
    ) async throws {
        guard let job = try await store.job(id, org: org), job.state == .queued || job.state == .running else { return }
        await tidy()
        do {
            try await write(job, onPart)
            logger.info("export done", metadata: ["export": "\(job.id)"])
        } catch is CancellationError {
            throw CancellationError()
        } catch let interruption as PartInterruption {
            throw interruption.error
        } catch {
            let tag = (error as? ExportError)?.tag ?? "export_failed"
            if job.schedule != nil, Self.mayPass(error), clock.now - job.createdAt < ExportStore.keep {
                logger.warning(
                    "a scheduled export is tried again",
                    metadata: ["code": "\(tag)", "export": "\(job.id)", "error": "\(error)"])
                throw error
            }
            logger.error("export failed", metadata: ["code": "\(tag)", "export": "\(job.id)", "error": "\(error)"])
            try await store.fail(job, tag: tag)
        }
    }

    /// Whether the same export may succeed later.
    private static func mayPass(_ error: any Error) -> Bool {
        switch error as? ExportError {
        // The file system, the log or the database.
        case nil, .full, .storage: true
        case .query(let tag):
            [QueryError.busy(limit: 0), .timeout(rowsScanned: 0), .cancelled, .storage].contains { $0.code == tag }
        case .tooMany, .tooManySchedules, .notGivenUp: false
        }
    }

    /// Ends an export whose job was cancelled: it has failed as `cancelled`. Nothing for one that is over.
    package static func cancel(_ id: UID, org: String, in tx: Transaction) throws {
        try ExportStore.cancel(id, org: org, in: tx)
    }

    /// Removes what has been finished long enough.
    package func expire() async throws {
        await tidy()
        for job in try await store.expire() { removeFile(job) }
    }

    /// What `onPart` threw: it is not the export's fault.
    private struct PartInterruption: Error { let error: any Error }

    private func write(_ job: ExportJob, _ onPart: @Sendable (Int) async throws -> Void) async throws {
        guard let request = request(job) else { throw ExportError.query("export_request") }
        let path = path(job, request)
        let written: (sha256: String, rows: Int, bytes: Int)?
        if let query = request.query {
            written = try await write(query, request, job, path)
        } else {
            written = try await writeEvents(request, job, path, onPart)
        }
        guard let written else { return }
        try deliver(request, job, path, written.sha256)
        try await store.finish(
            job, sha256: written.sha256, rows: written.rows, bytes: written.bytes, node: node,
            deliver: request.target == .webhook ? hooks?.enqueue : nil)
    }

    /// nil when the job was deleted or cancelled meanwhile.
    private func writeEvents(
        _ request: ExportRequest, _ job: ExportJob, _ path: String, _ onPart: @Sendable (Int) async throws -> Void
    ) async throws -> (sha256: String, rows: Int, bytes: Int)? {
        let source = engine.source
        let writer = try await BlockingWork.value {
            let segments = try OrderedLog.segments(of: source, request)
            if let snapshot = job.knownSnapshot, let checkpoint = job.knownCheckpoint,
                let known = snapshot.find(in: segments),
                let writer = try? ExportWriter(request, segments: known, path: path, checkpoint: checkpoint)
            {
                return (snapshot, writer)
            }
            // What was begun no longer fits the log or the file: from the start.
            let writer = try ExportWriter(request, segments: segments, path: path, checkpoint: ExportCheckpoint())
            return (ExportSnapshot(segments), writer)
        }
        try await store.start(job, snapshot: writer.0, checkpoint: writer.1.checkpoint)
        while true {
            try Task.checkCancellation()
            try checkRoom()
            guard let checkpoint = try await BlockingWork.value({ try writer.1.nextPart() }) else { break }
            guard try await store.save(checkpoint, of: job) else {
                try? FileManager.default.removeItem(atPath: path)
                return nil
            }
            do { try await onPart(checkpoint.rows) } catch { throw PartInterruption(error: error) }
        }
        let last = writer.1.checkpoint
        reportDamage(last.damagedBlocks ?? 0, job)
        return (try writer.1.finish(), last.rows, last.bytes)
    }

    private func write(
        _ query: JSONValue, _ request: ExportRequest, _ job: ExportJob, _ path: String
    ) async throws -> (sha256: String, rows: Int, bytes: Int)? {
        let answer: QueryAnswer
        do throws(QueryError) {
            answer = try await engine.answer(request.confined(try engine.query(query)), org: job.org)
        } catch {
            throw ExportError.query(error.code)
        }
        if answer.damagedBlocks > 0 {
            var checkpoint = ExportCheckpoint()
            checkpoint.damagedBlocks = answer.damagedBlocks
            guard try await store.save(checkpoint, of: job) else { return nil }
            reportDamage(answer.damagedBlocks, job)
        }
        try checkRoom()
        let text = request.format == .csv ? answer.csv : answer.lines
        let file = try ExportFile(path, keep: 0)
        let bytes = try file.append(ExportPacker(compression: request.compression).pack(Array(text.utf8)))
        return (try file.finish(), answer.rows.count, bytes)
    }

    private func reportDamage(_ blocks: Int, _ job: ExportJob) {
        guard blocks > 0 else { return }
        logger.warning(
            "damaged blocks are not in an export",
            metadata: ["code": "export_damaged", "export": "\(job.id)", "damaged_blocks": "\(blocks)"])
    }

    private func checkRoom() throws {
        let attributes = try FileManager.default.attributesOfFileSystem(forPath: folder)
        let free = (attributes[.systemFreeSize] as? NSNumber)?.int64Value ?? .max
        if free < Int64(freeBytesMin) { throw ExportError.full }
    }

    /// Copies a finished file to the folder of exports, under its name only when it is whole.
    private func deliver(_ request: ExportRequest, _ job: ExportJob, _ path: String, _ sha256: String) throws {
        guard request.target == .directory else { return }
        guard let directory else { throw ExportError.storage }
        let manager = FileManager.default
        try manager.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let name = request.fileName(job.id)
        let target = "\(directory)/\(name)"
        let part = "\(target).part"
        try? manager.removeItem(atPath: part)
        try manager.copyItem(atPath: path, toPath: part)
        let copy = try FileHandle(forUpdating: URL(fileURLWithPath: part))
        try copy.synchronize()
        try copy.close()
        guard rename(part, target) == 0 else { throw ExportError.storage }
        try Data("\(sha256)  \(name)\n".utf8).write(to: URL(fileURLWithPath: "\(target).sha256"), options: .atomic)
    }
}
