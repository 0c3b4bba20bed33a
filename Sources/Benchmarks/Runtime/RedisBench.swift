internal import AurumCore
internal import Foundation
internal import Logging
internal import Runtime
internal import Telemetry

/// The Redis client beside `redis-benchmark`, against the same server in the same run.
struct RedisBench: Sendable {
    let options: RuntimeBenchOptions

    private static let connections = 4
    private static let depth = 25
    private static let valueBytes = 300
    private static let keys = 1000
    /// Turns of redis-benchmark and of ourselves.
    private static let rounds = 5
    /// Fewer commands judge nothing.
    private static let operationsToJudge = 100_000
    private static let rateBar = 125_000.0

    private var operations: Int { options.tiny ? 2000 : options.operations }

    func rows() async throws -> [BenchRow] {
        guard options.redisURL != nil || LocalRedis.isInstalled else {
            return [
                BenchRow(
                    name: "redis.single", value: 0, unit: "ops/s", bar: Self.rateBar, higherIsBetter: true, n: 0,
                    notJudged: "not measured: redis-server is not installed and no --redis-url was given")
            ]
        }
        let local = try options.redisURL == nil ? LocalRedis() : nil
        defer { local?.end() }
        let configuration: RedisConfiguration
        do { configuration = try RedisConfiguration(url: options.redisURL ?? local?.url ?? "") } catch {
            throw BenchFailure(error.description)
        }
        // First ourselves: redis-benchmark waits for no server that is still starting.
        let shared = try await measure(configuration, local, tasks: Self.connections * Self.depth, batch: 1)
        let (batched, peer, ratio) = try await Self(options: fewer).rounds(configuration, local)
        var lone = configuration
        lone.connectionsPerNode = 1
        let few = Self(options: fewer)
        let alone = try await few.measure(lone, local, tasks: 1, batch: 1)
        let fifty = try await few.measure(lone, local, tasks: 50, batch: 1)
        let single = peer.map { shared.rate / $0 }
        return rows(
            "redis.single", shared, peer, (single, nil), "\(Self.connections) connections, \(Self.depth) tasks each")
            + rows(
                "redis.batch", batched, peer, (ratio, 0.5), "\(Self.connections) connections, batches of \(Self.depth)")
            + [
                BenchRow(
                    name: "redis.alone.mean", value: alone.mean, unit: "ms", bar: 0.5, n: alone.count,
                    note: "one task, one connection", notJudged: tooFew(alone.count, 10_000) ?? alone.disturbance),
                BenchRow(
                    name: "redis.fifty", value: fifty.rate, unit: "ops/s", bar: 10_000, higherIsBetter: true,
                    n: fifty.count, note: "50 tasks, one connection",
                    notJudged: tooFew(fifty.count, 10_000) ?? fifty.disturbance),
            ]
    }

    /// A part of the commands: for what is measured besides, and for each of the rounds.
    private var fewer: RuntimeBenchOptions {
        var fewer = options
        fewer.operations = max(1, options.operations / Self.rounds)
        return fewer
    }

    /// Batches and redis-benchmark by turns, because a machine that others share may halve its speed between two
    /// seconds: the ratio is the median of those of neighbours, and so are both rates.
    private func rounds(
        _ configuration: RedisConfiguration, _ local: LocalRedis?
    ) async throws -> (batched: Figures, peer: Double?, ratio: Double?) {
        var (all, peers, ratios): ([Figures], [Double], [Double]) = ([], [], [])
        for _ in 0..<Self.rounds {
            let peer = try await peer(configuration)
            let figures = try await measure(configuration, local, tasks: Self.connections, batch: Self.depth)
            all.append(figures)
            guard let peer else { continue }
            peers.append(peer)
            ratios.append(figures.rate / peer)
        }
        let middle = all.sorted { $0.rate < $1.rate }[all.count / 2]
        let batched = Figures(
            rate: middle.rate, mean: middle.mean, p95: middle.p95, count: all.reduce(0) { $0 + $1.count },
            disturbance: middle.disturbance)
        guard !peers.isEmpty else { return (batched, nil, nil) }
        return (batched, Percentile.of(peers, 0.5), Percentile.of(ratios, 0.5))
    }

    private func tooFew(_ count: Int, _ needed: Int = Self.operationsToJudge) -> String? {
        count < needed ? "fewer than \(needed) commands" : nil
    }

    private func rows(
        _ name: String, _ figures: Figures, _ peer: Double?, _ ratio: (value: Double?, bar: Double?), _ note: String
    ) -> [BenchRow] {
        let machine: String? =
            if let peer, peer < Self.rateBar {
                "MACHINE TOO SMALL: redis-benchmark itself made \(Int(peer)) a second"
            } else { nil }
        let doubt = tooFew(figures.count) ?? figures.disturbance
        let ratioNote =
            peer.map { "redis-benchmark -c 4 -P 25 -d 300 -t set,get made \(Int($0)) a second in this run" }
        return [
            BenchRow(
                name: name, value: figures.rate, unit: "ops/s", bar: Self.rateBar, higherIsBetter: true,
                n: figures.count, note: "SET and GET by turns, 300 bytes, " + note, notJudged: doubt ?? machine),
            BenchRow(
                name: name + ".mean", value: figures.mean, unit: "ms", bar: 0.8, n: figures.count,
                note: "of one call", notJudged: doubt ?? machine),
            BenchRow(name: name + ".p95", value: figures.p95, unit: "ms", n: figures.count),
            BenchRow(
                name: name + ".ratio", value: ratio.value ?? 0, unit: "of redis-benchmark",
                bar: ratio.bar, higherIsBetter: true, n: figures.count, note: ratioNote ?? "",
                notJudged: doubt ?? (peer == nil ? "redis-benchmark is not installed" : nil)),
        ]
    }

