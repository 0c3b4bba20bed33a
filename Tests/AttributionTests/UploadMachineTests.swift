import Attribution
import AurumCore
import TestSupport
import Testing

/// The states of one conversion, driven at random against a network that loses answers.
@Suite struct UploadMachineTests {
    private static let rules = SinkRules(
        batchMax: 100, ageMax: .seconds(7 * 86_400), correctionAgeMax: .seconds(5 * 86_400),
        repeatsWithin: .seconds(48 * 3600))
    private static let go = UploadConditions(refusal: nil, isDryRun: false)
    private static let start = Timestamp(milliseconds: 1_795_262_400_000)

    private func machine(age: Duration = .zero) -> UploadMachine {
        UploadMachine(valueMinor: 100, occurredAt: Self.start - age, now: Self.start)
    }

    @Test func `what is accepted is over, and a return takes it back`() {
        var machine = machine()
        #expect(machine.begin(Self.go, Self.rules, now: Self.start) == .send)
        #expect(machine.begin(Self.go, Self.rules, now: Self.start) == nil, "never twice at once")
        machine.answer(.accepted, Self.rules, now: Self.start)
        #expect(machine.state == .accepted && machine.toldMinor == 100 && machine.dueAt == nil)
        machine.giveBack(now: Self.start)
        #expect(machine.begin(Self.go, Self.rules, now: Self.start) == .retract && machine.sentMinor == 0)
        machine.answer(.accepted, Self.rules, now: Self.start)
        #expect(machine.state == .retracted && machine.toldMinor == 0 && machine.dueAt == nil)
    }

    @Test func `too old, suppressed and dry runs never go out`() {
        var old = machine(age: .seconds(7 * 86_400 - 60))
        #expect(old.begin(Self.go, Self.rules, now: Self.start) == nil && old.state == .tooOld)
        var refused = machine()
        let refusal = UploadConditions(refusal: .globalPrivacyControl, isDryRun: false)
        #expect(refused.begin(refusal, Self.rules, now: Self.start) == nil)
        #expect(refused.state == .suppressed && refused.reason == "gpc" && refused.dueAt == nil)
        var dry = machine()
        #expect(dry.begin(UploadConditions(refusal: nil, isDryRun: true), Self.rules, now: Self.start) == nil)
        #expect(dry.state == .dryRun && dry.toldMinor == nil && dry.dueAt == nil)
        var before = machine()
        before.giveBack(now: Self.start)
        #expect(before.state == .retracted && before.toldMinor == nil && before.dueAt == nil)
    }

    @Test func `an answer that stays unknown is given up before a repeat could count twice`() throws {
        var machine = machine()
        var now = Self.start
        var last = now
        while let due = machine.dueAt {
            now = due
            guard machine.begin(Self.go, Self.rules, now: now) != nil else { break }
            last = now
            machine.answer(.unknown("timeout"), Self.rules, now: now + .seconds(30))
        }
        #expect(machine.state == .unknown && machine.reason == "unanswered" && machine.dueAt == nil)
        #expect(last - Self.start < .seconds(48 * 3600), "\(last - Self.start)")
        #expect(machine.attempts > 10)
    }

    @Test func `a refusal that comes after a request stops what would follow`() {
        var machine = machine()
        _ = machine.begin(Self.go, Self.rules, now: Self.start)
        machine.answer(.accepted, Self.rules, now: Self.start)
        machine.giveBack(now: Self.start)
        let refusal = UploadConditions(refusal: .noConsent, isDryRun: false)
        #expect(machine.begin(refusal, Self.rules, now: Self.start) == nil)
        #expect(machine.state == .accepted && machine.reason == "no_consent" && machine.dueAt == nil)
    }

    /// What a network holds of one conversion.
    private struct Network {
        var holds: Int64?
        /// The content of the request that may have been lost.
        var open: (action: UploadAction, minor: Int64)?
    }

    @Test(arguments: 0..<UInt64(4)) func `whatever is lost, both sides end with the same`(seed: UInt64) {
        var random = SeededRandom(seed: seed)
        for round in 0..<soakCount(50_000) {
            var machine = machine()
            var network = Network()
            var now = Self.start
            var changes = Int.random(in: 0...3, using: &random)
            for _ in 0..<200 {
                if machine.dueAt == nil, changes == 0 { break }
                if changes > 0, Int.random(in: 0..<3, using: &random) == 0 {
                    changes -= 1
                    if Bool.random(using: &random) {
                        machine.giveBack(now: now)
                    } else {
                        _ = machine.restate(to: Int64.random(in: 0...200, using: &random), now: now)
                    }
                }
                if let due = machine.dueAt { now = max(now, due) }
                step(&machine, &network, now, &random, "seed \(seed), round \(round)")
            }
            #expect(machine.dueAt == nil, "seed \(seed), round \(round): \(machine)")
            guard machine.state != .unknown, machine.state != .rejected else { continue }
            #expect(machine.toldMinor == network.holds, "seed \(seed), round \(round): \(machine) \(network)")
            guard machine.toldMinor != nil else { continue }
            let wanted = machine.isReturned ? 0 : machine.wantedMinor
            // Said and refused, or too old to be said: the reason tells.
            if machine.reason.isEmpty { #expect(network.holds == wanted, "seed \(seed), round \(round): \(machine)") }
        }
    }

    private func step(
        _ machine: inout UploadMachine, _ network: inout Network, _ now: Timestamp,
        _ random: inout SeededRandom, _ place: String
    ) {
        guard let action = machine.begin(Self.go, Self.rules, now: now) else { return }
        if let open = network.open {
            #expect(open == (action, machine.sentMinor), "another content while one is open: \(place)")
        }
        let arrives = Int.random(in: 0..<10, using: &random)
        switch arrives {
        case 0: machine.answer(.notSent("connection_failed"), Self.rules, now: now)
        case 1:
            network.open = (action, machine.sentMinor)
            machine.answer(.unknown("timeout"), Self.rules, now: now)
        case 2:
            network.holds = machine.sentMinor
            network.open = (action, machine.sentMinor)
            if Bool.random(using: &random) {
                machine.interrupted(Self.rules, now: now)
            } else {
                machine.answer(.unknown("timeout"), Self.rules, now: now)
            }
        default:
            network.holds = machine.sentMinor
            network.open = nil
            machine.answer(.accepted, Self.rules, now: now)
        }
    }
}
