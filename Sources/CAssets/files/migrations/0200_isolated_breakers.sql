-- Breakers that a person holds open, of the whole installation.
CREATE TABLE isolated_breakers (
    name TEXT PRIMARY KEY,
    -- The key of the person.
    actor TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
