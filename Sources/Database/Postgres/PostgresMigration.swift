internal import AurumCore
internal import Logging

/// Migrations on a PostgreSQL connection, under a lock that one node holds.
struct PostgresMigration: MigrationTarget {
    /// Longest run of one migration, and longest wait for another node that migrates.
    static let limit: Duration = .seconds(600)
    private static let lockPoll: Duration = .milliseconds(100)
    private static let lock = "hashtextextended('aurum migrations ' || current_schema(), 0)"

    private let connection: PostgresConnection

    /// Connects and runs `body` while no other node migrates the same schema.
    static func alone<Value>(
        _ address: PostgresAddress, _ body: (PostgresMigration) throws -> Value
    ) throws -> Value {
        try beside(address) { target in
            try target.takeLock()
            let value = try body(target)
            try target.connection.command("SELECT pg_advisory_unlock(\(lock))")
            return value
        }
    }

    /// Connects and runs `body`, whoever migrates meanwhile: for what only looks.
    static func beside<Value>(
        _ address: PostgresAddress, _ body: (PostgresMigration) throws -> Value
    ) throws -> Value {
        do {
            let connection = try PostgresConnection(address)
            try connection.command("SET default_transaction_read_only = off")
            // Without a schema the lock has no name, and nobody could ever take it.
            let schema: String? = try connection.command("SELECT current_schema()").first?.first ?? nil
            guard schema != nil else {
                throw SQLError.schema(
                    "its search_path names no schema that exists, or one this user may not use; make it with "
                        + "CREATE SCHEMA")
            }
            return try body(PostgresMigration(connection: connection))
        } catch is PostgresConnectionLost { throw SQLError.unavailable }
    }

    /// Waits for a node that migrates, and says once for whom.
    private func takeLock() throws {
        let deadline = ContinuousClock.now + Self.limit
        var known: String?
        while try connection.command("SELECT pg_try_advisory_lock(\(Self.lock))").first?.first != "t" {
            if known == nil {
                let holder = try holder() ?? "a node that has just ended"
                Logger(label: "database").notice(
                    "another node migrates the schema; this one waits for it, at most ten minutes",
                    metadata: ["code": "schema_waiting", "holder": "\(holder)"])
                known = holder
            }
            guard ContinuousClock.now < deadline else {
                throw SQLError.schema("another node has been migrating for ten minutes: \(known ?? "")")
            }
            OwnThread.pause(Self.lockPoll)
        }
    }

    /// Who migrates; nil when nobody does.
    func holder() throws -> String? {
        try connection.command(
            """
            SELECT 'process ' || l.pid || ' of PostgreSQL'
                || COALESCE(' (' || NULLIF(a.application_name, '') || ')', '')
                || ', for ' || COALESCE(host(a.client_addr), 'its own machine')
                || COALESCE(to_char(a.backend_start AT TIME ZONE 'UTC', '", since "YYYY-MM-DD"T"HH24:MI:SS"Z"'), '')
            FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
            WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
                AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                AND (CAST(l.classid AS bigint) << 32 | CAST(l.objid AS bigint)) = \(Self.lock)
            """
        ).first?.first ?? nil
    }

    private init(connection: PostgresConnection) { self.connection = connection }

    func applied() throws -> [Int: String] {
        try connection.command(PostgresText.schema(Migration.table))
        return try known()
    }

    /// What was applied; nothing where the table does not exist yet.
    func known() throws -> [Int: String] {
        guard try connection.command("SELECT to_regclass('schema_migrations')").first?.first ?? nil != nil else {
            return [:]
        }
        let rows = try connection.command("SELECT version, sha256 FROM schema_migrations")
        return Dictionary(
            rows.compactMap { row in
                guard row.count == 2, let version = row[0].flatMap({ Int($0) }), let checksum = row[1] else {
                    return nil
                }
                return (version, checksum)
            }, uniquingKeysWith: { $1 })
    }

    /// Whether a restore began to fill this schema and did not finish.
    func isHalfRestored() throws -> Bool {
        let count: String? =
            try connection.command(
                """
                SELECT COUNT(*) FROM pg_class
                WHERE relnamespace = current_schema()::regnamespace AND relname = '\(RestoreMark.table)'
                """
            ).first?.first ?? nil
        return count != "0"
    }

    func version() throws -> String {
        try connection.command("SHOW server_version").first?.first.flatMap { $0 } ?? "unknown"
    }

    func apply(_ migration: Migration, at now: Timestamp, watch: MigrationWatch) throws {
        let milliseconds = Self.limit.milliseconds
        try connection.command("BEGIN")
        do {
            try connection.command("SET LOCAL statement_timeout = \(milliseconds); SET LOCAL lock_timeout = 10000")
            try watch(migration.version, 0)
            let statements = PostgresText.statements(migration.script)
            for (index, statement) in statements.enumerated() {
                try connection.command(statement, limit: Self.limit)
                try watch(migration.version, index + 1)
            }
            try connection.command(
                """
                INSERT INTO schema_migrations (version, name, sha256, applied_at)
                VALUES (\(migration.version), '\(migration.name)', '\(migration.checksum)', \(now.microseconds))
                """)
            try watch(migration.version, statements.count + 1)
            try connection.command("COMMIT")
        } catch {
            _ = try? connection.command("ROLLBACK")
            throw error
        }
    }
}
