package import AurumCore
package import Database
internal import Synchronization

/// One app as it stands: its settings and the plan in force. Never changes; a change makes a new one.
package final class AppState: Sendable {
    package let org: String
    package let app: String
    package let settings: AppSettings
    /// 0 while nobody has set anything.
    package let version: Int
    package let updatedAt: Timestamp?
    /// The newest plan; nil without one.
    package let plan: CompiledPlan?
    let personalKeys: PersonalKeys

    init(
        org: String, app: String, settings: AppSettings = AppSettings(), version: Int = 0, updatedAt: Timestamp? = nil,
        plan: CompiledPlan? = nil
    ) {
        (self.org, self.app, self.settings, self.version) = (org, app, settings, version)
        (self.updatedAt, self.plan) = (updatedAt, plan)
        personalKeys = PersonalKeys(settings.personalKeys + (plan?.personalKeys ?? []))
    }

    package var json: JSONValue {
        var members = settings.json.object ?? [:]
        members["app"] = .string(app)
        members["version"] = .integer(Int64(version))
        members["updated_at"] = updatedAt.map { .string($0.rfc3339) } ?? .null
        members["plan_version"] = plan.map { .integer(Int64($0.version)) } ?? .null
        return .object(members)
    }
}

/// A version of a tracking plan.
package struct PlanRecord: Sendable {
    package var version: Int
    package var document: JSONValue
    package var createdAt: Timestamp
}

