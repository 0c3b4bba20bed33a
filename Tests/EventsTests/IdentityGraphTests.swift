internal import AurumCore
internal import Events
import TestSupport
import Testing

struct IdentityGraphTests {
    /// Random linking and unlinking inside a small world, so that every rule and bound is met often.
    private struct World {
        var random: SeededRandom
        var graph = IdentityGraph()
        var naive: NaiveGraph
        var tag: UInt64 = 0
        var outcomes: [String: Int] = [:]
        let limits: IdentityLimits
        let pool: [LinkEnd]

        init(seed: UInt64) {
            random = SeededRandom(seed: seed)
            var limits = IdentityLimits()
            (limits.personIdentifiersMax, limits.personLinksMax, limits.identifiersMax) = (40, 60, 600)
            self.limits = limits
            naive = NaiveGraph(limits: limits)
            var keys = SeededRandom(seed: seed ^ 1)
            pool = (0..<1200).map { number in
                // Some keys share their low bits, so that places of the index collide.
                let key = number % 4 == 0 ? keys.next() << 20 : keys.next()
                let namespace: PersonIdentifier.Namespace =
                    number % 3 == 0 ? .user : number % 3 == 1 ? .anonymous : .device
                return LinkEnd(key: key, namespace: namespace, isLinkable: number % 50 != 7)
            }
        }

        mutating func end() -> LinkEnd {
            // Half of the picks fall on few identifiers, so that persons grow to their bound.
            let range = random.next() % 4 != 0 ? pool.count : 120
            return pool[Int(random.next() % UInt64(range))]
        }

        mutating func link(_ from: LinkEnd, _ to: LinkEnd, _ cause: LinkCause) {
            let outcome = graph.link(
                from, to, cause: cause, tag: tag, at: Int64(tag), actor: "app", limits: limits,
                room: limits.identifiersMax - graph.count)
            let expected = naive.link(from, to, cause, tag: tag)
            let found: String
            switch outcome {
            case .linked(let merged): found = merged ? "merged" : "linked"
            case .known: found = "known"
            case .refused(let refusal): found = refusal.rawValue
            }
            outcomes[found, default: 0] += 1
            #expect(found == expected, "operation \(tag)")
        }

        mutating func step() {
            tag += 1
            switch random.next() % 20 {
            case 0..<8: link(end(), end(), .identify)
            case 8..<10:
                let (from, also, to) = (end(), end(), end())
                link(from, to, .alias)
                link(also, to, .alias)
            case 10..<12: link(end(), end(), .manual)
            case 12: roundTrip(end(), end())
            // Times of growth and times of decay take turns.
            case 13..<20 where tag / 2000 % 2 == 0: link(end(), end(), .identify)
            default:
                guard let number = naive.links.keys.min() else { return }
                let pick = number + Int(random.next() % 4)
                guard let link = naive.links[pick] ?? naive.links[number] else { return }
                let merge = MergeID(from: link.from, tag: link.tag)
                let (found, expected) = (graph.unlink(merge), naive.unlink(merge))
                #expect(found == expected)
                outcomes["unmerged", default: 0] += 1
            }
        }

        /// A merge by hand and its unmerge leave everybody who he was.
        private mutating func roundTrip(_ from: LinkEnd, _ to: LinkEnd) {
            var copy = graph
            let outcome = copy.link(
                from, to, cause: .manual, tag: tag, at: 0, actor: "key", limits: limits,
                room: limits.identifiersMax - graph.count)
            guard case .linked(let merged) = outcome else { return }
            #expect(copy.version == graph.version + (merged ? 1 : 0))
            #expect(copy.person(from.key) == copy.person(to.key))
            let isGone = copy.unlink(MergeID(from: from.key, tag: tag))
            #expect(isGone)
            #expect(copy.lines == graph.lines && copy.version == graph.version + (merged ? 2 : 0))
        }

        func compare() {
            let persons = naive.persons()
            #expect(graph.count == persons.count && graph.linkCount == naive.links.count)
            let wrong = pool.count { graph.person($0.key) != persons[$0.key] ?? $0.key }
            #expect(wrong == 0, "\(wrong) identifiers have another person after \(tag) operations")
        }
    }

