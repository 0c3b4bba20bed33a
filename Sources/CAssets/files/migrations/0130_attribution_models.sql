-- Credit under every model, not of the first and the last touch alone.
CREATE TABLE attribution_credits_130 (
    org TEXT NOT NULL,
    leg BLOB NOT NULL,
    model TEXT NOT NULL,
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
INSERT INTO attribution_credits_130
    (org, leg, model, position, event_id, campaign, source, medium, channel, touched_at, share_ppm, amount_minor,
     currency, sold_at, created_at)
SELECT org, leg, model, position, event_id, campaign, source, medium, channel, touched_at, share_ppm, amount_minor,
       currency, sold_at, created_at
FROM attribution_credits;
DROP TABLE attribution_credits;
ALTER TABLE attribution_credits_130 RENAME TO attribution_credits;
CREATE INDEX attribution_credits_time ON attribution_credits (org, model, sold_at);
