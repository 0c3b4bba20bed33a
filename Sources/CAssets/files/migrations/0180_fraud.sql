-- Fraud, decided before credit. Counts what was set: a new version with every change of rules and lists, and another
-- number with every change of the patterns that stand.
CREATE TABLE fraud_heads (
    org TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    patterns INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE fraud_rules (
    org TEXT NOT NULL,
    version INTEGER NOT NULL,
    -- Installs and clicks from here on are judged by it, until a later version begins.
    starts_at INTEGER NOT NULL,
    body TEXT NOT NULL,
    -- The key that saved it.
    actor TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, version)
) STRICT;
CREATE TABLE fraud_lists (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    list TEXT NOT NULL CHECK (list IN ('allow', 'deny', 'suspend')),
    kind TEXT NOT NULL CHECK (kind IN ('network', 'publisher', 'address', 'device')),
    value TEXT NOT NULL,
    network TEXT NOT NULL,
    note TEXT NOT NULL,
    actor TEXT NOT NULL,
    added_version INTEGER NOT NULL,
    removed_version INTEGER,
    added_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE UNIQUE INDEX fraud_lists_once ON fraud_lists (org, list, kind, network, value) WHERE removed_version IS NULL;
-- What the rules know of an install; identifiers of devices are digests.
CREATE TABLE fraud_installs (
    org TEXT NOT NULL,
    install BLOB NOT NULL,
    -- The id as the event gave it, where that is no UUID.
    event TEXT,
    app TEXT NOT NULL,
    at INTEGER NOT NULL,
    began_at INTEGER,
    device BLOB,
    address TEXT,
    address_range TEXT,
    os TEXT,
    emulator INTEGER NOT NULL,
    data_centre INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, install)
) STRICT;
CREATE INDEX fraud_installs_time ON fraud_installs (org, app, at);
CREATE INDEX fraud_installs_age ON fraud_installs (org, at);
CREATE INDEX fraud_installs_address ON fraud_installs (org, app, address, at) WHERE address IS NOT NULL;
CREATE INDEX fraud_installs_device ON fraud_installs (org, app, device, at) WHERE device IS NOT NULL;
CREATE TABLE fraud_touches (
    org TEXT NOT NULL,
    install BLOB NOT NULL,
    touch BLOB NOT NULL,
    event TEXT,
    app TEXT NOT NULL,
    install_at INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('click', 'view')),
    network TEXT,
    publisher TEXT,
    device BLOB,
    address TEXT,
    address_range TEXT,
    os TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, install, touch)
) STRICT;
CREATE INDEX fraud_touches_time ON fraud_touches (org, app, install_at);
CREATE INDEX fraud_touches_address ON fraud_touches (org, app, address, at) WHERE address IS NOT NULL;
CREATE INDEX fraud_touches_device ON fraud_touches (org, app, device, at) WHERE device IS NOT NULL;
-- Every verdict that was ever given; the newest of each subject answers.
CREATE TABLE fraud_verdicts (
    org TEXT NOT NULL,
    install BLOB NOT NULL,
    -- The install itself where the verdict is about it.
    touch BLOB NOT NULL,
    number INTEGER NOT NULL,
    -- The id of the subject as its event gave it, where that is no UUID.
    event TEXT,
    subject TEXT NOT NULL CHECK (subject IN ('install', 'touch')),
    app TEXT NOT NULL,
    -- Of the install.
    at INTEGER NOT NULL,
    network TEXT,
    publisher TEXT,
    -- Whether the install is claimed by this touch.
    claims INTEGER NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('clean', 'suspect', 'rejected')),
    -- Codes with a space before and after each.
    codes TEXT NOT NULL,
    -- The entry of a list that decided.
    reason TEXT,
    -- Nothing at all is credited to the touch.
    barred INTEGER NOT NULL,
    version INTEGER NOT NULL,
    -- With the install, or after the fact.
    stage TEXT NOT NULL CHECK (stage IN ('install', 'after')),
    newest INTEGER NOT NULL,
    decided_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, install, touch, number)
) STRICT;
CREATE INDEX fraud_verdicts_time ON fraud_verdicts (org, at, install, touch) WHERE newest = 1;
CREATE INDEX fraud_verdicts_app ON fraud_verdicts (org, app, at) WHERE newest = 1;
CREATE INDEX fraud_verdicts_barred ON fraud_verdicts (org, at, touch) WHERE newest = 1 AND barred = 1;
CREATE INDEX fraud_verdicts_touch ON fraud_verdicts (org, touch);
-- What was found of publishers as a whole: test, statistic, n, p and reference window stand in `body`.
CREATE TABLE fraud_patterns (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    app TEXT NOT NULL,
    network TEXT NOT NULL,
    publisher TEXT NOT NULL,
    code TEXT NOT NULL,
    version INTEGER NOT NULL,
    body TEXT NOT NULL,
    found_at INTEGER NOT NULL,
    -- When a later look did not find it any more.
    ended_at INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE UNIQUE INDEX fraud_patterns_standing ON fraud_patterns (org, app, network, publisher, code)
    WHERE ended_at IS NULL;
-- The newest figures of each publisher.
CREATE TABLE fraud_publishers (
    org TEXT NOT NULL,
    app TEXT NOT NULL,
    network TEXT NOT NULL,
    publisher TEXT NOT NULL,
    installs INTEGER NOT NULL,
    suspect INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    grade TEXT NOT NULL CHECK (grade IN ('green', 'warn', 'suspend', 'deny')),
    from_at INTEGER NOT NULL,
    to_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, app, network, publisher)
) STRICT;
-- What is proposed; a person decides.
CREATE TABLE fraud_proposals (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    app TEXT NOT NULL,
    network TEXT NOT NULL,
    publisher TEXT NOT NULL,
    action TEXT NOT NULL CHECK (action IN ('suspend', 'deny')),
    installs INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    from_at INTEGER NOT NULL,
    to_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'confirmed', 'dismissed', 'undone', 'withdrawn')),
    actor TEXT,
    decided_at INTEGER,
    -- The entry that a confirmation made.
    entry BLOB,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE UNIQUE INDEX fraud_proposals_open ON fraud_proposals (org, app, network, publisher) WHERE state = 'open';
CREATE INDEX fraud_proposals_publisher ON fraud_proposals (org, app, network, publisher, created_at);
-- Verdicts that changed after the fact, and whether credit was asked to follow.
CREATE TABLE fraud_restatements (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    app TEXT NOT NULL,
    version INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'asked')),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE INDEX fraud_restatements_open ON fraud_restatements (org) WHERE state = 'open';
-- Who changed what.
CREATE TABLE fraud_audit (
    org TEXT NOT NULL,
    id BLOB NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL,
    at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, id)
) STRICT;
CREATE INDEX fraud_audit_time ON fraud_audit (org, at, id);