    @Test func `random links and unlinks equal a union made from scratch`() {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("identity graph seed \(seed)")
        var world = World(seed: seed)
        for number in 1...soakCount(1_000_000) {
            world.step()
            if number % 1000 == 0 { world.compare() }
        }
        for outcome in ["merged", "linked", "known", "unmerged"] + LinkRefusal.allCases.map(\.rawValue) {
            #expect(world.outcomes[outcome] ?? 0 > 10, "\(outcome) was hardly met: \(world.outcomes)")
        }
    }

    @Test(arguments: [
        "", " ", "null", "NULL", "undefined", "none", "None", "nan", "NaN", "0", "-1", "guest", "Guest", "anonymous",
        "unknown", "true", "false", "[object Object]", "00000000-0000-0000-0000-000000000000", "000000000000", " null ",
        String(repeating: "x", count: 201),
    ])
    func `placeholders are never linked`(value: String) { #expect(NeverLinked.contains(value)) }

    @Test(arguments: ["1", "-2", "u1", "guest-7", "nullable", "00000000-0000-0000-0000-000000000001", "truest", "o"])
    func `real values are linked`(value: String) { #expect(!NeverLinked.contains(value)) }

    @Test func `a value of 200 bytes is the longest that is linked`() {
        #expect(!NeverLinked.contains(String(repeating: "x", count: 200)))
    }

    @Test func `a person holds a thousand identifiers and no more`() {
        var graph = IdentityGraph()
        let limits = IdentityLimits()
        let user = LinkEnd(key: 1, namespace: .user)
        for key in 2...1000 as ClosedRange<UInt64> {
            let outcome = graph.link(
                LinkEnd(key: key << 32, namespace: .anonymous), user, cause: .identify, tag: key, at: 0, actor: "",
                limits: limits, room: .max)
            #expect(outcome == .linked(merged: true))
        }
        let more = LinkEnd(key: 5000, namespace: .anonymous)
        for cause in LinkCause.allCases {
            let outcome = graph.link(
                more, user, cause: cause, tag: 9, at: 0, actor: "", limits: limits, room: .max)
            #expect(outcome == .refused(.tooLarge))
        }
        #expect(graph.identifiers(user.key).count == 1000 && graph.count == 1000)
        #expect(graph.person(1) == 2 << 32)
    }

    @Test func `a copy stays as it was while the graph goes on`() {
        var graph = IdentityGraph()
        let limits = IdentityLimits()
        func join(_ a: UInt64, _ b: UInt64) {
            _ = graph.link(
                LinkEnd(key: a, namespace: .anonymous), LinkEnd(key: b, namespace: .user), cause: .identify, tag: a,
                at: 0, actor: "", limits: limits, room: .max)
        }
        for number in 0..<5000 as Range<UInt64> { join(number * 2 + 2, number * 2 + 3) }
        let before = graph
        let lines = before.lines
        for number in 5000..<20_000 as Range<UInt64> { join(number * 2 + 2, number * 2 + 3) }
        for number in 0..<2500 as Range<UInt64> { graph.unlink(MergeID(from: number * 2 + 2, tag: number * 2 + 2)) }
        #expect(before.lines == lines && before.count == 10_000)
        #expect(graph.count == 35_000 && graph.person(3) == 3 && before.person(3) == 2)
    }

    @Test func `a linked identifier takes at most 150 bytes`() {
        var graph = IdentityGraph()
        let limits = IdentityLimits()
        var random = SeededRandom(seed: 11)
        let persons = soakCount(2_500_000)
        for number in 0..<UInt64(persons) {
            _ = graph.link(
                LinkEnd(key: random.next(), namespace: .anonymous), LinkEnd(key: random.next(), namespace: .user),
                cause: .identify, tag: number, at: 0, actor: "web", limits: limits, room: .max)
        }
        let each = Double(graph.byteCount) / Double(graph.count)
        print("identity graph: \(graph.count) identifiers, \(each) bytes each")
        #expect(each < 150)
    }
}
