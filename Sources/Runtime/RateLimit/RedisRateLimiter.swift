package import AurumCore
internal import Crypto
internal import Synchronization
package import Telemetry

/// Limits that all nodes share, counted by one script on the server, by the server's clock. While it does not answer,
/// every limit falls back to what its `degradedMode` says, and the verdict says so.
package final class RedisRateLimiter: RateLimiter {
    /// A decision that takes longer is made here: an edge does not wait for a count.
    package static let timeout: Duration = .milliseconds(250)

    private let client: RedisClient
    private let nodes: @Sendable () -> Int
    private let fallback: RateFallback
    private let meters: RateMeters
    private let time: (any WallClock)?
    private let timeout: Duration

    /// - Parameters:
    ///   - clock: counts while the server does not answer.
    ///   - nodes: how many nodes share the limits, as last seen.
    ///   - time: counts by this clock instead of the server's: for tests that compare arithmetic.
    package init(
        client: RedisClient, clock: any WallClock, registry: MetricRegistry, nodes: @escaping @Sendable () -> Int,
        time: (any WallClock)? = nil, timeout: Duration = timeout
    ) {
        self.client = client
        self.nodes = nodes
        fallback = RateFallback(clock: clock)
        meters = RateMeters(registry: registry)
        self.time = time
        self.timeout = timeout
    }

    package func decide(_ request: RateRequest) async -> RateVerdict { await decide(all: [request]) }

    package func decide(all requests: [RateRequest]) async -> RateVerdict {
        requests.checkScopes()
        var verdict: RateVerdict
        do throws(RedisError) {
            verdict = try Self.read(try await run(requests, .decide), requests)
        } catch {
            verdict = fallback.decide(all: requests, nodes: nodes())
        }
        for request in requests { meters.count(request.limit, verdict) }
        return verdict
    }

    package func owe(_ request: RateRequest) async {
        do throws(RedisError) { _ = try await run([request], .owe) } catch {
            fallback.owe(request, nodes: nodes())
        }
    }

    package func giveBack(_ request: RateRequest) async {
        request.checkReturn()
        do throws(RedisError) { _ = try await run([request], .giveBack) } catch {
            fallback.giveBack(request, nodes: nodes())
        }
    }

    /// As the script reads it.
    private enum Purpose: Int { case decide, owe, giveBack }

    private func run(_ requests: [RateRequest], _ purpose: Purpose) async throws(RedisError) -> RESPValue {
        // With a part of a cluster away a decision would wait for its deadline.
        guard client.isAvailable else { throw .unavailable }
        var keys: [String] = []
        var arguments: [any RedisArgument] = [purpose.rawValue]
        for request in requests {
            keys.append(Self.key(request))
            arguments += [
                request.limit.algorithm.rawValue, request.limit.limit, Int(request.limit.windowMicroseconds),
                request.limit.burst, request.cost,
            ]
        }
        if let time { arguments.append(Int(time.now.microseconds)) }
        return try await client.eval(RateScript.decide, keys: keys, arguments: arguments, within: timeout)
    }

    /// The subject goes as a hash: keys on a server are seen by many.
    static func key(_ request: RateRequest) -> String {
        let hash = Hex.encode(SHA256.hash(data: Array(request.subject.utf8)).prefix(16))
        return switch request.scope {
        case .org(let org): "aurum:{\(org)}:limit:\(request.limit.name):\(hash)"
        case .net: "aurum:{net:\(hash)}:limit:\(request.limit.name)"
        }
    }

    /// Four numbers a limit: allowed, remaining, retry and reset in microseconds.
    private static func read(_ value: RESPValue, _ requests: [RateRequest]) throws(RedisError) -> RateVerdict {
        guard case .array(let fields) = value, fields.count == requests.count * 4 else {
            throw .protocolError("a limiter's script answered something else")
        }
        var binding: RateVerdict?
        for (index, request) in requests.enumerated() {
            let numbers = fields[(index * 4)..<(index * 4 + 4)].compactMap { field -> Int64? in
                if case .integer(let number) = field { return number }
                return nil
            }
            guard numbers.count == 4 else { throw .protocolError("a limiter's script answered no number") }
            let verdict = RateVerdict(
                isAllowed: numbers[0] == 1,
                limit: request.limit.algorithm == .gcra ? request.limit.burst : request.limit.limit,
                remaining: Int(numbers[1]), retryMicroseconds: numbers[2], resetMicroseconds: numbers[3], mode: .shared)
            binding = binding.map { .binding($0, verdict) } ?? verdict
        }
        guard let binding else { throw .protocolError("a limiter's script answered nothing") }
        return binding
    }
}
