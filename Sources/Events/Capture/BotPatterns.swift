/// Whether a user agent names itself as a program. The verdict is data: the event is stored and flagged.
struct BotPatterns {
    /// Remembered verdicts, by a hash of the agent: bodies repeat few agents.
    private static let memoSlots = 64
    private let memo: UnsafeMutablePointer<(hash: UInt64, count: Int, isBot: Bool)>

    init() {
        memo = .allocate(capacity: Self.memoSlots)
        memo.initialize(repeating: (0, -1, false), count: Self.memoSlots)
    }

    func deallocate() { memo.deallocate() }

    /// An empty agent is a bot; so is one with a listed word, or with `bot` at the end of a word.
    func isBot(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        guard count > 0 else { return true }
        let hash = SipHash(key: (0x626f_7473, 0x7061_7474)).hash(bytes, count)
        let slot = memo + Int(hash.low & UInt64(Self.memoSlots - 1))
        if slot.pointee.hash == hash.high, slot.pointee.count == count { return slot.pointee.isBot }
        let verdict = BotVerdict(UserAgentRules.reasons(bytes, count)) == .bot
        slot.pointee = (hash.high, count, verdict)
        return verdict
    }
}
