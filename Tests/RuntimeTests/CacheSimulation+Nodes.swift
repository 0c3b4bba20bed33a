import AurumCore
import Runtime

extension CacheSimulation {
    // MARK: callers, as in `MemoryCache`

    mutating func get(_ node: Int, _ key: Int) {
        let get = CacheJudge.Get(
            number: number(), node: node, key: key, begun: now, heard: nodes[node].heard,
            awaySince: nodes[node].awaySince)
        guard nodes[node].pausedUntil <= now else { return }
        verdict.gets += 1
        let (name, clock) = (Self.keys[key], clock(node))
        if let hit = nodes[node].shelf.hit(name, policy, changes: nodes[node].tags.changes, at: clock) {
            return answer(get, hit)
        }
        let seen = nodes[node].tags.seen("o", CacheJudge.tags[key].dropFirst().map { Self.tagNames[$0] })
        let changes = nodes[node].tags.changes
        let found = nodes[node].shelf.look(name, policy, seen, changes: changes, at: clock, random: &random)
        switch found {
        case .fresh(let cached): answer(get, cached)
        case .behind(let cached, let flight):
            answer(get, cached)
            if let flight { begin(node, key, flight, seen, nil) }
        case .join(let flight):
            guard let index = nodes[node].makings.firstIndex(where: { $0.flight === flight }) else { return }
            nodes[node].makings[index].gets.append(get)
        case .start(let flight): begin(node, key, flight, seen, get)
        }
    }

    private mutating func begin(
        _ node: Int, _ key: Int, _ flight: CacheFlight, _ seen: SeenTags, _ get: CacheJudge.Get?
    ) {
        let clock = clock(node)
        var making = Making(
            number: number(), key: key, flight: flight, seen: seen, isBehind: get == nil,
            machine: FleetMaking(policy, isBehind: get == nil, at: clock), askedAt: clock)
        if let get { making.gets = [get] }
        nodes[node].makings.append(making)
        look(node, making.number)
    }

    private func index(_ node: Int, _ making: Int) -> Int? {
        nodes[node].makings.firstIndex { $0.number == making }
    }

    // MARK: what `FleetMaking` says, as in `RedisCache`

    private mutating func carryOut(_ node: Int, _ number: Int, _ step: FleetMaking.Step) {
        guard let index = index(node, number) else { return }
        let (key, token) = (nodes[node].makings[index].key, nodes[node].makings[index].token)
        switch step {
        case .look: look(node, number)
        case .board:
            let own = self.number()
            nodes[node].makings[index].token = own
            ask(node, index, .board, .board(key: key, token: own))
        case .wait:
            nodes[node].makings[index].isWaiting = true
            let operation = self.number()
            nodes[node].makings[index].awaiting = operation
            add(
                .waited(sender(node, making: number, operation: operation)),
                after: FleetMaking.pollInterval.microseconds)
        case .run(let isLeased): runFactory(node, index, isLeased: isLeased)
        case .store(let entry, let life):
            let value = nodes[node].makings[index].value ?? 0
            let milliseconds = max(1, life.microseconds / 1000)
            ask(
                node, index, .store,
                .store(
                    key: key, token: token, bytes: entry.bytes, life: milliseconds, generations: entry.generations,
                    value: value))
        case .abandon: ask(node, index, .abandon, .abandon(key: key, token: token))
        case .serve(let made): finish(node, index, made)
        case .fail:
            let making = nodes[node].makings.remove(at: index)
            nodes[node].shelf.failed(making.flight, Self.keys[key], at: clock(node))
            for get in making.gets { answer(get, nil) }
        }
    }

    mutating func look(_ node: Int, _ number: Int) {
        guard let index = index(node, number) else { return }
        nodes[node].makings[index].isWaiting = false
        nodes[node].makings[index].askedAt = clock(node)
        ask(node, index, .look, .look(key: nodes[node].makings[index].key))
    }

    private mutating func ask(_ node: Int, _ index: Int, _ asked: Asked, _ request: Request) {
        let operation = number()
        nodes[node].makings[index].asked = asked
        nodes[node].makings[index].awaiting = operation
        let making = nodes[node].makings[index].number
        send(sender(node, making: making, operation: operation), request, within: Self.timeout)
    }

