extension RedisJobScripts {
    /// The turn of nearly every worker, in one go: ends what is done and claims what is due, keys and rates included.
    /// It decides what `JobDesk.turn` does, and a test holds the two together. Where somebody waits for a job that
    /// ends it answers `long` and has done nothing.
    ///
    /// ARGV: worker, lease, limit, how many ready jobs are looked at, rounds, then number and fence of each end.
    /// Answers the time, for each end 0 (stale), 1 (ended) or 2 (had ended), the claimed jobs, and how many were put
    /// aside.
    static let turn = RedisScript(head + writes + ends + keys + front + claim)

    /// What ends, and the room that it leaves under keys.
    private static let ends = #"""
        if isShut('') then return 'busy' end
        local worker, lease, limit = take(), tonumber(take()), tonumber(take())
        local readyMost, rounds = tonumber(take()), tonumber(take())
        local seqs, fences, ended, told, over, lasting = {}, {}, {}, {}, {}, {}
        local rooms, left = {}, {}
        local function place(f) return string.match(f[GROUP], '^[^\t]*') .. '|' .. f[KEY] end
        for i = 1, tonumber(take()) do seqs[i], fences[i] = take(), take() end
        for i, row in ipairs(values(P .. ':rows', seqs)) do
          local f = row and split(row)
          ended[i] = 0
          if f and f[FENCE] == fences[i] then
            if told[seqs[i]] or f[STATE] == 'd' then
              ended[i] = 2
            elseif f[STATE] == 'r' then
              if f[KIDS] ~= '0' then return 'long' end
              told[seqs[i]] = true
              over[#over + 1] = { seqs[i], f }
              ended[i] = 1
              if f[SCOPE] == 'l' then lasting[#lasting + 1] = seqs[i] end
              if f[KEY] ~= '' then
                local at = place(f)
                if not rooms[at] then left[#left + 1] = at end
                rooms[at] = (rooms[at] or 0) + 1
              end
            end
          end
        end
        -- Of a body: created, how long a unique key is held, the limit of the key, then rate key, count and period.
        local BODY = '^[^|]*|[^|]*|' .. string.rep('([^|]*)|', 3) .. string.rep('([^|]*)|', 3)
        local heldUntil = {}
        for i, body in ipairs(values(P .. ':body', lasting)) do
          local created, duration = string.match(body or '', BODY)
          heldUntil[lasting[i]] = (tonumber(created) or 0) + (tonumber(duration) or 0)
        end

        """#

    /// Counts of keys: each read once, and written where it is another than it was.
    private static let keys = #"""
        local usage, usageWas, rates, asked = {}, {}, {}, {}
        local function loadUsage(places)
          for i, count in ipairs(values(P .. ':usage', places)) do
            usageWas[places[i]] = count or ''
            usage[places[i]] = tonumber(count or '') or 0
          end
        end
        local function loadRates(places)
          for i, state in ipairs(values(P .. ':rate', places)) do
            local used, promised = string.match(state or '', '^(%d+):(%d+)$')
            rates[places[i]] = { tonumber(used) or now, tonumber(promised) or now }
          end
        end
        -- Nothing when a job of that rate may begin; else when it may.
        local function ask(job)
          local state, period = rates[job.rate], job.period
          local used, promised = state[1], state[2]
          local step = math.max(1, math.floor(period / job.count))
          local othersWait = job.f[READY] == '' and promised - period > now
          local next_ = math.max(used, now) + step
          asked[job.rate] = true
          if not othersWait and next_ - now <= period then
            state[1], state[2] = next_, math.max(promised, next_)
            return nil
          end
          state[2] = math.max(promised, used, now) + step
          return text(math.max(0, state[2] - period))
        end
        -- Nothing when the job may begin, and its keys are counted; else what it waits for: a time, or room.
        local function admit(job)
          if job.at and usage[job.at] >= job.limit then return '' end
          if job.rate then
            local until_ = ask(job)
            if until_ then return until_ end
          end
          if job.at then usage[job.at] = usage[job.at] + 1 end
          return nil
        end
        local function storeKeys()
          for at, count in pairs(usage) do
            local new = count > 0 and text(count) or ''
            if new ~= usageWas[at] then
              if new == '' then one(hdel, P .. ':usage', at) else two(hset, P .. ':usage', at, new) end
            end
          end
          for at in pairs(asked) do
            local used, promised = rates[at][1], rates[at][2]
            two(hset, P .. ':rate', at, text(used) .. ':' .. text(promised))
            two(add, P .. ':rateEnds', text(math.max(used, promised)), at)
          end
        end

        """#

    /// What may be claimed, by place: what is due of each priority, read page by page, and what came loose: parked
    /// jobs whose rate lets them begin now, and those that come back for the room of the jobs that ended.
    private static let front = #"""
        local loose = {}
        local function before(x, y)
          if x.place ~= y.place then return x.place < y.place end
          return x.seq < y.seq
        end
        loadUsage(left)
        local back = {}
        for _, at in ipairs(left) do
          usage[at] = math.max(0, usage[at] - rooms[at])
          for _, seq in ipairs(redis.call('ZRANGE', P .. ':parked:' .. at, 0, rooms[at] - 1)) do
            back[#back + 1] = seq
          end
        end
        local function loosen(found)
          for i, row in ipairs(values(P .. ':rows', found)) do
            local f = row and split(row)
            if f then loose[#loose + 1] = { seq = found[i], f = f, place = f[DUE] - BONUS[f[PRIORITY]] } end
          end
        end
        loosen(back)
        -- The first of a source, or nothing at its end.
        local function first(s)
          local job = s.jobs[s.at]
          if job or s.isOver then return job end
          local page = redis.call(
            'ZRANGEBYSCORE', DUES[s.p], '-inf', text(now), 'WITHSCORES', 'LIMIT', s.offset, limit)
          s.jobs, s.at, s.offset, s.isOver = {}, 1, s.offset + limit, #page < 2 * limit
          for i = 1, #page, 2 do
            s.jobs[#s.jobs + 1] = { seq = page[i], place = tonumber(page[i + 1]) - BONUS[s.p] }
          end
          return s.jobs[1]
        end
        local sources = {}
        if limit > 0 then
          local comeBack, here = #loose, {}
          loosen(redis.call('ZRANGEBYSCORE', READIES, '-inf', text(now), 'LIMIT', 0, readyMost))
          for i, job in ipairs(loose) do
            if i <= comeBack or tonumber(job.f[DUE]) <= now then here[#here + 1] = job end
          end
          table.sort(here, before)
          local all = { { jobs = here, at = 1, isOver = true } }
          for p = 0, 3 do all[p + 2] = { jobs = {}, at = 1, offset = 0, p = tostring(p) } end
          for _, s in ipairs(all) do if first(s) then sources[#sources + 1] = s end end
        end
        local function candidates(n)
          local some = {}
          while #some < n do
            local from = sources[1]
            local best = from and first(from)
            for i = 2, #sources do
              local job = first(sources[i])
              if job and (not best or before(job, best)) then best, from = job, sources[i] end
            end
            if not best then break end
            from.at = from.at + 1
            some[#some + 1] = best
          end
          return some
        end

        """#

    /// Chooses round by round as long as some are put aside and there is room for others, then writes.
    private static let claim = #"""
        local function isMissing(known, names, name)
          if known[name] or names[name] then return false end
          names[name], names[#names + 1] = true, name
          return true
        end
        -- Rows, bodies, and what is said of keys; false where a period is too long for whole doubles.
        local function look(jobs)
          local some, unread, places, limits = {}, {}, {}, {}
          for i, job in ipairs(jobs) do
            some[i] = job.seq
            if not job.f then unread[#unread + 1] = job.seq end
          end
          local rows, bodies, at = values(P .. ':rows', unread), values(P .. ':body', some), 0
          local found = {}
          for i, job in ipairs(jobs) do
            if not job.f then
              at = at + 1
              job.f = rows[at] and split(rows[at])
            end
            if job.f then
              job.body = bodies[i] or ''
              found[#found + 1] = job
              if job.f[KEYED] == '1' then
                local _, _, limit_, rate, count, period = string.match(job.body, BODY)
                if limit_ ~= '' then
                  job.at, job.limit = place(job.f), tonumber(limit_)
                  isMissing(usage, places, job.at)
                end
                if count ~= '' then
                  job.rate = string.match(job.f[GROUP], '^[^\t]*') .. '|' .. rate
                  job.count, job.period = tonumber(count), tonumber(period)
                  if job.period > 1e15 then return nil end
                  isMissing(rates, limits, job.rate)
                end
              end
            end
          end
          loadUsage(places)
          loadRates(limits)
          return found
        end

        local chosen, aside = {}, {}
        for _ = 1, limit > 0 and rounds or 0 do
          local jobs, count = look(candidates(limit - #chosen)), #aside
          if not jobs then return 'long' end
          for _, job in ipairs(jobs) do
            job.isSeen, job.ready = true, admit(job)
            if job.ready then
              job.body, aside[#aside + 1] = nil, job
            else
              chosen[#chosen + 1] = job
            end
          end
          if #chosen >= limit or #aside == count then break end
        end

        local function moved(job, state, ready)
          if job.f[STATE] == state and job.f[READY] == ready then return end
          local new = { unpack(job.f) }
          new[REV], new[STATE], new[READY] = new[REV] + 1, state, ready
          change(job.seq, job.f, new, table.concat(new, '|'))
        end
        local at, last, wakes = text(now), 253402300800000000, false
        for _, one_ in ipairs(over) do
          local seq, old = one_[1], one_[2]
          local isHeld = old[HELD] == '1' and old[SCOPE] == 'l'
          if tonumber(old[KEEPS]) <= 0 and not isHeld then
            change(seq, old, nil)
          else
            local new = { unpack(old) }
            new[REV] = old[REV] + 1
            new[STATE], new[WORKER], new[LEASE], new[READY], new[PARENTS] = 'd', '', '', '', '0'
            new[FINISHED], new[KEEP] = at, text(math.min(last, math.max(now + old[KEEPS], heldUntil[seq] or 0)))
            if old[SCOPE] ~= 't' and old[SCOPE] ~= 'l' then new[HELD] = '0' end
            change(seq, old, new, table.concat(new, '|'))
          end
        end
        for _, job in ipairs(aside) do moved(job, 'p', job.ready) end
        for _, job in ipairs(loose) do
          if not job.isSeen then
            moved(job, 's', job.f[READY])
            if tonumber(job.f[DUE]) <= now then wakes = true end
          end
        end
        storeKeys()

        local taken, jobs = {}, {}
        for i, job in ipairs(chosen) do taken[i] = job.seq end
        local extras = values(P .. ':extra', taken)
        local fence, until_ = 0, text(now + lease)
        if #chosen > 0 then
          redis.call('HSET', P .. ':meta', 'at', at)
          fence = draw(P .. ':fence', #chosen)
        end
        for i, job in ipairs(chosen) do
          local old = job.f
          local new = { unpack(old) }
          new[REV], new[ATTEMPT], new[READY] = old[REV] + 1, old[ATTEMPT] + 1, ''
          new[STATE], new[FENCE], new[WORKER], new[LEASE], new[STARTED] = 'r', text(fence + i), worker, until_, at
          if old[SCOPE] == 's' then new[HELD] = '0' end
          local row = table.concat(new, '|')
          change(job.seq, old, new, row)
          local n = #jobs
          jobs[n + 1], jobs[n + 2], jobs[n + 3], jobs[n + 4] = job.seq, row, job.body, extras[i] or ''
        end
        if next(names) or next(hset) then store(#chosen > 0) end
        if wakes then redis.call('PUBLISH', P .. ':wakes', '') end
        return { at, ended, jobs, #aside }
        """#
}
