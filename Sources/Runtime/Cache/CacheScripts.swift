/// What the shared cache asks of its server; all keys of one call lie in the slot of the organisation.
enum CacheScripts {
    /// KEYS: the value, then tags. Answers the value or nil, its life in ms, then the generation of each tag.
    static let read = RedisScript(
        """
        local answer = { redis.call('GET', KEYS[1]), redis.call('PTTL', KEYS[1]) }
        for i = 2, #KEYS do answer[i + 1] = redis.call('GET', KEYS[i]) or '0' end
        return answer
        """, isRead: true)

    /// KEYS: the value, the flight, then tags. ARGV: the flight's token, the value, its life in ms, then the
    /// generations that were seen before it was made. Answers 1 when it was stored; the flight ends in any case.
    /// Nothing is stored once the flight is another's or nobody's: a server that lost its data counts generations from
    /// the beginning, and lost the flight with them.
    static let store = RedisScript(
        """
        if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
        redis.call('DEL', KEYS[2])
        for i = 3, #KEYS do
          if (redis.call('GET', KEYS[i]) or '0') ~= ARGV[i + 1] then return 0 end
        end
        redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
        return 1
        """)

    /// KEYS: the flight. ARGV: its token and another life in ms.
    static let renew = RedisScript(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0")

    /// KEYS: the flight. ARGV: its token.
    static let abandon = RedisScript(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")
}