    /// At once without an answer while the node knows that the server is away.
    private mutating func send(_ sender: Sender, _ request: Request, within limit: Int64) {
        guard nodes[sender.node].isHere else { return add(.reply(sender, nil), after: 0) }
        add(.reply(sender, nil), after: limit)
        let span = delay()
        harm(sender, span)
        guard let span, nodes[sender.node].cutUntil <= now else { return }
        add(.atServer(sender, request), after: span)
        // A read is sent again by a client whose connection broke; a raise is sent again until it is answered.
        switch request {
        case .look, .raise: if isFaulty, chance(2) { add(.atServer(sender, request), after: span + 5000) }
        default: break
        }
    }

    private mutating func harm(_ sender: Sender, _ delay: Int64?) {
        guard delay ?? .max > Self.late, let index = index(sender.node, sender.making) else { return }
        harm(sender.node, index, 1)
    }

    private mutating func runFactory(_ node: Int, _ index: Int, isLeased: Bool) {
        let making = nodes[node].makings[index]
        let isAbsent = chance(15)
        let fails = isFaulty && chance(8)
        let value = judge.begin(
            key: making.key, node: node, isAbsent: isAbsent, isExcused: !isLeased || making.faults > 1, at: now)
        nodes[node].makings[index].value = value
        let how = isLeased ? "with token \(making.token)" : "alone"
        note("node \(node) makes value \(value) of key \(making.key) \(how)")
        let longest: Int64 = !isFaulty ? 300_000 : chance(7) ? 6_000_000 : 300_000
        let sender = sender(node, making: making.number)
        let took = Int64.random(in: 5000...longest, using: &random)
        add(.factoryEnds(sender, value: value, fails: fails), after: took)
        if isLeased { add(.renew(sender), after: FleetMaking.flightRenewal.microseconds) }
    }

    mutating func factoryEnds(_ sender: Sender, _ value: Int, _ fails: Bool) {
        let node = sender.node
        judge.end(value, at: now)
        guard let index = index(node, sender.making) else { return }
        let moment = moment(node)
        if fails {
            note("making value \(value) fails")
            nodes[node].makings[index].value = nil
            let step = nodes[node].makings[index].machine.failed(at: moment)
            return carryOut(node, sender.making, step)
        }
        let bytes = judge.values[value].isAbsent ? nil : Self.bytes(value)
        note("value \(value) is made: \(bytes == nil ? "an absence" : "something")")
        let step = nodes[node].makings[index].machine.made(bytes, at: moment, random: &random)
        carryOut(node, sender.making, step)
    }

    /// Every second while the factory runs.
    mutating func renew(_ sender: Sender) {
        guard let index = index(sender.node, sender.making), let value = nodes[sender.node].makings[index].value,
            judge.values[value].isRunning
        else { return }
        let operation = number()
        nodes[sender.node].makings[index].renewing = operation
        let (key, token) = (nodes[sender.node].makings[index].key, nodes[sender.node].makings[index].token)
        send(
            self.sender(sender.node, making: sender.making, operation: operation), .renew(key: key, token: token),
            within: FleetMaking.renewalTimeout.microseconds)
    }

    mutating func waited(_ sender: Sender) {
        guard let index = index(sender.node, sender.making),
            nodes[sender.node].makings[index].awaiting == sender.operation
        else { return }
        wake(sender.node, index)
    }

    private mutating func wake(_ node: Int, _ index: Int) {
        let number = nodes[node].makings[index].number
        let step = nodes[node].makings[index].machine.waited()
        carryOut(node, number, step)
    }

    func moment(_ node: Int) -> FleetMaking.Moment { FleetMaking.Moment(clock(node), hasNews: nodes[node].isHere) }

