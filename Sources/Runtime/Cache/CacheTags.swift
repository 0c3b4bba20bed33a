internal import Synchronization

/// The generation of one tag: raising it makes every entry that saw another one worthless.
final class TagGeneration: Sendable {
    private let number = Atomic<UInt64>(0)

    var current: UInt64 { number.load(ordering: .acquiring) }
    func raise() { number.wrappingAdd(1, ordering: .releasing) }
}

/// Generations that a value saw before it was made.
package struct SeenTags: Sendable {
    let tags: [(tag: TagGeneration, seen: UInt64)]

    init(_ tags: [TagGeneration]) { self.tags = tags.map { ($0, $0.current) } }

    var areCurrent: Bool {
        for (tag, seen) in tags where tag.current != seen { return false }
        return true
    }
}

/// Tags of a process by organisation and name. The empty name is the organisation itself.
package final class TagBook: Sendable {
    /// Names that are remembered; beyond, all are forgotten, and with them every entry.
    static let tagsMax = 50_000

    private struct Name: Hashable { let org: String; let tag: String }
    private let raised = Atomic<UInt64>(0)
    private let tags = Mutex<[Name: TagGeneration]>([:])

    package init() {}

    /// The generations of an organisation and of its tags in one moment: none of them is forgotten before it is read.
    package func seen(_ org: String, _ names: [String]) -> SeenTags {
        tags.withLock { tags in
            if tags.count + names.count >= Self.tagsMax {
                for tag in tags.values { tag.raise() }
                raised.wrappingAdd(1, ordering: .releasing)
                tags.removeAll()
            }
            var seen: [TagGeneration] = []
            for text in [""] + names {
                let name = Name(org: org, tag: text)
                let tag = tags[name] ?? TagGeneration()
                tags[name] = tag
                seen.append(tag)
            }
            return SeenTags(seen)
        }
    }

    /// Grows after a tag was raised: what was current when it had the same value is current still. Read it before
    /// looking at tags.
    package var changes: UInt64 { raised.load(ordering: .acquiring) }

    /// What nobody has seen needs no raising.
    package func raise(_ org: String, _ name: String) {
        guard let tag = tags.withLock({ $0[Name(org: org, tag: name)] }) else { return }
        tag.raise()
        raised.wrappingAdd(1, ordering: .releasing)
    }

    package func raiseAll() {
        for tag in tags.withLock({ Array($0.values) }) { tag.raise() }
        raised.wrappingAdd(1, ordering: .releasing)
    }
}
