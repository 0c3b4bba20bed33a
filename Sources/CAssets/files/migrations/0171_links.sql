-- Short links to an app or to the web. A slug is one in the whole installation: the address names no organisation.
CREATE TABLE links (
    slug TEXT NOT NULL,
    org TEXT NOT NULL,
    app TEXT NOT NULL,
    body TEXT NOT NULL,
    expires_at INTEGER,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (slug)
) STRICT;
CREATE INDEX links_org ON links (org, created_at, slug);

-- Clicks on links whose payload may still be asked for, once. Keys are hashes.
CREATE TABLE link_clicks (
    org TEXT NOT NULL,
    click_id TEXT NOT NULL,
    slug TEXT NOT NULL,
    at INTEGER NOT NULL,
    device_key INTEGER,
    advertising_key INTEGER,
    -- What the link said at the click.
    campaign TEXT NOT NULL,
    payload TEXT NOT NULL,
    resolved_at INTEGER,
    PRIMARY KEY (org, click_id)
) STRICT;
CREATE INDEX link_clicks_time ON link_clicks (at);
CREATE INDEX link_clicks_device ON link_clicks (device_key, at) WHERE device_key IS NOT NULL;
CREATE INDEX link_clicks_advertising ON link_clicks (advertising_key, at) WHERE advertising_key IS NOT NULL;
