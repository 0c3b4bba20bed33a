-- How far each event log was read for clicks, views and installs.
CREATE TABLE install_positions (
    log INTEGER NOT NULL,
    position TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    PRIMARY KEY (log)
) STRICT;

-- Clicks and views that may lead to an install, for as long as the longest window reaches. Keys are hashes.
CREATE TABLE install_touches (
    org TEXT NOT NULL,
    app TEXT NOT NULL,
    event_id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('click', 'view')),
    at INTEGER NOT NULL,
    network TEXT,
    campaign TEXT,
    publisher TEXT,
    creative TEXT,
    ad_group TEXT,
    channel TEXT NOT NULL,
    click_id TEXT,
    device_id TEXT,
    address_hash TEXT,
    -- The cut network of the address.
    address_network TEXT,
    user_agent TEXT,
    system TEXT,
    device_key INTEGER,
    advertising_key INTEGER,
    vendor_key INTEGER,
    click_key INTEGER,
    user_key INTEGER,
    -- As a run over the log knows the person, the event and the click.
    person INTEGER NOT NULL,
    sort_id INTEGER NOT NULL,
    sort_tail INTEGER NOT NULL,
    click_hash INTEGER NOT NULL,
    PRIMARY KEY (org, app, event_id)
) STRICT;
CREATE INDEX install_touches_time ON install_touches (org, at);
CREATE INDEX install_touches_device ON install_touches (org, device_key, kind, at) WHERE device_key IS NOT NULL;
CREATE INDEX install_touches_advertising ON install_touches (org, advertising_key, kind, at)
    WHERE advertising_key IS NOT NULL;
CREATE INDEX install_touches_vendor ON install_touches (org, vendor_key, kind, at) WHERE vendor_key IS NOT NULL;
CREATE INDEX install_touches_click ON install_touches (org, click_key, kind, at) WHERE click_key IS NOT NULL;
CREATE INDEX install_touches_user ON install_touches (org, user_key, kind, at) WHERE user_key IS NOT NULL;

-- Every install of the log, once. One that waits is matched by the next step of whoever follows the log.
CREATE TABLE installs (
    org TEXT NOT NULL,
    app TEXT NOT NULL,
    event_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    received_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'decided')),
    -- Of the decision that holds; 0 while it waits.
    version INTEGER NOT NULL,
    facts TEXT NOT NULL,
    device_key INTEGER,
    advertising_key INTEGER,
    vendor_key INTEGER,
    user_key INTEGER,
    click_key INTEGER,
    person INTEGER NOT NULL,
    PRIMARY KEY (org, app, event_id)
) STRICT;
CREATE INDEX installs_waiting ON installs (received_at) WHERE state = 'waiting';
CREATE INDEX installs_time ON installs (org, at, app, event_id);
CREATE INDEX installs_device ON installs (org, device_key, at) WHERE device_key IS NOT NULL;
CREATE INDEX installs_advertising ON installs (org, advertising_key, at) WHERE advertising_key IS NOT NULL;
CREATE INDEX installs_vendor ON installs (org, vendor_key, at) WHERE vendor_key IS NOT NULL;
CREATE INDEX installs_event ON installs (org, event_id);

-- What led to an install. A decision never changes: another one is another version.
CREATE TABLE install_decisions (
    org TEXT NOT NULL,
    app TEXT NOT NULL,
    event_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    at INTEGER NOT NULL,
    method TEXT NOT NULL,
    campaign TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('clean', 'suspect', 'rejected')),
    is_reinstall INTEGER NOT NULL CHECK (is_reinstall IN (0, 1)),
    -- The touch, for journeys of the person who installed; without one all of these are empty or 0.
    touch_at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    channel TEXT NOT NULL,
    person INTEGER NOT NULL,
    touch_person INTEGER NOT NULL,
    sort_id INTEGER NOT NULL,
    sort_tail INTEGER NOT NULL,
    click_hash INTEGER NOT NULL,
    body TEXT NOT NULL,
    cause TEXT NOT NULL,
    decided_at INTEGER NOT NULL,
    PRIMARY KEY (org, app, event_id, version)
) STRICT;

-- Touches that a recomputation has brought back, and until when they must stay.
CREATE TABLE install_rebuilds (
    org TEXT NOT NULL,
    run BLOB NOT NULL,
    reach_at INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    PRIMARY KEY (org, run)
) STRICT;
