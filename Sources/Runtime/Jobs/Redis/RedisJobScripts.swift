/// What the server does for `RedisJobStore`, each script at once and alone. All keys of a queue lie in one slot; the
/// first key of a script is the queue's name, and the others begin with it.
///
/// | key | what |
/// |---|---|
/// | `rows`, `body`, `extra` | hashes by number: what changes, what never does, and notes with failed attempts |
/// | `ids`, `held` | hashes: number by id; number of who holds a unique key or a tick |
/// | `due:P` | sorted sets: scheduled jobs of a priority by time |
/// | `later:G` | those of a group that were not due when they were written |
/// | `aside:G`, `kept:G` | waiting and parked jobs of a group by number; those that are over by their purge |
/// | `count` | how many of a group are in a state |
/// | `ready`, `parked:O|K` | parked jobs by the time that their rate promised; those under a full key by place |
/// | `running`, `cancelling`, `dead:G` | by lease, by the moment of the wish, of the death |
/// | `usage`, `rate`, `rateEnds` | what runs under keys, states of rates and when they end |
/// | `waiting`, `types`, `schedules` | waiting jobs of an organisation, groups, plans |
/// | `kids:I`, `parents:I` | links between jobs, by id |
/// | `operation:I` | that the script which added a job has run; for a minute |
/// | `seq`, `fence`, `gate`, `meta` | counters, who may write alone, the time of the last write |
///
/// A group is an organisation and a type. A row is 26 texts with `|` between (`RedisJobText`), of which scripts look at
/// 23; a number of a job has 16 digits, so that its text sorts like it. Numbers stay below 2^53, where Lua's doubles
/// are whole. Each write of a set costs the server a microsecond or two, which is what bounds jobs a second.
enum RedisJobScripts {
    /// ARGV[1]: the time in µs, where it is not to be the server's (tests); else 0.
    static let head = #"""
        local P = KEYS[1]
        local now = tonumber(ARGV[1])
        if now == 0 then
          local t = redis.call('TIME')
          now = tonumber(t[1]) * 1000000 + tonumber(t[2])
        end
        local function text(n) return string.format('%.0f', n) end
        local PATTERN = '^' .. string.rep('([^|]*)|', 23) .. '(.*)$'
        local function split(row) return { string.match(row, PATTERN) } end
        local REV, STATE, FENCE, WORKER, LEASE, STARTED, ATTEMPT, READY, HELD, KIDS = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
        local DUE, CANCEL, PARENTS, FINISHED, KEEP, KEYED, SCOPE, PRIORITY = 11, 12, 13, 14, 15, 16, 17, 18
        local KEEPS, ID, GROUP, KEY, UNIQUE = 19, 20, 21, 22, 23
        local a = 2
        local function take() a = a + 1 return ARGV[a - 1] end
        local function many(n)
          local all = {}
          for i = 1, n do all[i] = take() end
          return all
        end
        local function values(key, fields)
          local all = {}
          for from = 1, #fields, 1000 do
            local some = redis.call('HMGET', key, unpack(fields, from, math.min(from + 999, #fields)))
            for i = 1, #some do all[#all + 1] = some[i] end
          end
          return all
        end
        local function fetch(seqs)
          local rows, bodies = values(P .. ':rows', seqs), values(P .. ':body', seqs)
          local extras = values(P .. ':extra', seqs)
          local answer = {}
          for i = 1, #seqs do
            if rows[i] then
              local n = #answer
              answer[n + 1], answer[n + 2] = seqs[i], rows[i]
              answer[n + 3], answer[n + 4] = bodies[i] or '', extras[i] or ''
            end
          end
          return answer
        end
        local function groups(org, type)
          if type ~= '' then return { org .. '\t' .. type } end
          local all = {}
          for _, group in ipairs(redis.call('SMEMBERS', P .. ':types')) do
            if org == '' or string.sub(group, 1, #org + 1) == org .. '\t' then all[#all + 1] = group end
          end
          return all
        end

        """#

    /// Keeps the sets in step with the rows. What a script writes is gathered and written at its end, so that a script
    /// that refuses has written nothing. The first write is one that a server without memory refuses; where it lets
    /// that pass it lets all of the script pass. What makes room may go on without.
    static let writes = #"""
        local BONUS = { ['0'] = 60000000, ['1'] = 0, ['2'] = -60000000, ['3'] = -600000000 }
        local DUES, ROWS = {}, P .. ':rows'
        for p = 0, 3 do DUES[tostring(p)] = P .. ':due:' .. p end
        local RUNNING, CANCELLING, READIES = P .. ':running', P .. ':cancelling', P .. ':ready'
        local rem, add, hdel, hset, del, names = {}, {}, {}, {}, {}, {}
        local function one(t, key, v)
          local l = t[key]
          if l then l[#l + 1] = v else t[key] = { v } end
        end
        local function two(t, key, v, w)
          local l = t[key]
          if l then
            local n = #l
            l[n + 1], l[n + 2] = v, w
          else
            t[key] = { v, w }
          end
        end
        local function group(f)
          local g = names[f[GROUP]]
          if not g then
            local name = f[GROUP]
            g = {
              org = string.match(name, '^[^\t]*'), later = P .. ':later:' .. name, aside = P .. ':aside:' .. name,
              kept = P .. ':kept:' .. name, dead = P .. ':dead:' .. name, n = {},
            }
            g.hasLater = redis.call('EXISTS', g.later) == 1
            names[name] = g
          end
          return g
        end
        local function enter(seq, f, g)
          local s = f[STATE]
          if s == 's' then
            two(add, DUES[f[PRIORITY]], f[DUE], seq)
            if tonumber(f[DUE]) > now then two(add, g.later, f[DUE], seq) end
          elseif s == 'r' then
            two(add, RUNNING, f[LEASE], seq)
            if f[CANCEL] ~= '' then two(add, CANCELLING, f[CANCEL], seq) end
          elseif s == 'w' then
            two(add, g.aside, seq, seq)
          elseif s == 'p' then
            two(add, g.aside, seq, seq)
            if f[READY] ~= '' then
              two(add, READIES, f[READY], seq)
            else
              two(add, P .. ':parked:' .. g.org .. '|' .. f[KEY], text(f[DUE] - BONUS[f[PRIORITY]]), seq)
            end
          elseif s == 'x' then
            two(add, g.dead, f[FINISHED], seq)
          end
          if f[KEEP] ~= '' then two(add, g.kept, f[KEEP], seq) end
          g.n[s] = (g.n[s] or 0) + 1
        end
        local function leave(seq, f, g)
          local s = f[STATE]
          if s == 's' then
            one(rem, DUES[f[PRIORITY]], seq)
            if g.hasLater then one(rem, g.later, seq) end
          elseif s == 'r' then
            one(rem, RUNNING, seq)
            if f[CANCEL] ~= '' then one(rem, CANCELLING, seq) end
          elseif s == 'w' then
            one(rem, g.aside, seq)
          elseif s == 'p' then
            one(rem, g.aside, seq)
            one(rem, f[READY] ~= '' and READIES or P .. ':parked:' .. g.org .. '|' .. f[KEY], seq)
          elseif s == 'x' then
            one(rem, g.dead, seq)
          end
          if f[KEEP] ~= '' then one(rem, g.kept, seq) end
          g.n[s] = (g.n[s] or 0) - 1
        end
        local function hold(seq, f, isHeld)
          local field = f[GROUP] .. '\t' .. f[UNIQUE]
          if isHeld then two(hset, P .. ':held', field, seq) else one(hdel, P .. ':held', field) end
        end
        -- old, new: rows that were split, or nothing; row: the new one as a text.
        local function change(seq, old, new, row)
          local g = group(new or old)
          if old then leave(seq, old, g) end
          local had, has = old and old[HELD] == '1', new and new[HELD] == '1'
          if had ~= has and (had or has) then hold(seq, new or old, has) end
          if new then
            enter(seq, new, g)
            two(hset, ROWS, seq, row)
            if not old then
              two(hset, P .. ':ids', new[ID], seq)
              g.isNew = true
            end
          else
            one(hdel, ROWS, seq)
            one(hdel, P .. ':body', seq)
            one(hdel, P .. ':extra', seq)
            one(hdel, P .. ':ids', old[ID])
            one(del, 1, P .. ':kids:' .. old[ID])
            one(del, 1, P .. ':parents:' .. old[ID])
          end
        end
        local function flush(command, t)
          for key, l in pairs(t) do
            for i = 1, #l, 1000 do redis.call(command, key, unpack(l, i, math.min(i + 999, #l))) end
          end
        end
        local function store(frees)
          if not frees then redis.call('HSET', P .. ':meta', 'at', text(now)) end
          flush('HDEL', hdel)
          flush('ZREM', rem)
          for _, l in pairs(del) do
            for i = 1, #l, 1000 do redis.call('DEL', unpack(l, i, math.min(i + 999, #l))) end
          end
          flush('HSET', hset)
          flush('ZADD', add)
          for name, g in pairs(names) do
            if g.isNew then redis.call('SADD', P .. ':types', name) end
            local waiting = 0
            for s, n in pairs(g.n) do
              if n ~= 0 then redis.call('HINCRBY', P .. ':count', name .. '\t' .. s, n) end
              if s == 's' or s == 'p' or s == 'w' then waiting = waiting + n end
            end
            if waiting ~= 0 then redis.call('HINCRBY', P .. ':waiting', g.org, waiting) end
          end
        end
        local function draw(key, n)
          local last = math.max(tonumber(redis.call('GET', key) or '0'), now)
          redis.call('SET', key, text(last + n))
          return last
        end
        local function isShut(token)
          local gate = redis.call('GET', P .. ':gate')
          return gate and gate ~= token
        end

        """#

    /// Reads what a transaction asks for, one answer for each wish, after the time.
    static let read = RedisScript(
        head + writes + #"""
            local function found(key, ids)
              local seqs = {}
              for _, seq in ipairs(values(key, ids)) do if seq then seqs[#seqs + 1] = seq end end
              return seqs
            end
            local function texts(key, fields)
              local all = values(key, fields)
              for i = 1, #all do all[i] = all[i] or '' end
              return all
            end
            local ops = {}
            function ops.rows() return fetch(many(tonumber(take()))) end
            function ops.ids() return fetch(found(P .. ':ids', many(tonumber(take())))) end
            function ops.range()
              local key, back, limit = P .. ':' .. take(), take(), take()
              local last = back == 'inf' and '+inf' or text(now - tonumber(back))
              return fetch(redis.call('ZRANGEBYSCORE', key, '-inf', last, 'LIMIT', 0, limit))
            end
            function ops.dead()
              local org, type, after, behind, limit = take(), take(), take(), take(), tonumber(take())
              local all = {}
              for _, group in ipairs(groups(org, type)) do
                local offset, got = 0, 0
                while got < limit do
                  local page = redis.call(
                    'ZRANGEBYSCORE', P .. ':dead:' .. group, after, '+inf', 'WITHSCORES', 'LIMIT', offset, 500)
                  for i = 1, #page, 2 do
                    local at = tonumber(page[i + 1])
                    if at > tonumber(after) or page[i] > behind then
                      all[#all + 1] = { page[i], at }
                      got = got + 1
                    end
                  end
                  offset = offset + 500
                  if #page < 1000 then break end
                end
              end
              table.sort(all, function(x, y)
                if x[2] ~= y[2] then return x[2] < y[2] end
                return x[1] < y[1]
              end)
              local seqs = {}
              for i = 1, math.min(limit, #all) do seqs[i] = all[i][1] end
              return fetch(seqs)
            end
            function ops.held()
              local seqs = texts(P .. ':held', many(tonumber(take())))
              local there = {}
              for _, seq in ipairs(seqs) do if seq ~= '' then there[#there + 1] = seq end end
              return { seqs, fetch(there) }
            end
            function ops.usage() return texts(P .. ':usage', many(tonumber(take()))) end
            function ops.rate() return texts(P .. ':rate', many(tonumber(take()))) end
            function ops.links()
              local key = P .. ':' .. take() .. ':' .. take()
              return fetch(found(P .. ':ids', redis.call('SMEMBERS', key)))
            end
            function ops.schedules() return redis.call('HGETALL', P .. ':schedules') end
            function ops.waiting() return redis.call('HGET', P .. ':waiting', take()) or '0' end
            function ops.draw()
              local key, n = take(), tonumber(take())
              return text(draw(P .. ':' .. key, n))
            end
            function ops.gate()
              local token, life = take(), take()
              if isShut(token) then return '0' end
              redis.call('SET', P .. ':gate', token, 'PX', life)
              return '1'
            end
            local answer = { text(now) }
            while a <= #ARGV do answer[#answer + 1] = ops[take()]() end
            return answer
            """#)

    /// Writes what a transaction decided, if everything it was decided on is still so. Answers `ok`, `conflict`,
    /// `full`, or `busy` while somebody else may write alone. Where it adds jobs it may be sent twice within a minute:
    /// it remembers the id of the first of them.
    static let commit = RedisScript(
        head + writes + #"""
            -- A list of so many texts each: their first ones, and the rest of each.
            local function listed(width)
              local firsts, rests = {}, {}
              for i = 1, tonumber(take()) do
                firsts[i], rests[i] = take(), many(width - 1)
              end
              return firsts, rests
            end
            local token, operation = take(), take()
            if operation ~= '' then
              operation = P .. ':operation:' .. operation
              if redis.call('EXISTS', operation) == 1 then return 'ok' end
            end
            -- Only now: one that has run and heard `busy` would be decided anew, and add its jobs again.
            if isShut(token) then return 'busy' end
            local seqs, revisions, rows = {}, {}, {}
            for i = 1, tonumber(take()) do seqs[i], revisions[i] = take(), take() end
            for i, row in ipairs(values(P .. ':rows', seqs)) do
              local revision = row and string.match(row, '^[^|]*') or ''
              if revision ~= revisions[i] then return 'conflict' end
              rows[seqs[i]] = row
            end
            local fields, held = listed(2)
            for i, seq in ipairs(values(P .. ':held', fields)) do
              if (seq or '') ~= held[i][1] then return 'conflict' end
            end
            -- Whoever was parked meanwhile would wait for room that has been given away.
            for _ = 1, tonumber(take()) do
              local place, count = take(), tonumber(take())
              if redis.call('ZCARD', P .. ':parked:' .. place) ~= count then return 'conflict' end
            end
            for _, name in ipairs({ 'usage', 'rate', 'schedules' }) do
              local key = P .. ':' .. name
              local keys, changes = listed(4)
              for i, known in ipairs(values(key, keys)) do
                local field, old, new, ends = keys[i], unpack(changes[i])
                if (known or '') ~= old then return 'conflict' end
                if new ~= old then
                  if new == '' then one(hdel, key, field) else two(hset, key, field, new) end
                  if ends ~= '' then two(add, P .. ':rateEnds', ends, field) end
                end
              end
            end
            local most = tonumber(take())
            for _ = 1, tonumber(take()) do
              local org, n = take(), tonumber(take())
              if tonumber(redis.call('HGET', P .. ':waiting', org) or '0') + n > most then return 'full' end
            end
            local wakes = false
            for _ = 1, tonumber(take()) do
              local seq, row, body, extra = take(), take(), take(), take()
              local old, new = rows[seq], nil
              if old then old = split(old) end
              if row ~= '' then new = split(row) end
              change(seq, old, new, row)
              if new and body ~= '' then two(hset, P .. ':body', seq, body) end
              if new and extra == '' then one(hdel, P .. ':extra', seq) end
              if new and extra ~= '' and extra ~= '=' then two(hset, P .. ':extra', seq, extra) end
              if new and new[STATE] == 's' and tonumber(new[DUE]) <= now then wakes = true end
            end
            store()
            for _ = 1, tonumber(take()) do
              local parent, child = take(), take()
              redis.call('SADD', P .. ':kids:' .. parent, child)
              redis.call('SADD', P .. ':parents:' .. child, parent)
            end
            if operation ~= '' then redis.call('SET', operation, '', 'PX', 60000) end
            if token ~= '' then redis.call('DEL', P .. ':gate') end
            if wakes then redis.call('PUBLISH', P .. ':wakes', '') end
            return 'ok'
            """#)

    /// Lengthens leases. Answers for each claim 0 (not this worker's), 1 (held) or 2 (held, and told to stop).
    static let renew = RedisScript(
        head + writes + #"""
            local worker, lease = take(), tonumber(take())
            local seqs, fences, answer, isAny = {}, {}, {}, false
            for i = 1, tonumber(take()) do seqs[i], fences[i] = take(), take() end
            for i, row in ipairs(values(P .. ':rows', seqs)) do
              local old = row and split(row)
              answer[i] = 0
              if old and old[STATE] == 'r' and old[FENCE] == fences[i] and old[WORKER] == worker then
                local new = { unpack(old) }
                new[REV], new[LEASE] = old[REV] + 1, text(now + lease)
                change(seqs[i], old, new, table.concat(new, '|'))
                answer[i] = old[CANCEL] == '' and 1 or 2
                isAny = true
              end
            end
            if isAny then store() end
            return answer
            """#)

    /// Removes what is kept no longer. Answers how many jobs.
    static let purge = RedisScript(
        head + writes + #"""
            if isShut('') then return 0 end
            local limit, count = tonumber(take()), 0
            for _, name in ipairs(redis.call('SMEMBERS', P .. ':types')) do
              if count >= limit then break end
              local key, last = P .. ':kept:' .. name, '(' .. text(now)
              local seqs = redis.call('ZRANGEBYSCORE', key, '-inf', last, 'LIMIT', 0, limit - count)
              for i, row in ipairs(values(P .. ':rows', seqs)) do
                if row then change(seqs[i], split(row), nil) else one(rem, key, seqs[i]) end
              end
              count = count + #seqs
            end
            local keys = redis.call('ZRANGEBYSCORE', P .. ':rateEnds', '-inf', text(now), 'LIMIT', 0, limit)
            for _, key in ipairs(keys) do
              one(hdel, P .. ':rate', key)
              one(rem, P .. ':rateEnds', key)
            end
            if count > 0 or #keys > 0 then store(true) end
            return count
            """#)

    /// ARGV: the token of the gate. Others may write again.
    static let leave = RedisScript(
        head + #"""
            if redis.call('GET', P .. ':gate') == take() then redis.call('DEL', P .. ':gate') end
            return 'ok'
            """#)

    /// Whether a turn would find something to claim.
    static let hasDue = RedisScript(
        head + #"""
            for _, key in ipairs({ ':due:0', ':due:1', ':due:2', ':due:3', ':ready' }) do
              if #redis.call('ZRANGEBYSCORE', P .. key, '-inf', text(now), 'LIMIT', 0, 1) > 0 then return 1 end
            end
            return 0
            """#, isRead: true)

    /// The first so many of what is due or will be, of each priority.
    private static let heads = #"""
        local function heads(command, first, last, most)
          local seqs = {}
          for p = 0, 3 do
            local some = redis.call(command, P .. ':due:' .. p, first, last, 'LIMIT', 0, most)
            for i = 1, #some do seqs[#seqs + 1] = some[i] end
          end
          return seqs, values(P .. ':rows', seqs)
        end

        """#

    /// ARGV: the organisation, or nothing for all. For each group and open state: group, state, how many, of the
    /// scheduled how many are due, and the earliest time, where it is among the first hundred of its priority.
    static let counts = RedisScript(
        head + heads + #"""
            local org, answer, first = take(), {}, {}
            local _, rows = heads('ZRANGEBYSCORE', '-inf', text(now), 100)
            for _, row in ipairs(rows) do
              if row then
                local f = split(row)
                local known = first[f[GROUP]]
                if not known or tonumber(f[DUE]) < tonumber(known) then first[f[GROUP]] = f[DUE] end
              end
            end
            local all = redis.call('HGETALL', P .. ':count')
            for i = 1, #all, 2 do
              local group, state = string.match(all[i], '^(.*)\t(.)$')
              local count = tonumber(all[i + 1])
              local isOpen = state ~= 'd' and state ~= 'c' and count > 0
              if isOpen and (org == '' or string.sub(group, 1, #org + 1) == org .. '\t') then
                local due, at = 0, ''
                if state == 's' then
                  local later = P .. ':later:' .. group
                  due = math.max(0, count - redis.call('ZCOUNT', later, '(' .. text(now), '+inf'))
                  at = first[group] or ''
                  if due == 0 then at = redis.call('ZRANGE', later, 0, 0, 'WITHSCORES')[2] or '' end
                end
                for _, value in ipairs({ group, state, count, due, at }) do answer[#answer + 1] = value end
              end
            end
            return answer
            """#, isRead: true)

    /// ARGV: organisation, type or nothing, a state or nothing, `due` or `scheduled` or nothing, the number before
    /// which, limit, and how many of a set are looked at. The jobs, newest first.
    static let list = RedisScript(
        head + heads + #"""
            local org, type, state, when, top = take(), take(), take(), take(), take()
            local limit, most = tonumber(take()), tonumber(take())
            local found, wanted, names = {}, {}, groups(org, type)
            for _, group in ipairs(names) do wanted[group] = true end
            local function keep(seqs)
              for _, seq in ipairs(seqs) do if top == '' or seq < top then found[#found + 1] = seq end end
            end
            local function filter(seqs, rows, test)
              local some = {}
              for i, row in ipairs(rows) do if row and test(row) then some[#some + 1] = seqs[i] end end
              keep(some)
            end
            local function isMine(row) return wanted[split(row)[GROUP]] end
            local function isInState(row) return string.match(row, '^%d+|(.)') == state end
            local function among(seqs)
              if state == '' then keep(seqs) else filter(seqs, values(P .. ':rows', seqs), isInState) end
            end
            if state == '' or when == 'due' then
              local seqs, rows = heads('ZREVRANGEBYSCORE', text(now), '-inf', most)
              filter(seqs, rows, isMine)
            end
            if state == '' or state == 'r' then
              local seqs = redis.call('ZRANGE', P .. ':running', 0, most - 1)
              filter(seqs, values(P .. ':rows', seqs), isMine)
            end
            for _, group in ipairs(names) do
              if state == '' or when == 'scheduled' then
                local key = P .. ':later:' .. group
                keep(redis.call('ZREVRANGEBYSCORE', key, '+inf', '(' .. text(now), 'LIMIT', 0, most))
              end
              if state == '' or state == 'w' or state == 'p' then
                among(redis.call('ZREVRANGE', P .. ':aside:' .. group, 0, most - 1))
              end
              if state == 'x' then
                keep(redis.call('ZREVRANGE', P .. ':dead:' .. group, 0, most - 1))
              elseif state == '' or state == 'd' or state == 'c' then
                among(redis.call('ZREVRANGE', P .. ':kept:' .. group, 0, most - 1))
              end
            end
            table.sort(found, function(x, y) return x > y end)
            local seqs = {}
            for i = 1, math.min(limit, #found) do seqs[i] = found[i] end
            return fetch(seqs)
            """#, isRead: true)
}
