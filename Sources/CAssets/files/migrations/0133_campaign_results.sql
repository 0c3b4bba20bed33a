-- Credit of sales that were returned: reports show gross, returned and net side by side.
CREATE TABLE attribution_returns (
    org TEXT NOT NULL,
    leg BLOB NOT NULL,
    model TEXT NOT NULL,
    position INTEGER NOT NULL,
    campaign TEXT NOT NULL,
    source TEXT NOT NULL,
    medium TEXT NOT NULL,
    channel TEXT NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency TEXT NOT NULL,
    sold_at INTEGER NOT NULL,
    returned_at INTEGER NOT NULL,
    PRIMARY KEY (org, leg, model, position)
) STRICT;
CREATE INDEX attribution_returns_time ON attribution_returns (org, model, sold_at);

-- Sales whose return window has passed.
CREATE TABLE attribution_recognised (
    org TEXT NOT NULL,
    leg BLOB NOT NULL,
    recognised_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, leg)
) STRICT;
INSERT INTO attribution_recognised (org, leg, recognised_at, created_at)
SELECT org, leg_id, at, created_at FROM ledger_entries AS known
WHERE kind = 'recognised' AND NOT EXISTS (
    SELECT 1 FROM ledger_entries AS back
    WHERE back.org = known.org AND back.leg_id = known.leg_id AND back.kind = 'clawedBack');

-- Credit of each lead, sold or not, under each model.
CREATE TABLE attribution_leads (
    org TEXT NOT NULL,
    lead BLOB NOT NULL,
    model TEXT NOT NULL,
    position INTEGER NOT NULL,
    campaign TEXT NOT NULL,
    source TEXT NOT NULL,
    medium TEXT NOT NULL,
    channel TEXT NOT NULL,
    share_ppm INTEGER NOT NULL CHECK (share_ppm BETWEEN 0 AND 1000000),
    lead_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, lead, model, position)
) STRICT;
CREATE INDEX attribution_leads_time ON attribution_leads (org, model, lead_at);

-- Campaigns that were credited, with what their first credited touch said of them.
CREATE TABLE attribution_campaigns (
    org TEXT NOT NULL,
    campaign TEXT NOT NULL,
    source TEXT NOT NULL,
    medium TEXT NOT NULL,
    channel TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, campaign)
) STRICT;
INSERT INTO attribution_campaigns (org, campaign, source, medium, channel, created_at)
SELECT org, campaign, MIN(source), MIN(medium), MIN(channel), MIN(created_at) FROM attribution_credits
WHERE event_id IS NOT NULL AND campaign <> '(none)' GROUP BY org, campaign;
