-- What the ads of credited touches say of themselves below their campaign, each combination once.
CREATE TABLE attribution_ads (
    org TEXT NOT NULL,
    -- The first half of SHA-256 of the four, in hex.
    ad TEXT NOT NULL,
    -- Empty where the touch does not say.
    ad_group TEXT NOT NULL,
    creative TEXT NOT NULL,
    keyword TEXT NOT NULL,
    publisher TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, ad)
) STRICT, WITHOUT ROWID;
-- The ad of the touch; empty where it names none. NULL in what an older release writes beside this one or wrote before:
-- nobody knows.
ALTER TABLE attribution_credits ADD COLUMN ad TEXT;
ALTER TABLE attribution_returns ADD COLUMN ad TEXT;
ALTER TABLE attribution_leads ADD COLUMN ad TEXT;
