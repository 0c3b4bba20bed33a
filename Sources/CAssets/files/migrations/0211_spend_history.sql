-- Spend as it stood at an earlier moment: when each import became visible, and what later ones replaced.
CREATE TABLE spend_imports (
    org TEXT NOT NULL,
    import_number INTEGER NOT NULL,
    -- When it became visible.
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, import_number)
) STRICT, WITHOUT ROWID;
CREATE TABLE spend_replaced (
    org TEXT NOT NULL,
    day INTEGER NOT NULL,
    line TEXT NOT NULL,
    from_import INTEGER NOT NULL,
    until_import INTEGER NOT NULL,
    spend_minor INTEGER NOT NULL CHECK (spend_minor >= 0),
    impressions INTEGER,
    clicks INTEGER,
    conversions_millionths INTEGER,
    value_minor INTEGER,
    created_at INTEGER NOT NULL,
    -- When it came here: never before the import that replaced it was visible.
    replaced_at INTEGER NOT NULL,
    PRIMARY KEY (org, day, line, from_import)
) STRICT, WITHOUT ROWID;
CREATE INDEX spend_replaced_time ON spend_replaced (org, replaced_at);
-- The moment from which spend can be told as it stood; 0: from the first import on. What was replaced before this
-- migration is gone. The newest row may have become visible up to a lease later.
ALTER TABLE spend_heads ADD COLUMN history_since INTEGER NOT NULL DEFAULT 0;
UPDATE spend_heads SET history_since = COALESCE(
    (SELECT MAX(spend_rows.created_at) + 60000000 FROM spend_rows WHERE spend_rows.org = spend_heads.org), 0);
INSERT INTO spend_imports (org, import_number, created_at)
SELECT org, head, history_since FROM spend_heads WHERE head > 0;