/// Settings and plans of all apps, in memory beside their tables: a request finds its app without touching the disk,
/// and a change acts on the next request.
package final class AppBook: Sendable {
    private struct Name: Hashable {
        var org: String
        var app: String
    }

    package static let appsMax = 10_000

    private let database: Database
    private let states: Mutex<[Name: AppState]>

    private init(database: Database, states: [Name: AppState]) {
        self.database = database
        self.states = Mutex(states)
    }

    /// Reads every app and its newest plan.
    package static func open(_ database: Database) async throws -> AppBook {
        let (apps, plans) = try await database.read("apps.all", limit: .report) { transaction in
            (
                try transaction.all(AppRow.self, "SELECT org, app, settings, version, updated_at FROM apps"),
                try transaction.all(
                    PlanRow.self,
                    """
                    SELECT org, app, version, plan, created_at FROM app_plans AS plans
                    WHERE version = (SELECT max(version) FROM app_plans AS newer
                                     WHERE newer.org = plans.org AND newer.app = plans.app)
                    """)
            )
        }
        var states: [Name: AppState] = [:]
        for row in apps {
            states[Name(org: row.org, app: row.app)] = AppState(
                org: row.org, app: row.app, settings: try AppSettings(row.settings), version: row.version,
                updatedAt: row.updatedAt)
        }
        for row in plans {
            let name = Name(org: row.org, app: row.app)
            let known = states[name] ?? AppState(org: row.org, app: row.app)
            let plan = try CompiledPlan(row.record.document, version: row.record.version)
            states[name] = AppState(
                org: row.org, app: row.app, settings: known.settings, version: known.version,
                updatedAt: known.updatedAt, plan: plan)
        }
        return AppBook(database: database, states: states)
    }

    /// The app as it stands; with defaults when nobody has set anything.
    package func state(org: String, app: String) -> AppState {
        states.withLock { $0[Name(org: org, app: app)] } ?? AppState(org: org, app: app)
    }

    /// Apps of an organisation that have settings or a plan, by name.
    package func list(org: String) -> [AppState] {
        states.withLock { $0.values.filter { $0.org == org } }.sorted { $0.app < $1.app }
    }

    /// Settings of every app of every organisation, by organisation and app.
    package var everySettings: [AppSettings] {
        states.withLock { Array($0.values) }.sorted { ($0.org, $0.app) < ($1.org, $1.app) }.map(\.settings)
    }

    /// The fewest days for which any app keeps anything.
    var shortestRetentionDays: Int {
        states.withLock { states in
            states.values.reduce(AppSettings().retentionDays) { days, state in
                state.settings.retentionDaysByType.values.reduce(min(days, state.settings.retentionDays)) {
                    min($0, $1)
                }
            }
        }
    }

    /// The most days for which any app keeps anything.
    var longestRetentionDays: Int {
        states.withLock { states in
            states.values.reduce(AppSettings().retentionDays) { max($0, StoragePeriod($1.settings).longest) }
        }
    }

    /// Replaces the settings of an app.
    package func put(org: String, app: String, _ document: JSONValue) async throws -> AppState {
        try Self.check(app: app)
        let settings = try AppSettings(document)
        guard states.withLock({ $0.count }) < Self.appsMax else { throw PolicyError.tooManyApps }
        let text = settings.json
        let saved = try await database.write("apps.put") { transaction in
            try transaction.run(
                """
                INSERT INTO apps (org, app, settings, version, updated_at)
                VALUES (\(org), \(app), \(text), 1, \(transaction.now))
                ON CONFLICT (org, app) DO UPDATE SET settings = excluded.settings, version = apps.version + 1,
                    updated_at = excluded.updated_at
                """)
            return try transaction.one(
                AppRow.self,
                "SELECT org, app, settings, version, updated_at FROM apps WHERE org = \(org) AND app = \(app)")
        }
        return change(org, app) { known in
            AppState(
                org: org, app: app, settings: settings, version: saved?.version ?? known.version + 1,
                updatedAt: saved?.updatedAt, plan: known.plan)
        }
    }

    /// Adds a version of an app's plan and puts it in force.
    package func putPlan(org: String, app: String, _ document: JSONValue) async throws -> CompiledPlan {
        try Self.check(app: app)
        // Compiled before it is written: a plan that cannot be understood has no version.
        _ = try CompiledPlan(document, version: 0)
        let version = try await database.write("apps.putPlan") { transaction in
            let newest = try transaction.value(
                Int.self, "SELECT max(version) FROM app_plans WHERE org = \(org) AND app = \(app)")
            let version = (newest ?? 0) + 1
            try transaction.run(
                """
                INSERT INTO app_plans (org, app, version, plan, created_at)
                VALUES (\(org), \(app), \(version), \(document), \(transaction.now))
                """)
            return version
        }
        let plan = try CompiledPlan(document, version: version)
        _ = change(org, app) { known in
            guard version > known.plan?.version ?? 0 else { return known }
            return AppState(
                org: org, app: app, settings: known.settings, version: known.version, updatedAt: known.updatedAt,
                plan: plan)
        }
        return plan
    }

    /// One version of an app's plan; the newest unless told.
    package func plan(org: String, app: String, version: Int? = nil) async throws -> PlanRecord? {
        let row = try await database.read("apps.plan") { transaction in
            try transaction.one(
                PlanRow.self,
                """
                SELECT org, app, version, plan, created_at FROM app_plans
                WHERE org = \(org) AND app = \(app) AND version = COALESCE(\(version), version)
                ORDER BY version DESC LIMIT 1
                """)
        }
        return row?.record
    }

    private func change(_ org: String, _ app: String, _ make: (AppState) -> AppState) -> AppState {
        states.withLock { states in
            let name = Name(org: org, app: app)
            let state = make(states[name] ?? AppState(org: org, app: app))
            states[name] = state
            return state
        }
    }

    private static func check(app: String) throws(PolicyError) {
        guard !app.isEmpty, app.utf8.count <= 64,
            app.utf8.allSatisfy({ (48...57).contains($0) || (97...122).contains($0 | 32) || $0 == 45 || $0 == 95 })
        else { throw .invalid([PolicyProblem("app", "must be 1 to 64 letters, digits, - or _")]) }
    }
}

private struct AppRow: RowDecodable {
    var org: String
    var app: String
    var settings: JSONValue
    var version: Int
    var updatedAt: Timestamp

    init(row: Row) throws {
        (org, app) = (try row.get("org"), try row.get("app"))
        (settings, version) = (try row.get("settings"), try row.get("version"))
        updatedAt = try row.get("updated_at")
    }
}

private struct PlanRow: RowDecodable {
    var org: String
    var app: String
    var record: PlanRecord

    init(row: Row) throws {
        (org, app) = (try row.get("org"), try row.get("app"))
        record = PlanRecord(
            version: try row.get("version"), document: try row.get("plan"), createdAt: try row.get("created_at"))
    }
}
