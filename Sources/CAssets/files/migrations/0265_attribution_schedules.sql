-- Runs over the event log that come by themselves: one row a conversion.
CREATE TABLE attribution_schedules (
    org TEXT NOT NULL,
    conversion TEXT NOT NULL,
    -- JSON: every_hours, or daily_at with timezone.
    plan TEXT NOT NULL,
    next_at INTEGER NOT NULL,
    -- How the newest of its runs ended; NULL: none has.
    outcome TEXT CHECK (outcome IN ('done', 'unchanged', 'failed')),
    -- Of a failure.
    code TEXT,
    ended_at INTEGER,
    milliseconds INTEGER,
    -- When one last ended that did not fail.
    succeeded_at INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, conversion)
) STRICT;
CREATE INDEX attribution_schedules_next ON attribution_schedules (next_at);
