-- Jobs that ended inside a transaction of their effects, where it may not wait for others: whose room under a key is to
-- be given on, and whose children are to be told. The next turn of any worker does both and removes the row.
CREATE TABLE job_leavings (
    seq INTEGER PRIMARY KEY,
    org TEXT NOT NULL,
    -- The concurrency key, where the job had room under one.
    key TEXT,
    -- 1 when it was running: one fewer runs under the key.
    leaves INTEGER NOT NULL CHECK (leaves IN (0, 1)),
    -- The job, where others wait for it.
    job BLOB,
    created_at INTEGER NOT NULL
) STRICT;
