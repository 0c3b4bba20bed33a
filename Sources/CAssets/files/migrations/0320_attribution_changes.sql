-- Where credit of leads and sales changed: every transaction that changes it leaves a row in the slot of time in which
-- the lead or the sale was made. Nothing is ever updated, so nobody waits for anybody. Rows of one slot, and of slots
-- that make a longer one, may be replaced by one with their sum.
CREATE TABLE attribution_changes (
    org TEXT NOT NULL,
    -- The second since 1970 at which the slot begins.
    slot INTEGER NOT NULL,
    -- Seconds that it lasts: 1, 60, 900 or 86400.
    width INTEGER NOT NULL,
    -- Random.
    id INTEGER NOT NULL,
    -- Random and positive: the sum over a stretch of time grows with every change in it.
    mark INTEGER NOT NULL,
    -- Of the newest change.
    at INTEGER NOT NULL,
    PRIMARY KEY (org, slot, width, id)
) STRICT, WITHOUT ROWID;
