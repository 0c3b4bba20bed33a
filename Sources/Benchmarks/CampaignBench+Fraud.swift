internal import Attribution
internal import AurumCore
internal import Database
internal import Telemetry

extension CampaignBench {
    /// Judges one install after another, each with three clicks and a hundred devices to an address, among all that
    /// were judged before; then looks at all of them again, which must find nothing else.
    /// Source of the bar: the specification of attribution, section 9.
    func fraud(_ folder: String) async throws -> [BenchRow] {
        let (clock, registry) = (SystemWallClock(), MetricRegistry())
        let database = try Database.openSQLite(at: folder + "/fraud.db", registry: registry, clock: clock)
        let judge = FraudJudge(database: database, registry: registry)
        let count = tiny ? 50 : 20_000
        let start = clock.now - .seconds(86_400 * 20)
        var milliseconds: [Double] = []
        var rejected = 0
        for number in 0..<count {
            var facts = InstallFacts(
                org: "bench", app: "game", id: UID(high: 1, low: UInt64(number)), at: start + .seconds(60 * number))
            (facts.deviceID, facts.addressHash) = ("device-\(number)", "address-\(number / 100)")
            let touches = (1...3).map { place in
                var touch = CandidateTouch(
                    id: UID(high: UInt64(1 + place), low: UInt64(number)), at: facts.at - .seconds(40 * place),
                    kind: .click)
                (touch.network, touch.publisher) = ("network", "publisher-\(number % 50)")
                (touch.deviceID, touch.addressHash) = (facts.deviceID, facts.addressHash)
                return touch
            }
            let began = ContinuousClock.now
            let verdicts = try await judge.verdicts(of: facts, touches)
            milliseconds.append((ContinuousClock.now - began).seconds * 1000)
            if ([verdicts.install] + verdicts.touches).contains(where: { $0.outcome != .clean }) { rejected += 1 }
        }
        guard rejected == 0 else { throw BenchFailure("\(rejected) honest installs were taken for fraud") }
        let desk = FraudDesk(database: database, clock: clock, registry: registry, logger: .silent)
        let began = ContinuousClock.now
        let review = try await desk.review(org: "bench")
        let looked = (ContinuousClock.now - began).seconds
        guard review.installs == count, review.changed == 0 else { throw BenchFailure("a look found else: \(review)") }
        try database.close()
        return [
            BenchRow(
                name: "fraud.judge p95", value: Percentile.of(milliseconds, 0.95), unit: "ms", bar: tiny ? nil : 10,
                n: count, note: "one install with 3 clicks, durable; SQLite"),
            BenchRow(
                name: "fraud.review", value: Double(count) / looked, unit: "installs/s", higherIsBetter: true, n: 1,
                note: "all of \(count) installs, without a log"),
        ]
    }
}
