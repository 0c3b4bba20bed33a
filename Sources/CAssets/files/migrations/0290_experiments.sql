-- Incrementality experiments that were imported, and what they measured.
CREATE TABLE attribution_experiments (
    org TEXT NOT NULL,
    name TEXT NOT NULL,
    method TEXT NOT NULL,
    channel TEXT NOT NULL,
    -- The conversion that was counted.
    conversion TEXT NOT NULL,
    -- Days since 1970, UTC; the last one is not included.
    from_day INTEGER NOT NULL,
    to_day INTEGER NOT NULL,
    currency TEXT NOT NULL,
    -- JSON, as they were imported.
    regions TEXT NOT NULL,
    -- JSON: lift, incremental conversions and their intervals.
    measured TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, name)
) STRICT;
CREATE INDEX attribution_experiments_conversion ON attribution_experiments (org, conversion, channel);
