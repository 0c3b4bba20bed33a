-- Rows of the outbox that the event log refused for good: kept, with the reason, until somebody decides.
CREATE TABLE outbox_rejected (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    trace_id BLOB,
    at INTEGER NOT NULL,
    props TEXT NOT NULL,
    reason TEXT NOT NULL,
    rejected_at INTEGER NOT NULL,
    -- When it was written to the outbox.
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE INDEX outbox_rejected_time ON outbox_rejected (org, rejected_at, id);
