internal import CPostgres
internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// Where the tables of record are: `sqlite:///path/to/file` or `postgres://…`.
package enum DatabaseLocation: Sendable, Equatable {
    case sqlite(path: String)
    case postgres(PostgresAddress)

    /// Why a URL names no database: a sentence without the URL, which may hold a password.
    package struct Failure: Error, Equatable, CustomStringConvertible {
        package let description: String
    }

    /// - Parameter requireTLS: whether a server elsewhere must prove who it is; false accepts what the URL asks for.
    package init(url: String, requireTLS: Bool) throws(Failure) {
        if url.hasPrefix("sqlite://") {
            let path = String(url.dropFirst("sqlite://".count))
            guard path.hasPrefix("/"), path.count > 1 else {
                throw Failure(description: "must name a file by its whole path, for example sqlite:///var/lib/aurum.db")
            }
            self = .sqlite(path: path.removingPercentEncoding ?? path)
        } else if url.hasPrefix("postgres://") || url.hasPrefix("postgresql://") {
            self = .postgres(try PostgresAddress(url: url, requireTLS: requireTLS))
        } else {
            throw Failure(description: "must begin with sqlite:/// or postgres://")
        }
    }

    package var dialect: Dialect {
        switch self {
        case .sqlite: .sqlite
        case .postgres: .postgres
        }
    }

    /// For logs and pages: never with a password.
    package var shown: String {
        switch self {
        case .sqlite(let path): path
        case .postgres(let address): address.shown
        }
    }
}

/// A PostgreSQL server and how to speak to it: libpq's keywords and values. Holds the password.
package struct PostgresAddress: Sendable, Equatable {
    /// Longest wait for a server to accept a connection.
    static let connectSeconds = 2
    /// How long bytes may stay unacknowledged before a connection is given up, also one that asks to stop a statement.
    static let unansweredMilliseconds = 5000

    private(set) var parameters: [String: String]
    /// Weaker encryption than `verify-full`, where the server is elsewhere.
    package let weakness: String?

    init(url: String, requireTLS: Bool) throws(DatabaseLocation.Failure) {
        var parameters = try Self.parsed(url)
        guard parameters["service"] == nil else {
            throw DatabaseLocation.Failure(
                description: "names a service of pg_service.conf; write the server's address into the URL instead")
        }
        // libpq would take them from PGHOST, PGHOSTADDR or PGSERVICE, and they decide about TLS.
        let standards = Self.standards()
        for name in ["host", "hostaddr"] where parameters[name] == nil { parameters[name] = standards[name] }
        let host = [parameters["hostaddr"], parameters["host"]].compactMap { $0 }.first { !$0.isEmpty } ?? ""
        let isHere = host.split(separator: ",").allSatisfy {
            $0.hasPrefix("/") || $0.hasPrefix("@") || ["localhost", "127.0.0.1", "::1"].contains($0)
        }
        let asked = parameters["sslmode"]
        if isHere {
            weakness = nil
        } else if requireTLS {
            guard asked == nil || asked == "verify-full" else {
                throw DatabaseLocation.Failure(
                    description: "asks for sslmode \(asked ?? ""); a server on another machine must prove who it is "
                        + "(verify-full), unless database.tls is prefer")
            }
            parameters["sslmode"] = "verify-full"
            weakness = nil
        } else {
            parameters["sslmode"] = asked ?? "prefer"
            weakness = asked == "verify-full" ? nil : "TLS \(parameters["sslmode"] ?? "prefer")"
        }
        let authorities = "/etc/ssl/certs/ca-certificates.crt"
        if parameters["sslmode"]?.hasPrefix("verify") == true, parameters["sslrootcert"] == nil,
            FileManager.default.fileExists(atPath: authorities)
        {
            parameters["sslrootcert"] = authorities
        }
        if parameters["connect_timeout"] == nil { parameters["connect_timeout"] = String(Self.connectSeconds) }
        if parameters["tcp_user_timeout"] == nil {
            parameters["tcp_user_timeout"] = String(Self.unansweredMilliseconds)
        }
        if parameters["application_name"] == nil { parameters["application_name"] = Self.session }
        parameters["client_encoding"] = "UTF8"
        self.parameters = parameters
    }

    /// Longest part of a machine's name: PostgreSQL keeps 63 bytes of the whole.
    private static let machineBytesMax = 40

    /// What `pg_stat_activity` shows of our sessions: which machine, and which process of it.
    private static let session: String = {
        var name = [CChar](repeating: 0, count: 256)
        let isKnown = gethostname(&name, name.count - 1) == 0
        let bytes = name.prefix { $0 != 0 }.prefix(machineBytesMax).map { UInt8(bitPattern: $0) }
        let machine = isKnown ? String(decoding: bytes, as: UTF8.self) : ""
        return "aurum/\(machine.isEmpty ? "unknown" : machine):\(getpid())"
    }()

    private static func parsed(_ url: String) throws(DatabaseLocation.Failure) -> [String: String] {
        var message: UnsafeMutablePointer<CChar>?
        guard let options = PQconninfoParse(url, &message) else {
            // libpq's sentence may repeat the URL.
            PQfreemem(message)
            throw DatabaseLocation.Failure(
                description: "is no URL of a PostgreSQL server; write postgres://USER:PASSWORD@HOST:PORT/DATABASE, "
                    + "special characters percent-encoded")
        }
        return values(options)
    }

    /// What libpq takes where a URL says nothing: from the environment, and a service file that it names.
    private static func standards() -> [String: String] {
        guard let options = PQconndefaults() else { return [:] }
        return values(options)
    }

    /// Keywords with a value; frees the list.
    private static func values(_ options: UnsafeMutablePointer<PQconninfoOption>) -> [String: String] {
        defer { PQconninfoFree(options) }
        var parameters: [String: String] = [:]
        var option = options
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val { parameters[String(cString: keyword)] = String(cString: value) }
            option += 1
        }
        return parameters
    }

    package var shown: String {
        let host = parameters["host"] ?? parameters["hostaddr"] ?? "local socket"
        let port = parameters["port"].map { ":" + $0 } ?? ""
        return "postgres \(host)\(port)/\(parameters["dbname"] ?? parameters["user"] ?? "")"
    }
}

extension PostgresAddress {
    /// The same server with another schema first. `name` is lower-case letters, digits and `_`.
    package func inSchema(_ name: String) -> PostgresAddress {
        precondition(name.utf8.allSatisfy { (97...122).contains($0) || (48...57).contains($0) || $0 == 95 }, name)
        var other = self
        other.parameters["options", default: ""] += " -csearch_path=\(name)"
        return other
    }

    /// Makes a schema for measurements or tests; one of that name must not exist.
    package func createSchema(_ name: String) async throws {
        try await command("CREATE SCHEMA \(name)")
    }

    /// Drops a schema with everything in it.
    package func dropSchema(_ name: String) async throws {
        try await command("DROP SCHEMA IF EXISTS \(name) CASCADE")
    }

    private func command(_ text: String) async throws {
        try await OwnThread.run {
            do {
                let connection = try PostgresConnection(self)
                try connection.command("SET default_transaction_read_only = off")
                try connection.command(text)
            } catch is PostgresConnectionLost { throw SQLError.unavailable }
        }
    }
}