    // MARK: ourselves

    private struct Figures: Sendable {
        let rate: Double
        let mean: Double
        let p95: Double
        let count: Int
        /// Why a rate of this span is not judged; nil on a quiet machine.
        let disturbance: String?
    }

    /// - Parameters:
    ///   - local: the server, where it is one of ours: its work is part of what is measured.
    ///   - tasks: how many call at once; each waits for its answer before it calls again.
    ///   - batch: commands of one call.
    private func measure(
        _ configuration: RedisConfiguration, _ local: LocalRedis?, tasks: Int, batch: Int
    ) async throws -> Figures {
        let client: RedisClient
        do {
            client = try RedisClient(
                configuration: configuration, registry: MetricRegistry(),
                health: HealthRegistry(clock: SystemWallClock()),
                logger: Logger.silent)
        } catch { throw BenchFailure(error.description) }
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await client.run() }
            defer { group.cancelAll() }
            guard await client.waitUntilAvailable(within: .seconds(10)) else {
                throw BenchFailure("no Redis at \(configuration)")
            }
            let calls = max(1, operations / tasks / batch)
            _ = try await load(client, tasks: tasks, calls: max(1, calls / 10), batch: batch)
            var cost = ProcessCost()
            let serverBefore = local?.cpuSeconds ?? 0
            let latencies = try await load(client, tasks: tasks, calls: calls, batch: batch)
            cost.stop()
            let server = (local?.cpuSeconds ?? 0) - serverBefore
            let sorted = latencies.sorted()
            return Figures(
                rate: Double(latencies.count * batch) / cost.wallSeconds,
                mean: latencies.reduce(0, +) / Double(latencies.count),
                p95: sorted[min(sorted.count - 1, sorted.count * 95 / 100)], count: latencies.count * batch,
                disturbance: local == nil ? nil : Self.disturbance(cost, server: server))
        }
    }

    private static func disturbance(_ cost: ProcessCost, server: Double) -> String? {
        guard let busy = cost.otherCores else { return nil }
        let others = busy - server / cost.wallSeconds
        guard others > ProcessCost.otherCoresMax else { return nil }
        return String(format: "other processes than the server took %.2f cores", others)
    }

    /// The time of each call, milliseconds.
    private func load(_ client: RedisClient, tasks: Int, calls: Int, batch: Int) async throws -> [Double] {
        let value = [UInt8](repeating: 0x78, count: Self.valueBytes)
        return try await withThrowingTaskGroup(of: [Double].self) { group in
            for task in 0..<tasks {
                group.addTask {
                    var latencies: [Double] = []
                    latencies.reserveCapacity(calls)
                    for call in 0..<calls {
                        let began = ContinuousClock.now
                        if batch == 1 {
                            _ = try await client.call(Self.command(task + call * tasks, value))
                        } else {
                            _ = try await client.batch(
                                (0..<batch).map { Self.command(task + (call + $0) * tasks, value) })
                        }
                        latencies.append((ContinuousClock.now - began).seconds * 1000)
                    }
                    return latencies
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
    }

    private static func command(_ number: Int, _ value: [UInt8]) -> RedisCommand {
        let key = "aurum:bench:\(number / 2 % keys)"
        return number.isMultiple(of: 2) ? RedisCommand("SET", key, value) : RedisCommand("GET", key)
    }

    // MARK: the peer

    /// Commands a second of redis-benchmark, SET and GET as often as each other; nil where it cannot run.
    private func peer(_ configuration: RedisConfiguration) async throws -> Double? {
        guard LocalRedis.hasBenchmark, !configuration.usesTLS, !configuration.isCluster else { return nil }
        let address = configuration.addresses[0]
        var arguments = [
            "-h", address.host, "-p", "\(address.port)", "-c", "\(Self.connections)", "-P", "\(Self.depth)", "-d",
            "\(Self.valueBytes)", "-t", "set,get", "-n", "\(operations)", "--csv",
        ]
        if let password = configuration.password { arguments += ["-a", password] }
        if let user = configuration.user { arguments += ["--user", user] }
        let text = try await LocalRedis.output("/usr/bin/redis-benchmark", arguments)
        // "SET","123456.78",… — commands a second of each.
        let rates = text.split(separator: "\n").compactMap { line -> Double? in
            let fields = line.split(separator: ",").map { $0.trimmingCharacters(in: CharacterSet(charactersIn: "\"")) }
            guard fields.count > 1, fields[0] == "SET" || fields[0] == "GET" else { return nil }
            return Double(fields[1])
        }
        guard rates.count == 2, rates.allSatisfy({ $0 > 0 }) else {
            throw BenchFailure("redis-benchmark answered: \(text.suffix(500))")
        }
        return 2 / (1 / rates[0] + 1 / rates[1])
    }
}
