/// Which master has which slot.
struct RedisSlotMap: Sendable, Equatable {
    typealias Address = RedisConfiguration.Address

    private(set) var masters: [Address] = []
    /// An index into `masters` for each slot; -1 where nobody has it.
    private var owners = [Int16](repeating: -1, count: RedisSlot.count)

    init() {}

    /// Reads the answer to `CLUSTER SLOTS`: ranges of slots, each with its master first; nil for anything else.
    /// - Parameter asked: the node that answered: a host it leaves empty is its own.
    init?(_ answer: RESPValue, asked: Address) {
        guard case .array(let ranges) = answer, !ranges.isEmpty else { return nil }
        for range in ranges {
            guard let parts = range.array, parts.count >= 3, let from = parts[0].integer, let to = parts[1].integer,
                let master = parts[2].array, master.count >= 2, let port = master[1].integer,
                from >= 0, from <= to, to < RedisSlot.count, (1...65_535).contains(port)
            else { return nil }
            let host = master[0].string ?? ""
            let address = Address(host: host.isEmpty ? asked.host : host, port: Int(port))
            guard let index = index(of: address) else { return nil }
            for slot in Int(from)...Int(to) { owners[slot] = index }
        }
    }

    func owner(of slot: Int) -> Address? {
        let index = owners[slot]
        return index >= 0 ? masters[Int(index)] : nil
    }

    /// A server said that the slot is elsewhere.
    mutating func move(_ slot: Int, to address: Address) {
        if let index = index(of: address) { owners[slot] = index }
    }

    private mutating func index(of address: Address) -> Int16? {
        if let index = masters.firstIndex(of: address) { return Int16(index) }
        guard masters.count < RedisLimits.nodesMax else { return nil }
        masters.append(address)
        return Int16(masters.count - 1)
    }
}

/// What a server says instead of an answer.
enum RedisRedirection: Equatable, Sendable {
    case moved(slot: Int, to: RedisConfiguration.Address)
    case ask(to: RedisConfiguration.Address)
    /// Keys of the command are on their way, or the cluster is not whole at the moment.
    case tryAgain

    /// nil for any other answer.
    /// - Parameter asked: the node that answered: a host it leaves empty is its own.
    init?(_ value: RESPValue, asked: RedisConfiguration.Address) {
        guard case .error(let error) = value else { return nil }
        switch error.code {
        case "TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN": self = .tryAgain
        case "MOVED", "ASK":
            let words = error.text.split(separator: " ")
            guard words.count == 3, let slot = Int(words[1]), (0..<RedisSlot.count).contains(slot),
                let colon = words[2].lastIndex(of: ":"), let port = Int(words[2][words[2].index(after: colon)...]),
                (1...65_535).contains(port)
            else { return nil }
            let host = words[2][..<colon]
            let address = RedisConfiguration.Address(host: host.isEmpty ? asked.host : String(host), port: port)
            self = error.code == "ASK" ? .ask(to: address) : .moved(slot: slot, to: address)
        default: return nil
        }
    }
}
