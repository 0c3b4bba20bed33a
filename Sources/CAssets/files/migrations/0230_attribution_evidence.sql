-- What the path to each credited lead and sale holds: of every campaign and network the strongest touch, strongest first.
CREATE TABLE attribution_evidence (
    org TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('lead', 'sale')),
    -- The lead or the sold leg.
    item BLOB NOT NULL,
    position INTEGER NOT NULL,
    -- 'none' stands alone and says that the path was looked at and names nobody.
    evidence TEXT NOT NULL CHECK (evidence IN ('click', 'view', 'visit', 'none')),
    campaign TEXT NOT NULL,
    -- As the event or its click id names it, in lower case; empty where neither does.
    network TEXT NOT NULL,
    event_id TEXT,
    touched_at INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, kind, item, position)
) STRICT;
