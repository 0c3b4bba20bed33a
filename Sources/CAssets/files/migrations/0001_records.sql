-- Events written together with the change that caused them; the relay moves them to the event log.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    org TEXT NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    trace_id BLOB,
    at INTEGER NOT NULL,
    props TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Answers of requests that carried an idempotency key, kept a day.
CREATE TABLE idempotency (
    org TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    status INTEGER NOT NULL,
    response TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, key)
) STRICT;
