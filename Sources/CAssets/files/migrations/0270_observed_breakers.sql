-- Breakers that a person keeps from opening, of the whole installation.
CREATE TABLE observed_breakers (
    name TEXT PRIMARY KEY,
    -- The key of the person.
    actor TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
