-- How far `crm-sync match` is: it looks up the records of contacts that have no id yet, in the order of their keys.

CREATE TABLE crm_sync.matching (
    crm text PRIMARY KEY REFERENCES crm_sync.lanes (crm) ON DELETE CASCADE,
    after_key text,                       -- the last that was looked at, as text; NULL: none yet
    began_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,                 -- NULL: it was broken off, and goes on from there
    looked_for bigint NOT NULL DEFAULT 0, -- contacts that the CRM was asked about
    found bigint NOT NULL DEFAULT 0,      -- of them those that have their id now
    unknown bigint NOT NULL DEFAULT 0,    -- that the CRM does not have
    ambiguous bigint NOT NULL DEFAULT 0,  -- that it has several records of
    left_alone bigint NOT NULL DEFAULT 0, -- that were locked, or flipped meanwhile
    unaddressed bigint NOT NULL DEFAULT 0 -- besides: without a valid address
);
