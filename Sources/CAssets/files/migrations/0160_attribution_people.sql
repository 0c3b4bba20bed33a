-- Whose each credited lead and sale is, so that cohorts can tell first ones from later ones.
CREATE TABLE attribution_people (
    org TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('lead', 'sale')),
    -- The lead or the sold leg.
    item BLOB NOT NULL,
    -- The same for all leads and sales of one visitor or one trace.
    person BLOB NOT NULL,
    trace_id BLOB,
    -- The first half of SHA-256 of the organisation and the visitor's id.
    visitor BLOB,
    at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (org, kind, item)
) STRICT;
CREATE INDEX attribution_people_first ON attribution_people (org, kind, person, at, item);
CREATE INDEX attribution_people_time ON attribution_people (org, kind, at);
CREATE INDEX attribution_people_trace ON attribution_people (org, trace_id) WHERE trace_id IS NOT NULL;
CREATE INDEX attribution_people_visitor ON attribution_people (org, visitor) WHERE visitor IS NOT NULL;
-- What an earlier release credited; of visitors it kept nothing here.
INSERT INTO attribution_people (org, kind, item, person, trace_id, visitor, at, created_at)
SELECT known.org, 'lead', known.lead, leads.trace_id, leads.trace_id, NULL, known.lead_at, known.created_at
FROM attribution_leads AS known JOIN leads ON leads.org = known.org AND leads.id = known.lead
WHERE known.model = 'last' AND known.position = (
    SELECT MIN(other.position) FROM attribution_leads AS other
    WHERE other.org = known.org AND other.lead = known.lead AND other.model = 'last');
INSERT INTO attribution_people (org, kind, item, person, trace_id, visitor, at, created_at)
SELECT known.org, 'sale', known.leg, legs.trace_id, legs.trace_id, NULL, known.sold_at, known.created_at
FROM attribution_credits AS known JOIN legs ON legs.org = known.org AND legs.id = known.leg
WHERE known.model = 'last' AND known.position = (
    SELECT MIN(other.position) FROM attribution_credits AS other
    WHERE other.org = known.org AND other.leg = known.leg AND other.model = 'last');
INSERT INTO attribution_people (org, kind, item, person, trace_id, visitor, at, created_at)
SELECT known.org, 'sale', known.leg, legs.trace_id, legs.trace_id, NULL, known.sold_at, known.returned_at
FROM attribution_returns AS known JOIN legs ON legs.org = known.org AND legs.id = known.leg
WHERE known.model = 'last' AND known.position = (
    SELECT MIN(other.position) FROM attribution_returns AS other
    WHERE other.org = known.org AND other.leg = known.leg AND other.model = 'last')
ON CONFLICT DO NOTHING;
