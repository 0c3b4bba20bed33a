-- One row a node, written and read back every few seconds: whether the database takes writes.
CREATE TABLE database_probe (
    node TEXT PRIMARY KEY,
    at INTEGER NOT NULL
) STRICT;
