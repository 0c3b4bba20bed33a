/// The three machines of `RateMachine.swift` once more, in the server's language. Every number stays below 2^53, where
/// Lua's doubles are whole numbers; `RateLimit.exactMax` sees to it.
enum RateScript {
    /// KEYS: one a limit, of one slot. ARGV: 1 when the units are owed whatever the verdict, 2 when they are given
    /// back (GCRA only), else 0; then for each key algorithm, limit, window in µs, burst, cost; then the time in µs,
    /// where it is not to be the server's (tests). Answers for each allowed, remaining, retry µs, reset µs.
    static let decide = RedisScript(
        """
        local now = tonumber(ARGV[2 + #KEYS * 5] or '0')
        if now == 0 then
          local t = redis.call('TIME')
          now = tonumber(t[1]) * 1000000 + tonumber(t[2])
        end
        local exact = 4503599627370496
        local returned = ARGV[1] == '2'
        local owed = returned or ARGV[1] == '1'
        local answer, books, allowed = {}, {}, true

        local function whole(n) return string.format('%.0f', n) end
        local function quotient(a, b) return (a - math.fmod(a, b)) / b end

        local function gcra(key, limit, window, burst, cost)
          local at, part = now, 0
          local stored = redis.call('GET', key)
          if stored then
            local a, b = string.match(stored, '^(%d+):(%d+)$')
            a = tonumber(a)
            if a and a >= now then at, part = a, tonumber(b) end
          end
          local most, dearest = quotient(exact, limit), quotient(exact, window)
          local function plus(at, part, n)
            local product = math.max(-dearest, math.min(n, dearest)) * window
            at, part = at + quotient(product, limit), part + math.fmod(product, limit)
            if part >= limit then at, part = at + 1, part - limit end
            if part < 0 then at, part = at - 1, part + limit end
            return at, part
          end
          local function booked(at, part, n)
            at, part = plus(at, part, n)
            if at > now + most then return now + most, 0 end
            if at < now then return now, 0 end
            return at, part
          end
          local function left(at, part)
            if at - now > most then return 0 end
            local n = burst * window - ((at - now) * limit + part)
            if n <= 0 then return 0 end
            return quotient(n, window)
          end
          local na, np = plus(at, part, math.min(cost, burst))
          local ra, rp = plus(now, 0, burst)
          local la, lp = na - ra, np - rp
          local ok = la < 0 or (la == 0 and lp <= 0)
          local ta, tp = at, part
          if ok or owed then ta, tp = booked(at, part, returned and -cost or cost) end
          local retry = 0
          if not ok then retry = la + (lp > 0 and 1 or 0) end
          return ok, left(ta, tp), retry, ta - now + (tp > 0 and 1 or 0), function()
            redis.call('SET', key, whole(ta) .. ':' .. whole(tp), 'PX', whole(quotient(ta - now, 1000) + 10000))
          end
        end

        local function log(key, limit, window, burst, cost)
          local at = now
          local last = redis.call('LINDEX', key, -1)
          if last then at = math.max(at, tonumber(last)) end
          local head = redis.call('LINDEX', key, 0)
          while head and tonumber(head) <= at - window do
            redis.call('LPOP', key)
            head = redis.call('LINDEX', key, 0)
          end
          local count = redis.call('LLEN', key)
          local over = count + cost - limit
          local function book()
            for _ = 1, math.min(cost, 1000 - count) do redis.call('RPUSH', key, whole(at)) end
            redis.call('PEXPIRE', key, whole(quotient(window, 1000) + 10000))
          end
          if over <= 0 then return true, -over, 0, window, book end
          local retry, reset = window, 0
          if over <= count then retry = tonumber(redis.call('LINDEX', key, over - 1)) + window - at end
          if count > 0 then reset = tonumber(last) + window - at end
          return false, math.max(0, limit - count), retry, reset, book
        end

        local function counter(key, limit, window, burst, cost)
          local index, current, previous = 0, 0, 0
          local stored = redis.call('GET', key)
          if stored then
            local a, b, c = string.match(stored, '^(%d+):(%d+):(%d+)$')
            if a then index, current, previous = tonumber(a), tonumber(b), tonumber(c) end
          end
          local at, elapsed = quotient(now, window), math.fmod(now, window)
          if at < index then
            elapsed = 0
          elseif at > index then
            previous = (at == index + 1) and current or 0
            current, index = 0, at
          end
          local used = previous * (window - elapsed) + current * window
          local ok = used + cost * window <= limit * window
          local after = ok and used + cost * window or used
          local remaining = 0
          if limit * window > after then remaining = quotient(limit * window - after, window) end
          local retry = 0
          if not ok then
            local free = limit - current - cost
            if cost > limit then
              retry = window
            elseif free >= 0 and previous > 0 then
              retry = window - quotient(free * window, previous) - elapsed
            else
              local later = 0
              if current > 0 then later = window - quotient((limit - cost) * window, current) end
              retry = window - elapsed + math.max(0, later)
            end
          end
          local reset = window - elapsed
          if ok or current > 0 then reset = 2 * window - elapsed end
          return ok, remaining, retry, reset, function()
            local units = math.min(current + cost, quotient(quotient(exact, window), 4))
            redis.call(
              'SET', key, whole(index) .. ':' .. whole(units) .. ':' .. whole(previous),
              'PX', whole(quotient(2 * window, 1000) + 10000))
          end
        end

        local machines = { gcra = gcra, slidingLog = log, slidingCounter = counter }
        for i, key in ipairs(KEYS) do
          local a = 2 + (i - 1) * 5
          local ok, remaining, retry, reset, book = machines[ARGV[a]](
            key, tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4]))
          allowed = allowed and ok
          books[i] = book
          answer[#answer + 1] = ok and 1 or 0
          answer[#answer + 1] = remaining
          answer[#answer + 1] = retry
          answer[#answer + 1] = reset
        end
        if allowed or owed then for _, book in ipairs(books) do book() end end
        return answer
        """)
}
