-- Windows of the touches of one network or campaign, each change a version with the time it holds from.
CREATE TABLE attribution_windows (
    org TEXT NOT NULL,
    scope TEXT NOT NULL CHECK (scope IN ('network', 'campaign')),
    -- In lower case.
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    starts_at INTEGER NOT NULL,
    -- JSON: the override, with click_hours and view_hours; both null where it ends.
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, scope, name, version)
) STRICT;
