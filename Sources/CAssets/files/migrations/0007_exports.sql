-- Exports: what was asked for, how far it is, and what came out. The files lie beside the database.
CREATE TABLE exports (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    request TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),
    -- The segments and blocks that are exported, fixed when the job first runs.
    snapshot TEXT,
    -- How far the file is whole, written after each fsync of it.
    checkpoint TEXT,
    resumed INTEGER NOT NULL DEFAULT 0 CHECK (resumed >= 0),
    row_count INTEGER NOT NULL DEFAULT 0 CHECK (row_count >= 0),
    byte_count INTEGER NOT NULL DEFAULT 0 CHECK (byte_count >= 0),
    sha256 TEXT,
    first_position TEXT,
    last_position TEXT,
    error TEXT,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    PRIMARY KEY (org, id)
) STRICT;
CREATE INDEX exports_open ON exports (created_at) WHERE state IN ('queued', 'running');
