-- People mark contacts for HubSpot before they queue them: the other CRMs have the state, HubSpot's older enum does not.

ALTER TYPE hubspot_sync_status ADD VALUE IF NOT EXISTS 'Selected' AFTER 'New';
