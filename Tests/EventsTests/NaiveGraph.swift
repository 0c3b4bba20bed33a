internal import AurumCore
internal import Events

/// The plain model of the identity graph: a list of links, searched from scratch for every question.
struct NaiveGraph {
    struct Link {
        var from: UInt64
        var to: UInt64
        var cause: LinkCause
        var tag: UInt64
    }

    private(set) var links: [Int: Link] = [:]
    private var linksOf: [UInt64: Set<Int>] = [:]
    private var ages: [UInt64: Int] = [:]
    private var users: Set<UInt64> = []
    private var nextLink = 0
    private var nextAge = 0
    let limits: IdentityLimits

    init(limits: IdentityLimits) { self.limits = limits }

    var count: Int { linksOf.count }

    private func component(_ key: UInt64) -> Set<UInt64> {
        var found: Set<UInt64> = [key]
        var waiting = [key]
        while let next = waiting.popLast() {
            for number in linksOf[next] ?? [] {
                guard let link = links[number] else { continue }
                for end in [link.from, link.to] where found.insert(end).inserted { waiting.append(end) }
            }
        }
        return found
    }

    mutating func link(_ from: LinkEnd, _ to: LinkEnd, _ cause: LinkCause, tag: UInt64) -> String {
        guard from.isLinkable, to.isLinkable else { return "identifier_not_linkable" }
        if from.key == to.key { return "known" }
        for end in [from, to] where end.namespace == .user { users.insert(end.key) }
        for number in linksOf[from.key] ?? [] {
            if let link = links[number], link.cause == cause, Set([link.from, link.to]) == [from.key, to.key] {
                return "known"
            }
        }
        let (left, right) = (component(from.key), component(to.key))
        let isMerge = !left.contains(to.key)
        if isMerge {
            if cause == .identify, !left.isDisjoint(with: users), !right.isDisjoint(with: users) {
                return "merge_refused"
            }
            if left.count + right.count > limits.personIdentifiersMax { return "identity_too_large" }
        }
        let inside = Set(left.union(right).flatMap { linksOf[$0] ?? [] })
        if inside.count >= limits.personLinksMax { return "identity_too_large" }
        let new = [from.key, to.key].filter { linksOf[$0] == nil }
        if count + new.count > limits.identifiersMax { return "identity_full" }
        for key in new {
            nextAge += 1
            ages[key] = nextAge
        }
        links[nextLink] = Link(from: from.key, to: to.key, cause: cause, tag: tag)
        for key in [from.key, to.key] { linksOf[key, default: []].insert(nextLink) }
        nextLink += 1
        return isMerge ? "merged" : "linked"
    }

    mutating func unlink(_ merge: MergeID) -> Bool {
        guard let link = links.values.first(where: { $0.from == merge.from && $0.tag == merge.tag }) else {
            return false
        }
        let gone = links.filter { _, other in
            other.tag == link.tag && other.to == link.to && (other.from == link.from || link.cause == .alias)
        }
        for (number, link) in gone {
            links[number] = nil
            for key in [link.from, link.to] {
                linksOf[key]?.remove(number)
                if linksOf[key]?.isEmpty == true { linksOf[key] = nil }
            }
        }
        return true
    }

    /// The person of every linked identifier, from the list of links alone.
    func persons() -> [UInt64: UInt64] {
        var parents: [UInt64: UInt64] = [:]
        func root(_ key: UInt64) -> UInt64 {
            var key = key
            while let parent = parents[key], parent != key { key = parent }
            return key
        }
        for link in links.values {
            let (a, b) = (root(link.from), root(link.to))
            let older = (ages[a] ?? 0) <= (ages[b] ?? 0) ? a : b
            parents[a] = older
            parents[b] = older
        }
        return linksOf.keys.reduce(into: [:]) { $0[$1] = root($1) }
    }
}
