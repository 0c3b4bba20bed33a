-- What may be decided about a campaign's budget without a person; none of it unless somebody says so.
ALTER TABLE campaign_budgets ADD COLUMN is_auto INTEGER NOT NULL DEFAULT 0 CHECK (is_auto IN (0, 1));
ALTER TABLE campaign_budgets ADD COLUMN is_dry_run INTEGER NOT NULL DEFAULT 1 CHECK (is_dry_run IN (0, 1));
ALTER TABLE campaign_budgets ADD COLUMN may_pause INTEGER NOT NULL DEFAULT 0 CHECK (may_pause IN (0, 1));
-- Decisions may be pauses and what would have been decided, and who carries one out says so.
CREATE TABLE advice_decisions_220 (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    campaign TEXT NOT NULL,
    currency TEXT NOT NULL,
    -- Days since 1970-01-01: by UTC for changes, whatever the calendar of the advice; of a pause the day of its alert.
    day INTEGER NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('raise', 'lower', 'pause')),
    from_minor INTEGER NOT NULL,
    to_minor INTEGER NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('approved', 'rejected', 'dry_run')),
    -- The key that decided, or auto.
    actor TEXT NOT NULL,
    inputs TEXT NOT NULL,
    decided_at INTEGER NOT NULL,
    -- When and by which key somebody said that it was carried out.
    acknowledged_at INTEGER,
    acknowledged_by TEXT,
    -- When a pause lost its reason before anybody carried it out.
    withdrawn_at INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
INSERT INTO advice_decisions_220
    (org, id, campaign, currency, day, action, from_minor, to_minor, decision, actor, inputs, decided_at, created_at)
SELECT org, id, campaign, currency, day, action, from_minor, to_minor, decision, actor, inputs, decided_at, created_at
FROM advice_decisions;
DROP TABLE advice_decisions;
ALTER TABLE advice_decisions_220 RENAME TO advice_decisions;
-- One change a day and campaign.
CREATE UNIQUE INDEX advice_decisions_once ON advice_decisions (org, campaign, currency, day)
    WHERE decision = 'approved' AND action <> 'pause';
CREATE UNIQUE INDEX advice_decisions_tried ON advice_decisions (org, campaign, currency, day)
    WHERE decision = 'dry_run' AND action <> 'pause';
CREATE UNIQUE INDEX advice_decisions_paused ON advice_decisions (org, campaign, currency, day, decision)
    WHERE action = 'pause';
CREATE INDEX advice_decisions_time ON advice_decisions (org, decided_at);
-- Stop rules that held for a campaign: one row a campaign, rule and day.
CREATE TABLE stop_alerts (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    campaign TEXT NOT NULL,
    currency TEXT NOT NULL,
    rule TEXT NOT NULL CHECK (rule IN ('over_cap', 'no_conversion')),
    -- The newest day with spend that broke it: days since 1970-01-01 by the campaign's calendar.
    day INTEGER NOT NULL,
    timezone TEXT NOT NULL,
    spend_minor INTEGER NOT NULL,
    limit_minor INTEGER NOT NULL,
    inputs TEXT NOT NULL,
    raised_at INTEGER NOT NULL,
    cleared_at INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE UNIQUE INDEX stop_alerts_once ON stop_alerts (org, campaign, currency, rule, day);
CREATE INDEX stop_alerts_time ON stop_alerts (org, raised_at);
CREATE INDEX stop_alerts_open ON stop_alerts (org, rule) WHERE cleared_at IS NULL;
