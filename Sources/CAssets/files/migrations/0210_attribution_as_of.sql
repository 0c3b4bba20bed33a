-- What a report of an earlier moment needs of sales that were returned: their shares, and when they were credited and
-- recognised.
CREATE TABLE attribution_returns_210 (
    org TEXT NOT NULL,
    leg BLOB NOT NULL,
    model TEXT NOT NULL,
    position INTEGER NOT NULL,
    campaign TEXT NOT NULL,
    source TEXT NOT NULL,
    medium TEXT NOT NULL,
    channel TEXT NOT NULL,
    share_ppm INTEGER NOT NULL CHECK (share_ppm BETWEEN 0 AND 1000000),
    -- An earlier release did not keep the share: it was worked out from the money.
    is_estimated INTEGER NOT NULL CHECK (is_estimated IN (0, 1)),
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    sold_at INTEGER NOT NULL,
    -- When the credit was stored.
    credited_at INTEGER NOT NULL,
    -- When it was stored that the return window had passed; NULL if it never was.
    recognised_at INTEGER,
    returned_at INTEGER NOT NULL,
    PRIMARY KEY (org, leg, model, position)
) STRICT;
-- Of what came back before, the ledger knows when it was sold and recognised. Shares are cut at whole millionths of the
-- running sum, so that those of one sale add up to a million; without money all of it is the last touch's.
INSERT INTO attribution_returns_210
    (org, leg, model, position, campaign, source, medium, channel, share_ppm, is_estimated, amount_minor, currency,
     sold_at, credited_at, recognised_at, returned_at)
SELECT known.org, known.leg, known.model, known.position, known.campaign, known.source, known.medium, known.channel,
    CASE WHEN whole BETWEEN 1 AND 9000000000000
        THEN upto * 1000000 / whole - (upto - known.amount_minor) * 1000000 / whole
        WHEN place = 1 THEN 1000000 ELSE 0 END,
    CASE WHEN parts = 1 THEN 0 ELSE 1 END,
    known.amount_minor, known.currency, known.sold_at, COALESCE(sold.created_at, known.sold_at), kept.created_at,
    known.returned_at
FROM (
    SELECT org, leg, model, position, campaign, source, medium, channel, amount_minor, currency, sold_at, returned_at,
        CAST(SUM(amount_minor) OVER (PARTITION BY org, leg, model) AS INTEGER) AS whole,
        CAST(SUM(amount_minor) OVER (PARTITION BY org, leg, model ORDER BY position) AS INTEGER) AS upto,
        COUNT(*) OVER (PARTITION BY org, leg, model) AS parts,
        ROW_NUMBER() OVER (PARTITION BY org, leg, model ORDER BY position DESC) AS place
    FROM attribution_returns
) AS known
LEFT JOIN ledger_entries AS sold
    ON sold.org = known.org AND sold.leg_id = known.leg AND sold.kind = 'legAccepted'
LEFT JOIN ledger_entries AS kept
    ON kept.org = known.org AND kept.leg_id = known.leg AND kept.kind = 'recognised';
DROP TABLE attribution_returns;
ALTER TABLE attribution_returns_210 RENAME TO attribution_returns;
CREATE INDEX attribution_returns_time ON attribution_returns (org, model, sold_at);
