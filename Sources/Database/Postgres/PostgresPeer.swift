internal import Foundation

extension PostgresAddress {
    /// The same statement by PostgreSQL's own `pgbench`, prepared, from so many clients: transactions a second.
    /// - Parameters:
    ///   - script: as pgbench takes it.
    ///   - each: transactions of a client.
    /// - Returns: nil where the program is not on this machine.
    /// - Throws: `LocalPostgres.Failure` with what it said.
    package func pgbench(_ script: String, clients: Int, each: Int) async throws -> Double? {
        try await OwnThread.run { try self.runPgbench(script, clients: clients, each: each) }
    }

    private func runPgbench(_ script: String, clients: Int, each: Int) throws -> Double? {
        let file = NSTemporaryDirectory() + "aurum-pgbench-\(UUID().uuidString).sql"
        try Data(script.utf8).write(to: URL(fileURLWithPath: file))
        defer { try? FileManager.default.removeItem(atPath: file) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            // By their number: for a time it needs an alarm, which threads of this process keep from their children.
            "pgbench", "-n", "-M", "prepared", "-c", "\(clients)", "-j", "2", "-t", "\(each)", "-f", file,
        ]
        process.environment = environment.merging(["PATH": Self.folders]) { $1 }
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        // What env answers for a program that is not there.
        if process.terminationStatus == 127 { return nil }
        let line = output.split(separator: "\n").first { $0.hasPrefix("tps = ") }
        guard process.terminationStatus == 0,
            let rate = line?.dropFirst("tps = ".count).prefix(while: { $0 != " " }), let number = Double(rate)
        else { throw LocalPostgres.Failure(description: "pgbench: \(output.suffix(500))") }
        return number
    }

    /// Where the program may lie.
    private static let folders = "/usr/local/bin:/usr/bin:/bin:/usr/local/pgsql/bin:/opt/homebrew/bin"

    /// As libpq takes it from the environment: a password does not belong on a command line.
    private var environment: [String: String] {
        let names = [
            "host": "PGHOST", "hostaddr": "PGHOSTADDR", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD",
            "dbname": "PGDATABASE", "options": "PGOPTIONS", "sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT",
        ]
        return Dictionary(
            uniqueKeysWithValues: names.compactMap { name, variable in
                parameters[name].map { (variable, $0) }
            })
    }
}
