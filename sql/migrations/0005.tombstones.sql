-- What becomes of a contact's record in a CRM when its row is deleted. A tombstone takes the row's place until that is done,
-- written in the transaction that deletes, so that neither is ever there without the other.

ALTER TABLE crm_sync.lanes ADD COLUMN on_delete text NOT NULL DEFAULT 'keep' CHECK (
    on_delete IN (
        'keep',    -- the record stays; no trigger, no tombstone
        'delete',  -- the record is deleted, where the CRM knows a difference so that it can be restored
        'erase'    -- the record is deleted for good
    )
);

CREATE TABLE crm_sync.tombstones (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    crm text NOT NULL,           -- no foreign key: it would cost each deletion a look at the lane, and lock it
    contact_id text NOT NULL,    -- primary key of the row that is gone
    remote_id text,              -- its id in the CRM, where the row knew it
    email text,                  -- finds the record where it did not
    policy text NOT NULL CHECK (policy IN ('delete', 'erase')),
    deleted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at timestamptz,          -- when it may be claimed; NULL: given up, and waits for a person
    attempts integer NOT NULL DEFAULT 0,
    error text,                  -- CODE: plain reason
    claimed_by bigint            -- the claim that has it in flight: worker << 32 | number
);

-- The claim, and the count of each CRM. What is delivered is deleted, so it stays small.
CREATE INDEX idx_tombstones_due_at ON crm_sync.tombstones (crm, due_at);

-- Sets what becomes of deleted contacts at one CRM. What is deleted already keeps its tombstone, whatever is set later.
--
-- The trigger is there only where there is something to do. It is a row's, so that partitions and cascades are seen. It leaves a
-- tombstone for every row that may have a record in the CRM: with an id; delivered, though without one; tried, for an answer that
-- was lost says nothing; or in flight.
CREATE FUNCTION crm_sync.set_on_delete(crm_name text, policy text)
RETURNS void
LANGUAGE plpgsql
AS $set$
DECLARE
    contacts regclass := crm_sync.contacts();
    adopted crm_sync.adopted;
    moved_row text := '';
    lane crm_sync.lanes;
    trigger_name text := 'crm_sync_' || crm_name || '_deleted';
    has_trigger boolean;
BEGIN
    UPDATE crm_sync.lanes SET on_delete = policy WHERE crm = crm_name RETURNING * INTO STRICT lane;

    has_trigger := EXISTS (SELECT FROM pg_trigger WHERE tgrelid = contacts AND tgname = trigger_name);
    IF policy = 'keep' THEN
        IF has_trigger THEN
            EXECUTE format('DROP TRIGGER %I ON %s', trigger_name, contacts);
        END IF;
        EXECUTE format('DROP FUNCTION IF EXISTS crm_sync.%I()', crm_name || '_deleted');
        RETURN;
    END IF;

    SELECT * INTO STRICT adopted FROM crm_sync.adopted;
    IF NOT crm_sync.has_column(adopted.email_column) THEN
        RAISE EXCEPTION 'the table % has no column %', contacts, adopted.email_column USING ERRCODE = 'undefined_column';
    END IF;

    -- A row that moves from one partition to another is deleted in the one and inserted into the other.
    IF EXISTS (SELECT FROM pg_partitioned_table WHERE partrelid = contacts) THEN
        IF row_security_active(contacts) THEN
            RAISE EXCEPTION 'row level security is forced on the owner of % as well, so that a row that has moved to another partition '
                'may look like a deleted one: ALTER TABLE % NO FORCE ROW LEVEL SECURITY', contacts, contacts
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        -- Not by its name, which may change: the application's deletions would fail.
        moved_row := format(
            $moved$
    EXECUTE format('SELECT EXISTS (SELECT FROM %%s AS c WHERE c.%%I = $1)', crm_sync.contacts(), %1$L)
    INTO is_there USING OLD.%1$I;
    IF is_there THEN
        RETURN NULL;
    END IF;
            $moved$,
            adopted.key_column
        );
    END IF;

    -- It runs as its owner, for whoever deletes has no right on this schema.
    --
    -- 5 minutes, because a contact in flight may still land in the CRM. A request takes 60 s at most (TIMEOUT_S of Mautic and n8n,
    -- 20 s elsewhere), and a contact needs four at most (Mautic: two looks, an edit, and a new one where the record was gone). A
    -- minute is for its turn.
    EXECUTE format(
        $template$
CREATE OR REPLACE FUNCTION crm_sync.%1$I()
RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    is_there boolean;
BEGIN
    %8$s
    INSERT INTO crm_sync.tombstones (crm, contact_id, remote_id, email, policy, due_at)
    VALUES (
        %2$L,
        OLD.%3$I::pg_catalog.text,
        OLD.%4$I::pg_catalog.text,
        OLD.%5$I::pg_catalog.text,
        %6$L,
        pg_catalog.clock_timestamp() + CASE
            WHEN OLD.%7$I IS NULL THEN interval '0'
            ELSE interval '5 minutes'
        END
    );
    RETURN NULL;
END;
$function$
        $template$,
        crm_name || '_deleted',     -- 1
        crm_name,                   -- 2
        adopted.key_column,         -- 3
        lane.remote_id_column,      -- 4
        adopted.email_column,       -- 5
        policy,                     -- 6
        crm_name || '_claimed_by',  -- 7
        moved_row                   -- 8
    );

    -- Who could put it on a table of his own could have any record deleted. Firing it takes no right.
    EXECUTE format('REVOKE ALL ON FUNCTION crm_sync.%I() FROM PUBLIC', crm_name || '_deleted');

    IF NOT has_trigger THEN
        EXECUTE format(
            'CREATE TRIGGER %I AFTER DELETE ON %s FOR EACH ROW WHEN ('
            'OLD.%I IS NOT NULL OR OLD.%I IS NOT NULL OR OLD.%I IS NOT NULL OR OLD.%I > 0) '
            'EXECUTE FUNCTION crm_sync.%I()',
            trigger_name, contacts,
            lane.remote_id_column, crm_name || '_synced_at', crm_name || '_claimed_by', crm_name || '_attempts',
            crm_name || '_deleted'
        );
    END IF;
END;
$set$;

-- A CRM that is removed takes its trigger and its tombstones along: nobody could deliver them any more.
CREATE FUNCTION crm_sync.forget_deletions()
RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
    contacts regclass := crm_sync.contacts();
    trigger_name text := 'crm_sync_' || OLD.crm || '_deleted';
BEGIN
    IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = contacts AND tgname = trigger_name) THEN
        EXECUTE format('DROP TRIGGER %I ON %s', trigger_name, crm_sync.full_name(contacts));
    END IF;
    EXECUTE format('DROP FUNCTION IF EXISTS crm_sync.%I()', OLD.crm || '_deleted');
    DELETE FROM crm_sync.tombstones WHERE crm = OLD.crm;
    RETURN NULL;
END;
$$;

CREATE TRIGGER forget_deletions AFTER DELETE ON crm_sync.lanes FOR EACH ROW EXECUTE FUNCTION crm_sync.forget_deletions();
