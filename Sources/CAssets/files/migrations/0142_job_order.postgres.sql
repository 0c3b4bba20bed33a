-- A claim locks the first jobs in their order and must find them in it: sorting would read all that are due.
CREATE INDEX jobs_order ON jobs (priority, due_at, seq) WHERE state = 'scheduled';
-- Each job is three versions of a row within a second; what is dead must not pile up before the ones that are due.
ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
