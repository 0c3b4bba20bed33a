-- What counts as a conversion, each change a version with the time it holds from.
CREATE TABLE attribution_definitions (
    org TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    starts_at INTEGER NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, name, version)
) STRICT;

-- Results of runs over the log; only those that are done are shown, and the newest of them answers.
CREATE TABLE attribution_runs (
    org TEXT NOT NULL,
    conversion TEXT NOT NULL,
    version INTEGER NOT NULL,
    run BLOB NOT NULL,
    -- What is old is never shown and waits to be removed.
    state TEXT NOT NULL CHECK (state IN ('writing', 'done', 'old')),
    cause TEXT NOT NULL,
    from_at INTEGER,
    to_at INTEGER,
    position TEXT,
    settings TEXT NOT NULL,
    facts TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    PRIMARY KEY (org, conversion, version)
) STRICT;

-- Credit by campaign, channel and day under each model of each result.
CREATE TABLE attribution_log_credits (
    org TEXT NOT NULL,
    conversion TEXT NOT NULL,
    version INTEGER NOT NULL,
    model TEXT NOT NULL,
    campaign TEXT NOT NULL,
    channel TEXT NOT NULL,
    day INTEGER NOT NULL,
    currency TEXT NOT NULL,
    credit_ppm INTEGER NOT NULL,
    amount_minor INTEGER NOT NULL,
    PRIMARY KEY (org, conversion, version, model, campaign, channel, day, currency)
) STRICT;

-- The most frequent journeys that converted.
CREATE TABLE attribution_log_paths (
    org TEXT NOT NULL,
    conversion TEXT NOT NULL,
    version INTEGER NOT NULL,
    place INTEGER NOT NULL,
    path TEXT NOT NULL,
    conversions INTEGER NOT NULL,
    PRIMARY KEY (org, conversion, version, place)
) STRICT;
