-- What may be decided about a campaign's budget without a person; none of it unless somebody says so.
ALTER TABLE campaign_budgets ADD COLUMN is_auto INTEGER NOT NULL DEFAULT 0 CHECK (is_auto IN (0, 1));
ALTER TABLE campaign_budgets ADD COLUMN is_dry_run INTEGER NOT NULL DEFAULT 1 CHECK (is_dry_run IN (0, 1));
ALTER TABLE campaign_budgets ADD COLUMN may_pause INTEGER NOT NULL DEFAULT 0 CHECK (may_pause IN (0, 1));
-- When and by which key somebody said that an approved decision was carried out.
ALTER TABLE advice_decisions ADD COLUMN acknowledged_at INTEGER;
ALTER TABLE advice_decisions ADD COLUMN acknowledged_by TEXT;
-- Pauses, and changes that would have been decided: beside the decisions that count as the one change of a day, which
-- older releases read and write.
CREATE TABLE automatic_decisions (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    campaign TEXT NOT NULL,
    currency TEXT NOT NULL,
    -- Days since 1970-01-01: by UTC for changes, whatever the calendar of the advice; of a pause the day of its alert.
    day INTEGER NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('raise', 'lower', 'pause')),
    from_minor INTEGER NOT NULL,
    to_minor INTEGER NOT NULL,
    decision TEXT NOT NULL CHECK (decision = 'dry_run' OR (decision = 'approved' AND action = 'pause')),
    actor TEXT NOT NULL,
    inputs TEXT NOT NULL,
    decided_at INTEGER NOT NULL,
    acknowledged_at INTEGER,
    acknowledged_by TEXT,
    -- When a pause lost its reason before anybody carried it out.
    withdrawn_at INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
-- One change a day and campaign, and one pause.
CREATE UNIQUE INDEX automatic_decisions_changed ON automatic_decisions (org, campaign, currency, day)
    WHERE action <> 'pause';
CREATE UNIQUE INDEX automatic_decisions_paused ON automatic_decisions (org, campaign, currency, day, decision)
    WHERE action = 'pause';
CREATE INDEX automatic_decisions_time ON automatic_decisions (org, decided_at);
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
