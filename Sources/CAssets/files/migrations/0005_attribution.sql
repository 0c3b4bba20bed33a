-- Credit of each sold leg under each model, written once the sale is in the log.
CREATE TABLE attribution_credits (
    org TEXT NOT NULL,
    leg BLOB NOT NULL,
    model TEXT NOT NULL CHECK (model IN ('first', 'last')),
    position INTEGER NOT NULL,
    event_id TEXT,
    campaign TEXT NOT NULL,
    source TEXT NOT NULL,
    medium TEXT NOT NULL,
    channel TEXT NOT NULL,
    touched_at INTEGER NOT NULL,
    share_ppm INTEGER NOT NULL CHECK (share_ppm BETWEEN 0 AND 1000000),
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    sold_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, leg, model, position)
) STRICT;
