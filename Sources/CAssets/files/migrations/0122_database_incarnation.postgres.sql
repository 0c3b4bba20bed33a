-- A crash of the server empties an unlogged table. Transaction ids that were not yet on disk are given out again after
-- one, so an id is asked about only while this row is the same.
CREATE UNLOGGED TABLE database_incarnation (
    one BIGINT PRIMARY KEY CHECK (one = 1),
    id TEXT COLLATE "C" NOT NULL
);
