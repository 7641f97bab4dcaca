-- Alerts, for those without a monitoring system: what is wrong now, since when, and who was told.
--
-- One worker looks and tells. What it knows stands here, so that another one, or the same after a restart, goes on where it was.

-- The worker whose turn it is, as long as it lives (crm_sync.living_workers).
CREATE TABLE crm_sync.alert_duty (
    one boolean PRIMARY KEY DEFAULT TRUE CHECK (one),
    worker integer
);

INSERT INTO crm_sync.alert_duty DEFAULT VALUES;

-- One row for each time that something is wrong. Of what has ended, 30 days are kept.
CREATE TABLE crm_sync.alerts (
    id bigint PRIMARY KEY,               -- no sequence: one that is behind after a restore would have alerts refused
    condition text NOT NULL,             -- LANE_DOWN, ERRORS, ...
    crm text NOT NULL,
    code text NOT NULL DEFAULT '',       -- of NEW_CODE
    since timestamptz NOT NULL,          -- when it began, as far as is known
    first_seen_at timestamptz NOT NULL,  -- the first look that saw it, of those without a gap
    seen_at timestamptz NOT NULL,        -- the latest
    well_since timestamptz,              -- the first look since then that did not
    raised_at timestamptz,               -- NULL: it may pass by itself, and nobody is told yet
    ended_at timestamptz,                -- it was well for a while
    contacts bigint NOT NULL,            -- how many, at the worst; of LIMIT_NEARLY_USED requests
    reason text NOT NULL,                -- in words, without keys and personal data
    message text CHECK (
        message IN (
            'raised',  -- something is wrong
            'still',   -- it was told hours ago, and lasts
            'over'     -- it has ended
        )
    ),
    message_at timestamptz,              -- when that became what is to be told
    untold text[] NOT NULL DEFAULT '{}', -- the channels that are still to be told
    told text[] NOT NULL DEFAULT '{}',   -- those that were told of this alert: they are told of its end
    tries integer NOT NULL DEFAULT 0,    -- of this message
    next_try_at timestamptz              -- no channel is tried before
);

CREATE UNIQUE INDEX idx_alerts_open ON crm_sync.alerts (condition, crm, code) WHERE ended_at IS NULL;

-- Shares of errors, silence and flips that no trigger saw are told by what is counted in each minute.
ALTER TABLE crm_sync.minutes ADD COLUMN strays integer NOT NULL DEFAULT 0;  -- contacts whose flip no trigger saw

-- When each failure code was last seen, to tell one that is new.
CREATE TABLE crm_sync.alert_codes (
    crm text NOT NULL,
    code text NOT NULL,
    new_since timestamptz NOT NULL,  -- when it was first seen, or again after a week without it
    seen_at timestamptz NOT NULL,
    contacts bigint NOT NULL,        -- since new_since
    PRIMARY KEY (crm, code)
);
