package import Database
internal import Foundation
internal import Synchronization

#if canImport(Glibc)
    internal import Glibc
#endif

/// A PostgreSQL server of the test run's own, without a wait for the disk: started when first asked for, ended with the
/// test process whatever ends that. Beside what every server of ours can, it is killed and comes back.
package final class PostgresServer: Sendable {
    /// Of what a write sends last: the statement that commits, by the name under which a connection prepared it.
    package static let commitMessage = "\0commit\0\0"
    /// The same of what begins a write of which each statement decides by itself.
    package static let beginMessage = "\0begin_read_committed\0\0"

    package typealias Failure = LocalPostgres.Failure

    /// The one that all tests of a process share; each takes a schema of its own.
    package static func shared() throws -> PostgresServer {
        try common.withLock { server in
            if let server { return server }
            let made = try PostgresServer()
            server = made
            return made
        }
    }

    private static let common = Mutex<PostgresServer?>(nil)
    private static let schemas = Atomic<Int>(0)

    private let local: LocalPostgres
    package var folder: String { local.folder }

    package init() throws { local = try LocalPostgres(isDurable: false) }

    /// Of the database, with a schema of its own that is made now.
    package func newURL() throws -> String { url(schema: try newSchema()) }

    private func newSchema() throws -> String {
        let schema = "t\(getpid())_\(Self.schemas.add(1, ordering: .relaxed).newValue)"
        try psql("CREATE SCHEMA \(schema)")
        return schema
    }

    /// A way to this server that has faults.
    package func proxy() async throws -> FaultProxy { try await FaultProxy(toSocket: folder + "/.s.PGSQL.5432") }

    /// The same through a proxy of this server.
    package func newURL(through proxy: FaultProxy) throws -> String {
        "postgres://aurum@127.0.0.1:\(proxy.port)/postgres?options=-csearch_path%3D\(try newSchema())"
    }

    package func url(schema: String) -> String { local.url(schema: schema) }

    /// Runs one statement as an administrator and answers its rows as text.
    @discardableResult
    package func psql(_ sql: String) throws -> String { try local.psql(sql) }

    /// SIGKILL for the server and all its children, at any moment. It stays away until `start`.
    package func kill() throws {
        try local.killNow()
    }

    /// Starts it again and waits until it answers.
    package func start() throws {
        try local.comeBackNow()
    }
}
