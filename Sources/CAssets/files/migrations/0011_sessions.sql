-- Sign-ins of people: one row for every id that a cookie may hold. Only a hash of the id is kept.
CREATE TABLE sessions (
    hash BLOB PRIMARY KEY,
    -- Stays the same when the id is replaced.
    session BLOB NOT NULL,
    org TEXT NOT NULL,
    person TEXT NOT NULL,
    device TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    issued_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    replaced_at INTEGER
) STRICT;
CREATE INDEX sessions_session ON sessions (session);
CREATE INDEX sessions_person ON sessions (org, person);