    mutating func replied(_ sender: Sender, _ reply: Reply?) {
        let node = sender.node
        if let place = nodes[node].raising.firstIndex(where: { $0.operation == sender.operation }) {
            return raised(node, nodes[node].raising.remove(at: place).tag, reply)
        }
        guard let index = index(node, sender.making) else { return }
        if nodes[node].makings[index].renewing == sender.operation {
            nodes[node].makings[index].renewing = 0
            return add(.renew(self.sender(node, making: sender.making)), after: FleetMaking.flightRenewal.microseconds)
        }
        guard nodes[node].makings[index].awaiting == sender.operation else { return }
        nodes[node].makings[index].awaiting = 0
        let (moment, key) = (moment(node), nodes[node].makings[index].key)
        let step: FleetMaking.Step
        switch nodes[node].makings[index].asked {
        case .nothing: return
        case .look:
            var found = SharedLook.away
            if case .look(let bytes, let left, let generations)? = reply {
                found = SharedLook(bytes, left: left, generations: generations)
            }
            let asked = nodes[node].makings[index].askedAt
            step = nodes[node].makings[index].machine.looked(found, asked: asked, at: moment, random: &random)
        case .board:
            var isOurs = false
            if case .done(true)? = reply { isOurs = true }
            step = nodes[node].makings[index].machine.boarded(isOurs, at: moment)
        case .store:
            tell(node, .ended(key: key))
            step = nodes[node].makings[index].machine.stored(at: moment)
        case .abandon:
            tell(node, .ended(key: key))
            step = nodes[node].makings[index].machine.abandoned(at: moment)
        }
        carryOut(node, sender.making, step)
    }

    private mutating func finish(_ node: Int, _ index: Int, _ made: MadeValue) {
        let making = nodes[node].makings.remove(at: index)
        // Of an absence of another node nobody can say which it was: it reaches this one with all there are.
        for value in judge.values.indices where judge.values[value].key == making.key {
            let isIt = made.value.map { Self.value($0) == value } ?? judge.values[value].isAbsent
            if isIt { judge.reached(value, node: node, at: now) }
        }
        if made.isNew, let value = making.value { judge.kept(value, at: now) }
        nodes[node].shelf.land(
            making.flight, Self.keys[making.key], making.seen, made, changes: nodes[node].tags.changes,
            at: clock(node), random: &random)
        for get in making.gets { answer(get, made.cached) }
        if made.isStale, !making.isBehind, let next = nodes[node].shelf.again(Self.keys[making.key], making.seen) {
            begin(node, making.key, next, making.seen, nil)
        }
    }

    // MARK: invalidations, as in `RedisCache`

    mutating func invalidate(_ node: Int, _ tag: Int) {
        guard nodes[node].pausedUntil <= now else { return }
        note("node \(node) invalidates tag \(tag)")
        nodes[node].tags.raise("o", Self.tagNames[tag])
        raise(node, tag)
    }

    private mutating func raise(_ node: Int, _ tag: Int) {
        let operation = number()
        nodes[node].raising.append((operation, tag))
        send(sender(node, operation: operation), .raise(tag: tag), within: Self.timeout)
    }

    /// What was not answered is sent again. The others are told in any case, and so is this node.
    private mutating func raised(_ node: Int, _ tag: Int, _ reply: Reply?) {
        var stamp = Int64.min
        if case .raised(let at)? = reply { stamp = at }
        if stamp == .min {
            if !nodes[node].pending.contains(tag) { nodes[node].pending.append(tag) }
            add(.sendPending(sender(node)), after: 1_000_000)
        }
        heard(node, .raised(tag: tag), stamp: stamp, isOwn: true)
        tell(node, .raised(tag: tag))
    }

    mutating func sendPending(_ node: Int) {
        guard nodes[node].isHere else { return }
        let tags = nodes[node].pending
        nodes[node].pending = []
        for tag in tags { raise(node, tag) }
    }

    // MARK: the backplane

    private mutating func tell(_ node: Int, _ message: Message) {
        if case .ended = message { heard(node, message, stamp: .min, isOwn: true) }
        guard nodes[node].isHere, nodes[node].cutUntil <= now, let span = delay() else { return }
        add(.atServer(sender(node), .publish(message)), after: span)
    }

