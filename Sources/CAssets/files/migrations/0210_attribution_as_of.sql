-- What a report of an earlier moment needs of sales that were returned: their shares, and when they were credited and
-- recognised. What an older release writes beside this one has the defaults.
ALTER TABLE attribution_returns ADD COLUMN share_ppm INTEGER NOT NULL DEFAULT 0
    CHECK (share_ppm BETWEEN 0 AND 1000000);
-- An earlier release did not keep the share: it was worked out from the money.
ALTER TABLE attribution_returns ADD COLUMN is_estimated INTEGER NOT NULL DEFAULT 1 CHECK (is_estimated IN (0, 1));
-- When the credit was stored; NULL where nobody knows: when it was sold.
ALTER TABLE attribution_returns ADD COLUMN credited_at INTEGER;
-- When it was stored that the return window had passed; NULL if it never was.
ALTER TABLE attribution_returns ADD COLUMN recognised_at INTEGER;
-- Of what came back before, the ledger knows when it was sold and recognised. Shares are cut at whole millionths of the
-- running sum, so that those of one sale add up to a million; without money all of it is the last touch's.
UPDATE attribution_returns SET
    share_ppm = CASE WHEN whole BETWEEN 1 AND 9000000000000
        THEN upto * 1000000 / whole - (upto - known.amount_minor) * 1000000 / whole
        WHEN place = 1 THEN 1000000 ELSE 0 END,
    is_estimated = CASE WHEN parts = 1 THEN 0 ELSE 1 END,
    credited_at = sold.created_at,
    recognised_at = kept.created_at
FROM (
    SELECT org, leg, model, position, amount_minor,
        CAST(SUM(amount_minor) OVER (PARTITION BY org, leg, model) AS INTEGER) AS whole,
        CAST(SUM(amount_minor) OVER (PARTITION BY org, leg, model ORDER BY position) AS INTEGER) AS upto,
        COUNT(*) OVER (PARTITION BY org, leg, model) AS parts,
        ROW_NUMBER() OVER (PARTITION BY org, leg, model ORDER BY position DESC) AS place
    FROM attribution_returns
) AS known
LEFT JOIN ledger_entries AS sold
    ON sold.org = known.org AND sold.leg_id = known.leg AND sold.kind = 'legAccepted'
LEFT JOIN ledger_entries AS kept
    ON kept.org = known.org AND kept.leg_id = known.leg AND kept.kind = 'recognised'
WHERE attribution_returns.org = known.org AND attribution_returns.leg = known.leg
    AND attribution_returns.model = known.model AND attribution_returns.position = known.position;
