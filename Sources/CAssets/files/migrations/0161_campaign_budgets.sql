-- What a campaign's budget may do, as a person set it; nothing of it is sent to a network.
CREATE TABLE campaign_budgets (
    org TEXT NOT NULL,
    campaign TEXT NOT NULL,
    currency TEXT NOT NULL,
    -- Revenue over spend that is aimed at, in millionths.
    target_millionths INTEGER NOT NULL CHECK (target_millionths > 0),
    -- A day, in minor units.
    cap_minor INTEGER CHECK (cap_minor >= 0),
    floor_minor INTEGER NOT NULL CHECK (floor_minor >= 0),
    updated_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, campaign, currency)
) STRICT;
-- What people decided on advice, with what the advice was made of.
CREATE TABLE advice_decisions (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    campaign TEXT NOT NULL,
    currency TEXT NOT NULL,
    -- Days since 1970-01-01 by UTC, whatever the calendar of the advice.
    day INTEGER NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('raise', 'lower')),
    from_minor INTEGER NOT NULL,
    to_minor INTEGER NOT NULL,
    decision TEXT NOT NULL CHECK (decision IN ('approved', 'rejected')),
    -- The key that decided.
    actor TEXT NOT NULL,
    inputs TEXT NOT NULL,
    decided_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
-- One change a day and campaign.
CREATE UNIQUE INDEX advice_decisions_once ON advice_decisions (org, campaign, currency, day)
    WHERE decision = 'approved';
CREATE INDEX advice_decisions_time ON advice_decisions (org, decided_at);