    /// - Parameter stamp: what was raised on the server until then is covered by the message.
    mutating func heard(_ node: Int, _ message: Message, stamp: Int64, isOwn: Bool) {
        switch message {
        case .raised(let tag):
            if canary != .deafNodes || isOwn { nodes[node].tags.raise("o", Self.tagNames[tag]) }
            nodes[node].heard[tag] = max(nodes[node].heard[tag], stamp)
        case .ended(let key):
            for making in nodes[node].makings where making.key == key && making.isWaiting {
                if let index = index(node, making.number) { wake(node, index) }
            }
        }
    }

    // MARK: the server

    mutating func serve(_ sender: Sender, _ request: Request) {
        let time = now + server.skew
        for key in Self.keys.indices {
            if let entry = server.entries[key], entry.until <= time { server.entries[key] = nil }
        }
        endFlights()
        let lease = FleetMaking.flightLease.microseconds
        switch request {
        case .look(let key): reply(sender, looked(key, time))
        case .board(let key, let token):
            let isFree = server.flights[key] == nil || canary == .noLeases
            if isFree { server.flights[key] = (token, sender.node, time + lease) }
            reply(sender, .done(isFree))
        case .renew(let key, let token):
            let isTheirs = server.flights[key]?.token == token
            if isTheirs { server.flights[key]?.until = time + lease }
            reply(sender, .done(isTheirs))
        case .abandon(let key, let token):
            let isTheirs = server.flights[key]?.token == token
            if isTheirs { endFlight(key, at: now) }
            reply(sender, .done(isTheirs))
        case .store(let key, let token, let bytes, let life, let generations, let value):
            reply(sender, .done(store(key, token, bytes, time + life * 1000, generations, value)))
        case .raise(let tag):
            server.generations[tag] += 1
            server.words[tag] = "\(server.generations[tag])"
            judge.raised(tag, at: now)
            note("tag \(tag) is raised")
            reply(sender, .raised(at: now))
        case .publish(let message):
            for node in nodes.indices where node != sender.node { deliver(node, message) }
        }
    }

    mutating func endFlights() {
        for key in Self.keys.indices {
            guard let flight = server.flights[key], flight.until <= now + server.skew else { continue }
            endFlight(key, at: flight.until - server.skew)
        }
    }

    private mutating func endFlight(_ key: Int, at time: Int64) {
        server.flights[key] = nil
        server.freedAt[key] = time
    }

    private func generations(_ key: Int) -> [String] { CacheJudge.tags[key].map { server.words[$0] } }

    private mutating func looked(_ key: Int, _ time: Int64) -> Reply {
        guard let entry = server.entries[key] else { return .look(nil, left: -2, generations: generations(key)) }
        var seen = generations(key)
        if canary == .noGenerations { seen = SharedEntry(entry.bytes)?.generations ?? seen }
        let left = (entry.until - time) / 1000
        if case .entry = SharedLook(entry.bytes, left: left, generations: seen) {
            judge.handedOut(entry.value, at: now)
        }
        return .look(entry.bytes, left: left, generations: seen)
    }

    private mutating func store(
        _ key: Int, _ token: Int, _ bytes: [UInt8], _ until: Int64, _ seen: [String], _ value: Int
    ) -> Bool {
        guard server.flights[key]?.token == token || canary == .noLeases else {
            verdict.refused += 1
            note("value \(value) comes too late to be stored")
            return false
        }
        endFlight(key, at: now)
        guard seen == generations(key) || canary == .noGenerations else {
            verdict.refused += 1
            note("value \(value) is refused: a tag was raised")
            return false
        }
        server.entries[key] = (bytes, until, value)
        judge.kept(value, at: now)
        note("value \(value) is stored")
        return true
    }

    private mutating func reply(_ sender: Sender, _ reply: Reply) {
        let span = delay()
        if nodes[sender.node].run == sender.run { harm(sender, span) }
        guard let span, nodes[sender.node].cutUntil <= now else { return }
        add(.reply(sender, reply), after: span)
    }

    /// At most once to a connection, were it not for what the simulation does to it.
    private mutating func deliver(_ node: Int, _ message: Message) {
        guard nodes[node].isSubscribed, nodes[node].cutUntil <= now, let span = delay() else { return }
        add(.heard(sender(node), message, stamp: now), after: span)
        if isFaulty, chance(3) { add(.heard(sender(node), message, stamp: now), after: span + 40_000) }
    }
}
