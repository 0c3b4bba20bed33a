/// Which identifiers of one organisation are one person: identifiers and the links between them, each of which can be
/// taken out again.
///
/// A person is a connected component; its number is the key of its oldest identifier. Only identifiers that are in a
/// link are kept, everybody else is himself. A value: a copy is a consistent view at the price of one reference, and
/// what is decided depends only on the order of the calls, so that replaying them gives the same graph.
package struct IdentityGraph: Sendable {
    struct Node: Sendable {
        var key: UInt64
        /// Lower is older: the order in which identifiers got their first link.
        var age: UInt64
        /// The node of the person's oldest identifier.
        var component: UInt32
        var firstLink: UInt32
        /// Of the whole person; kept where `component` is the node itself.
        var size: UInt16
        var links: UInt16
        var users: UInt16
        /// 0 while the place is free.
        var namespace: UInt8
    }

    struct Link: Sendable {
        var a: UInt32
        var b: UInt32
        var nextOfA: UInt32
        var nextOfB: UInt32
        var tag: UInt64
        /// Microseconds since 1970.
        var at: Int64
        var actor: UInt16
        /// 0 while the place is free.
        var cause: UInt8
    }

    static let none = UInt32.max
    var nodes = GraphPages<Node>(shift: 8)
    var links = GraphPages<Link>(shift: 8)
    /// Open addressing by key, which is random already; a power of two.
    private var places = GraphPages<UInt32>(shift: 10)
    private var freeNode = none
    private var freeLink = none
    /// Linked identifiers.
    package private(set) var count = 0
    package private(set) var linkCount = 0
    /// Rises with each change of anybody's person.
    package var version = 0
    var nextAge: UInt64 = 0
    var actors = ActorNames()

    package init() {}

    // MARK: reading

    /// The key of the oldest identifier of the same person.
    @inline(__always)
    package func person(_ key: UInt64) -> UInt64 {
        guard count > 0, let node = node(key) else { return key }
        return nodes[nodes[node].component].key
    }

    /// Bytes of memory that the graph takes.
    package var byteCount: Int { nodes.byteCount + links.byteCount + places.byteCount }

    func node(_ key: UInt64) -> UInt32? {
        guard places.count > 0 else { return nil }
        let mask = UInt64(places.count - 1)
        var place = key & mask
        while true {
            let node = places[UInt32(truncatingIfNeeded: place)]
            if node == Self.none { return nil }
            if nodes[node].key == key { return node }
            place = (place &+ 1) & mask
        }
    }

    /// The nodes of the person of a node, from it outwards.
    func members(_ start: UInt32) -> [UInt32] {
        var found = [start]
        var seen: Set<UInt32> = [start]
        var next = 0
        while next < found.count {
            eachLink(found[next]) { _, _, other in
                if seen.insert(other).inserted { found.append(other) }
            }
            next += 1
        }
        return found
    }

    /// The keys of all identifiers of the same person, the given one among them.
    package func identifiers(_ key: UInt64) -> [UInt64] {
        guard let node = node(key) else { return [key] }
        return members(node).map { nodes[$0].key }
    }

    @inline(__always)
    func eachLink(_ node: UInt32, _ body: (_ number: UInt32, Link, _ other: UInt32) -> Void) {
        var number = nodes[node].firstLink
        while number != Self.none {
            let link = links[number]
            let isA = link.a == node
            body(number, link, isA ? link.b : link.a)
            number = isA ? link.nextOfA : link.nextOfB
        }
    }

    /// The link of a cause between two nodes; looks through the shorter of their lists.
    private func link(_ a: UInt32, _ b: UInt32, _ cause: LinkCause) -> UInt32? {
        var left = nodes[a].firstLink
        var right = nodes[b].firstLink
        while left != Self.none, right != Self.none {
            let one = links[left]
            if one.cause == cause.rawValue, one.a == b || one.b == b { return left }
            let other = links[right]
            if other.cause == cause.rawValue, other.a == a || other.b == a { return right }
            left = one.a == a ? one.nextOfA : one.nextOfB
            right = other.a == b ? other.nextOfA : other.nextOfB
        }
        return nil
    }

    func mergeID(_ link: Link) -> MergeID { MergeID(from: nodes[link.a].key, tag: link.tag) }

    /// The link that a merge made; nil when there is none any more.
    func link(_ merge: MergeID) -> UInt32? {
        guard let node = node(merge.from) else { return nil }
        var found: UInt32?
        eachLink(node) { number, link, _ in
            if link.a == node, link.tag == merge.tag { found = number }
        }
        return found
    }

    package func holds(_ merge: MergeID) -> Bool { link(merge) != nil }

    // MARK: linking

    package enum Outcome: Sendable, Equatable {
        /// The link is there now; `merged` says whether two persons became one by it.
        case linked(merged: Bool)
        /// The same two identifiers were linked by the same cause before.
        case known(MergeID)
        case refused(LinkRefusal)
    }

    /// Links two identifiers, or says why not.
    ///
    /// - Parameters:
    ///   - tag: the keyed hash of the event that says so.
    ///   - room: identifiers that the installation has room for.
    package mutating func link(
        _ from: LinkEnd, _ to: LinkEnd, cause: LinkCause, tag: UInt64, at: Int64, actor: String,
        limits: IdentityLimits, room: Int
    ) -> Outcome {
        guard from.isLinkable, to.isLinkable, (from.namespace == .group) == (to.namespace == .group) else {
            return .refused(.notLinkable)
        }
        if from.key == to.key { return .known(MergeID(from: from.key, tag: tag)) }
        let (a, b) = (node(from.key), node(to.key))
        if let a, let b, let known = link(a, b, cause) { return .known(mergeID(links[known])) }
        let left = totals(a, from)
        let right = totals(b, to)
        let isMerge = a == nil || b == nil || left.component != right.component
        if isMerge {
            if cause == .identify, left.users > 0, right.users > 0 { return .refused(.mergeRefused) }
            guard left.size + right.size <= limits.personIdentifiersMax else { return .refused(.tooLarge) }
        }
        guard (isMerge ? left.links + right.links : left.links) < limits.personLinksMax else {
            return .refused(.tooLarge)
        }
        guard (a == nil ? 1 : 0) + (b == nil ? 1 : 0) <= room else { return .refused(.full) }
        let (first, second) = (a ?? add(from), b ?? add(to))
        if isMerge { join(first, second) }
        connect(first, second, Link(cause, tag: tag, at: at, actor: actors.number(actor)))
        return .linked(merged: isMerge)
    }

    private func totals(_ node: UInt32?, _ end: LinkEnd) -> (component: UInt32, size: Int, links: Int, users: Int) {
        guard let node else { return (Self.none, 1, 0, end.namespace == .user ? 1 : 0) }
        let root = nodes[nodes[node].component]
        return (nodes[node].component, Int(root.size), Int(root.links), Int(root.users))
    }

    /// Gives the younger person's identifiers to the older person.
    private mutating func join(_ first: UInt32, _ second: UInt32) {
        var (older, younger, start) = (nodes[first].component, nodes[second].component, second)
        if nodes[older].age > nodes[younger].age { (older, younger, start) = (younger, older, first) }
        let moved = nodes[younger]
        relabel(start, from: younger, to: older)
        nodes[older].size += moved.size
        nodes[older].links += moved.links
        nodes[older].users += moved.users
        version += 1
    }

    private mutating func relabel(_ start: UInt32, from old: UInt32, to new: UInt32) {
        nodes[start].component = new
        guard nodes[start].firstLink != Self.none else { return }
        var waiting = [start]
        while let node = waiting.popLast() {
            var number = nodes[node].firstLink
            while number != Self.none {
                let link = links[number]
                let isA = link.a == node
                let other = isA ? link.b : link.a
                if nodes[other].component == old {
                    nodes[other].component = new
                    waiting.append(other)
                }
                number = isA ? link.nextOfA : link.nextOfB
            }
        }
    }

    private mutating func connect(_ a: UInt32, _ b: UInt32, _ link: Link) {
        var link = link
        (link.a, link.b) = (a, b)
        (link.nextOfA, link.nextOfB) = (nodes[a].firstLink, nodes[b].firstLink)
        let number: UInt32
        if freeLink != Self.none {
            number = freeLink
            freeLink = links[number].nextOfA
            links[number] = link
        } else {
            number = UInt32(links.count)
            links.append(link)
        }
        nodes[a].firstLink = number
        nodes[b].firstLink = number
        nodes[nodes[a].component].links += 1
        linkCount += 1
    }

    // MARK: taking a link out

    /// Takes out what a merge linked and rebuilds the person. An alias may have made two links; both go.
    ///
    /// - Returns: false when there is no such link.
    @discardableResult
    package mutating func unlink(_ merge: MergeID) -> Bool {
        guard let number = link(merge) else { return false }
        let link = links[number]
        var gone = [number]
        if link.cause == LinkCause.alias.rawValue {
            eachLink(link.b) { other, sibling, _ in
                if other != number, sibling.b == link.b, sibling.tag == link.tag, sibling.cause == link.cause {
                    gone.append(other)
                }
            }
        }
        var ends = [link.b]
        for number in gone {
            ends.append(links[number].a)
            detach(number)
        }
        rebuild(ends)
        return true
    }

    private mutating func detach(_ number: UInt32) {
        let link = links[number]
        for (node, next) in [(link.a, link.nextOfA), (link.b, link.nextOfB)] {
            if nodes[node].firstLink == number {
                nodes[node].firstLink = next
                continue
            }
            var before = nodes[node].firstLink
            while before != Self.none {
                let isA = links[before].a == node
                let following = isA ? links[before].nextOfA : links[before].nextOfB
                if following == number {
                    if isA { links[before].nextOfA = next } else { links[before].nextOfB = next }
                    break
                }
                before = following
            }
        }
        links[number].cause = 0
        links[number].nextOfA = freeLink
        freeLink = number
        linkCount -= 1
    }

    /// Makes persons of what hangs together with each of the nodes, which were one person until now.
    private mutating func rebuild(_ ends: [UInt32]) {
        var settled: Set<UInt32> = []
        var persons = 0
        for end in ends where !settled.contains(end) {
            let group = members(end)
            settled.formUnion(group)
            persons += 1
            if group.count == 1 {
                remove(end)
                continue
            }
            settle(group)
        }
        if persons > 1 { version += 1 }
    }

    /// Gives a connected group its number and its totals.
    mutating func settle(_ group: [UInt32]) {
        guard let oldest = group.min(by: { nodes[$0].age < nodes[$1].age }) else { return }
        var (degrees, users) = (0, 0)
        for node in group {
            nodes[node].component = oldest
            if nodes[node].namespace == PersonIdentifier.Namespace.user.rawValue { users += 1 }
            eachLink(node) { _, _, _ in degrees += 1 }
        }
        nodes[oldest].size = UInt16(clamping: group.count)
        nodes[oldest].links = UInt16(clamping: degrees / 2)
        nodes[oldest].users = UInt16(clamping: users)
    }

    // MARK: nodes

    private mutating func add(_ end: LinkEnd) -> UInt32 {
        nextAge += 1
        return add(end.key, end.namespace.rawValue, age: nextAge)
    }

    /// Adds an identifier that is nobody else yet.
    mutating func add(_ key: UInt64, _ namespace: UInt8, age: UInt64) -> UInt32 {
        if (count + 1) * 4 > places.count * 3 { grow() }
        var node = Node(
            key: key, age: age, component: 0, firstLink: Self.none, size: 1, links: 0,
            users: namespace == PersonIdentifier.Namespace.user.rawValue ? 1 : 0, namespace: namespace)
        let number = freeNode != Self.none ? freeNode : UInt32(nodes.count)
        node.component = number
        if freeNode != Self.none {
            freeNode = nodes[number].firstLink
            nodes[number] = node
        } else {
            nodes.append(node)
        }
        insert(number, key)
        count += 1
        return number
    }

    /// Adds a link between two nodes as it was; persons are settled by the caller.
    mutating func restore(_ a: UInt32, _ b: UInt32, _ link: Link) {
        connect(a, b, link)
    }

    private mutating func insert(_ node: UInt32, _ key: UInt64) {
        let mask = UInt64(places.count - 1)
        var place = key & mask
        while places[UInt32(truncatingIfNeeded: place)] != Self.none { place = (place &+ 1) & mask }
        places[UInt32(truncatingIfNeeded: place)] = node
    }

    /// Makes places for as many identifiers at once, in a graph that is empty.
    mutating func reserve(_ identifiers: Int) {
        while identifiers * 4 > places.count * 3 { places.append(Self.none, count: max(64, places.count)) }
    }

    private mutating func grow() {
        let old = places
        places = GraphPages(shift: 10)
        places.append(Self.none, count: max(64, old.count * 2))
        for place in 0..<UInt32(old.count) {
            let node = old[place]
            if node != Self.none { insert(node, nodes[node].key) }
        }
    }

    /// Forgets an identifier without links. The places behind it move up, so that none is ever skipped.
    private mutating func remove(_ node: UInt32) {
        let mask = UInt32(places.count - 1)
        var hole = UInt32(truncatingIfNeeded: nodes[node].key) & mask
        while places[hole] != node { hole = (hole &+ 1) & mask }
        var next = (hole &+ 1) & mask
        while places[next] != Self.none {
            let home = UInt32(truncatingIfNeeded: nodes[places[next]].key) & mask
            if (next &- home) & mask >= (next &- hole) & mask {
                places[hole] = places[next]
                hole = next
            }
            next = (next &+ 1) & mask
        }
        places[hole] = Self.none
        nodes[node].namespace = 0
        nodes[node].firstLink = freeNode
        freeNode = node
        count -= 1
    }
}

extension IdentityGraph.Link {
    init(_ cause: LinkCause, tag: UInt64, at: Int64, actor: UInt16) {
        let none = IdentityGraph.none
        self.init(
            a: none, b: none, nextOfA: none, nextOfB: none, tag: tag, at: at, actor: actor, cause: cause.rawValue)
    }
}

/// Who made links: apps and keys, each text once.
struct ActorNames: Sendable {
    private(set) var names: [String] = [""]
    private var numbers: [String: UInt16] = ["": 0]

    /// Past 65,535 names the actor is not told any more.
    mutating func number(_ name: String) -> UInt16 {
        if let known = numbers[name] { return known }
        guard names.count < Int(UInt16.max) else { return 0 }
        let number = UInt16(names.count)
        names.append(name)
        numbers[name] = number
        return number
    }

    func name(_ number: UInt16) -> String { Int(number) < names.count ? names[Int(number)] : "" }
}
