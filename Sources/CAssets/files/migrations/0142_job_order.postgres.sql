-- A claim locks the first jobs in their order and must find them in it: sorting would read all that are due, or all that
-- an organisation has parked.
CREATE INDEX jobs_order ON jobs (priority, due_at, seq) WHERE state = 'scheduled';
CREATE INDEX jobs_parked_order ON jobs (org, concurrency_key, place, seq)
    WHERE state = 'parked' AND ready_at IS NULL;
-- What waits, in words that no claim uses: the planner takes an index for the bound of an organisation's queue for a
-- short cut to what is due, and then reads all that waits.
CREATE INDEX jobs_counted ON jobs (org) WHERE finished_at IS NULL AND lease_until IS NULL;
-- Each job is three versions of a row within a second; what is dead must not pile up before the ones that are due.
ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
