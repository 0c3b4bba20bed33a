-- Durable work. A row is a job from the transaction that asked for it until it is kept no longer.
CREATE TABLE jobs (
    seq INTEGER PRIMARY KEY,
    org TEXT NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    type TEXT NOT NULL,
    version INTEGER NOT NULL,
    payload TEXT NOT NULL,
    -- 0 high, 1 normal, 2 low, 3 idle.
    priority INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 3),
    state TEXT NOT NULL
        CHECK (state IN ('waiting', 'scheduled', 'parked', 'running', 'done', 'dead', 'cancelled')),
    due_at INTEGER NOT NULL,
    -- The due time less the bonus of the priority: the order in which jobs are claimed.
    place INTEGER NOT NULL,
    attempt INTEGER NOT NULL CHECK (attempt >= 0),
    attempts_max INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    fence INTEGER NOT NULL CHECK (fence >= 0),
    worker BLOB,
    lease_until INTEGER,
    cancel_at INTEGER,
    unique_key TEXT,
    -- 'untilStarted', 'untilDone', or microseconds as text.
    unique_scope TEXT,
    -- The unique key while it keeps others out.
    unique_held TEXT,
    concurrency_key TEXT,
    concurrency_limit INTEGER,
    rate_key TEXT,
    rate_count INTEGER,
    rate_micros INTEGER,
    ready_at INTEGER,
    parents_open INTEGER NOT NULL,
    children INTEGER NOT NULL,
    progress_ppm INTEGER,
    note TEXT,
    -- Every attempt that failed, as JSON; nothing before the first.
    failures TEXT,
    dead_reason TEXT,
    trace_id BLOB,
    schedule TEXT,
    tick INTEGER,
    keeps_micros INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    keep_until INTEGER,
    CHECK ((state = 'running') = (lease_until IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX jobs_id ON jobs (org, id);
CREATE INDEX jobs_due ON jobs (priority, due_at) WHERE state = 'scheduled';
CREATE INDEX jobs_leases ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_waiting ON jobs (org, due_at) WHERE state = 'waiting';
-- Counts what an organisation has waiting, for the bound of its queue.
CREATE INDEX jobs_room ON jobs (org) WHERE state IN ('waiting', 'scheduled', 'parked');
CREATE INDEX jobs_parked ON jobs (org, concurrency_key, place) WHERE state = 'parked' AND ready_at IS NULL;
CREATE INDEX jobs_ready ON jobs (ready_at) WHERE state = 'parked' AND ready_at IS NOT NULL;
CREATE INDEX jobs_dead ON jobs (org, finished_at) WHERE state = 'dead';
CREATE INDEX jobs_kept ON jobs (keep_until) WHERE keep_until IS NOT NULL;
CREATE UNIQUE INDEX jobs_unique ON jobs (org, type, unique_held) WHERE unique_held IS NOT NULL;
-- A tick of a schedule makes one job, whoever finds it.
CREATE UNIQUE INDEX jobs_ticks ON jobs (schedule, tick) WHERE schedule IS NOT NULL;

-- Which jobs wait for which.
CREATE TABLE job_parents (
    org TEXT NOT NULL,
    parent BLOB NOT NULL,
    child BLOB NOT NULL,
    PRIMARY KEY (org, parent, child)
) STRICT;
CREATE INDEX job_parents_child ON job_parents (org, child);

-- Jobs running under a concurrency key.
CREATE TABLE job_keys (
    org TEXT NOT NULL,
    key TEXT NOT NULL,
    running INTEGER NOT NULL CHECK (running >= 0),
    PRIMARY KEY (org, key)
) STRICT;

-- Theoretical arrival times of rate keys, as begun and as promised.
CREATE TABLE job_rates (
    org TEXT NOT NULL,
    key TEXT NOT NULL,
    used_at INTEGER NOT NULL,
    promised_at INTEGER NOT NULL,
    PRIMARY KEY (org, key)
) STRICT;

CREATE TABLE job_schedules (
    name TEXT PRIMARY KEY,
    org TEXT NOT NULL,
    plan TEXT NOT NULL,
    missed TEXT NOT NULL,
    type TEXT NOT NULL,
    version INTEGER NOT NULL,
    priority INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 3),
    attempts_max INTEGER NOT NULL,
    keeps_micros INTEGER NOT NULL,
    payload TEXT NOT NULL,
    next_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
