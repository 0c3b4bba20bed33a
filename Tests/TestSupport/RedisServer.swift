internal import AurumCore
internal import Foundation
internal import Synchronization

#if canImport(Glibc)
    internal import Glibc
#endif

/// A real `redis-server` of one test, on a port and in a folder of its own; it ends with the value.
package final class RedisServer: Sendable {
    package let port: Int
    private let folder: TemporaryFolder
    private let options: [String]
    private let process: Mutex<ChildProcess>

    /// Starts a server that keeps nothing on disk.
    /// - Parameters:
    ///   - options: as on its command line, `--name value …`.
    ///   - tls: whether `port` speaks TLS, with the certificate of `certificates`, and no other port is open.
    ///   - sentinel: whether it watches over others instead of keeping data.
    package init(
        _ options: [String] = [], tls certificates: TestCertificates? = nil, sentinel: Bool = false
    ) async throws {
        let folder = TemporaryFolder()
        let options = options + (sentinel ? ["--sentinel"] : [])
        for attempt in 1... {
            let port = try FreePort.next()
            let options =
                (certificates.map { Self.tlsOptions($0, port) } ?? ["--port", "\(port)"]) + options
            do {
                let process = try await Self.start(options, folder)
                self.port = port
                self.folder = folder
                self.options = options
                self.process = Mutex(process)
                return
            } catch { if attempt == 5 { throw error } }
        }
        preconditionFailure("the loop above ends")
    }

    deinit { process.withLock { $0.kill() } }

    package var url: String { "redis://127.0.0.1:\(port)" }
    package var pid: Int32 { process.withLock { $0.pid } }

    /// SIGKILL, and its end awaited.
    package func kill() async throws {
        let process = process.withLock { $0 }
        process.kill()
        _ = try await process.exit()
    }

    /// SIGSTOP and SIGCONT: it lives and answers nothing.
    package func pause() { Glibc.kill(pid, SIGSTOP) }
    package func resume() { Glibc.kill(pid, SIGCONT) }

    /// Starts again on the same port with empty memory.
    package func restart() async throws {
        let started = try await Self.start(options, folder)
        process.withLock { $0 = started }
    }

    private static func start(_ options: [String], _ folder: TemporaryFolder) async throws -> ChildProcess {
        let common = [
            "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder.path, "--daemonize", "no",
        ]
        let isSentinel = options.last == "--sentinel"
        var arguments = common + options
        if isSentinel {
            // A Sentinel keeps its state in its configuration file.
            try Data().write(to: URL(fileURLWithPath: folder.file("sentinel.conf")))
            arguments = [folder.file("sentinel.conf")] + options.dropLast() + ["--bind", "127.0.0.1", "--sentinel"]
        }
        let process = try ChildProcess("/usr/bin/redis-server", arguments)
        do {
            let ready = isSentinel ? "Sentinel ID is" : "Ready to accept connections"
            _ = try await process.line(containing: ready, within: .seconds(30))
        } catch {
            process.kill()
            throw error
        }
        return process
    }

    private static func tlsOptions(_ certificates: TestCertificates, _ port: Int) -> [String] {
        [
            "--port", "0", "--tls-port", "\(port)", "--tls-cert-file", certificates.certificate, "--tls-key-file",
            certificates.key, "--tls-ca-cert-file", certificates.authority, "--tls-auth-clients", "no",
        ]
    }
}

/// A key and a certificate for `localhost` and 127.0.0.1 that signs itself, made by openssl.
package final class TestCertificates: Sendable {
    private let folder = TemporaryFolder()

    package var certificate: String { folder.file("server.crt") }
    package var key: String { folder.file("server.key") }
    /// Whom clients have to trust.
    package var authority: String { certificate }

    package init(names: String = "DNS:localhost,IP:127.0.0.1") async throws {
        let process = try ChildProcess(
            "/usr/bin/openssl",
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                "-subj", "/CN=aurum test", "-addext", "subjectAltName=\(names)", "-keyout", key, "-out", certificate,
            ])
        guard try await process.exit() == 0 else { throw ChildProcess.Failure(description: process.output) }
    }
}

/// A cluster of six nodes, three masters with a replica each, on free ports; it ends with the value.
package final class RedisCluster: Sendable {
    package let servers: [RedisServer]

    /// Starts the nodes and waits until all of them know all slots.
    package init() async throws {
        var servers: [RedisServer] = []
        for _ in 0..<6 {
            let bus = try FreePort.next()
            servers.append(
                try await RedisServer([
                    "--cluster-enabled", "yes", "--cluster-port", "\(bus)", "--cluster-node-timeout", "2000",
                    "--cluster-allow-replica-migration", "no", "--cluster-config-file", "nodes-\(bus).conf",
                    "--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0",
                ]))
        }
        self.servers = servers
        _ = try await Self.cli(
            ["--cluster", "create"] + servers.map { "127.0.0.1:\($0.port)" }
                + ["--cluster-replicas", "1", "--cluster-yes"])
        for server in servers { try await Self.untilAllKnown(server, nodes: servers.count) }
    }

    package var url: String { "redis://" + servers.map { "127.0.0.1:\($0.port)" }.joined(separator: ",") }

    /// Runs `redis-cli` to its end and answers what it printed.
    package static func cli(_ arguments: [String]) async throws -> String {
        let process = try ChildProcess("/usr/bin/redis-cli", arguments)
        guard try await process.exit() == 0 else { throw ChildProcess.Failure(description: process.output) }
        return process.output
    }

    /// Runs a command on one node.
    package func ask(_ server: RedisServer, _ words: String...) async throws -> String {
        try await Self.cli(["-p", "\(server.port)"] + words).trimmingCharacters(in: .whitespacesAndNewlines)
    }

    private static func untilAllKnown(_ server: RedisServer, nodes: Int) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while true {
            let info = try await cli(["-p", "\(server.port)", "cluster", "info"])
            let slots = try await cli(["-p", "\(server.port)", "cluster", "slots"])
            let isWhole = info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:\(nodes)")
            // Every range with its master and its replica.
            if isWhole, slots.split(separator: "\n").count(where: { $0 == "127.0.0.1" }) == nodes { return }
            guard ContinuousClock.now < deadline else { throw ChildProcess.Failure(description: info + slots) }
            try await Task.sleep(for: .milliseconds(50))
        }
    }
}
