-- The whole schema, applied as often as one likes: every statement leaves an up-to-date database as it is.

CREATE TABLE IF NOT EXISTS schema_version (
    -- One row per time that a schema was applied; the last one is in force.
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE IF NOT EXISTS feed_generation (
    -- One row per database cluster that this data has lived in: transaction numbers are a cluster's own.
    generation int PRIMARY KEY,
    system_identifier bigint NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);

INSERT INTO feed_generation (generation, system_identifier)
SELECT coalesce((SELECT max(generation) FROM feed_generation), 0) + 1, here.system_identifier
FROM pg_control_system() AS here
WHERE here.system_identifier IS DISTINCT FROM (
    SELECT last.system_identifier FROM feed_generation AS last ORDER BY last.generation DESC LIMIT 1);

CREATE SEQUENCE IF NOT EXISTS tender_number;
CREATE SEQUENCE IF NOT EXISTS feed_sequence;

CREATE TABLE IF NOT EXISTS tender (
    id text PRIMARY KEY,
    body jsonb NOT NULL,
    config jsonb NOT NULL,
    token_hash bytea NOT NULL,
    transfer_hash bytea NOT NULL,
    public boolean NOT NULL,
    check_at timestamptz,
    acknowledged_at timestamptz NOT NULL DEFAULT now(),
    feed_generation int,
    feed_transaction xid8,
    feed_number bigint
);
CREATE INDEX IF NOT EXISTS tender_feed ON tender (feed_generation, feed_transaction, feed_number) WHERE public;
CREATE INDEX IF NOT EXISTS tender_check ON tender (check_at) WHERE check_at IS NOT NULL;

-- A change's place in the feed is given here, so that no writer can forget it.
CREATE OR REPLACE FUNCTION tender_in_feed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR NEW.public <> OLD.public
       OR NEW.body ->> 'dateModified' IS DISTINCT FROM OLD.body ->> 'dateModified' THEN
        NEW.feed_generation := (SELECT max(generation) FROM feed_generation);
        NEW.feed_transaction := pg_current_xact_id();
        NEW.feed_number := nextval('feed_sequence');
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER tender_in_feed BEFORE INSERT OR UPDATE ON tender
    FOR EACH ROW EXECUTE FUNCTION tender_in_feed();

CREATE TABLE IF NOT EXISTS bid (
    id text PRIMARY KEY,
    tender_id text NOT NULL REFERENCES tender,
    body jsonb NOT NULL,
    token_hash bytea NOT NULL,
    transfer_hash bytea NOT NULL,
    acknowledged_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS bid_tender ON bid (tender_id);

CREATE TABLE IF NOT EXISTS auction (
    tender_id text NOT NULL REFERENCES tender,
    lot_id text NOT NULL,               -- empty: the tender has no lots
    stage int NOT NULL DEFAULT 0,
    due_at timestamptz NOT NULL,
    finished_at timestamptz,
    PRIMARY KEY (tender_id, lot_id)
);
CREATE INDEX IF NOT EXISTS auction_due ON auction (due_at) WHERE finished_at IS NULL;

CREATE TABLE IF NOT EXISTS auction_stage (
    tender_id text NOT NULL,
    lot_id text NOT NULL,
    stage int NOT NULL,
    due_at timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    late_s double precision NOT NULL,
    missed boolean NOT NULL,
    epoch bigint NOT NULL,              -- who started it: the scheduler that led under this epoch
    PRIMARY KEY (tender_id, lot_id, stage),
    FOREIGN KEY (tender_id, lot_id) REFERENCES auction
);

CREATE TABLE IF NOT EXISTS document (
    id text PRIMARY KEY,
    md5 text NOT NULL,
    broker text NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    uploaded_at timestamptz,
    site text,
    title text,
    format text,
    size_bytes bigint
);

-- One row per upload. It is committed before the bytes go to Swift; `done` is set after Swift has acknowledged
-- them and before the client hears of it; `carried` by whoever has brought them to the other site. That one
-- reads whatever is not carried, so nothing depends on the order in which rows appear.
CREATE TABLE IF NOT EXISTS document_outbox (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    site text NOT NULL,
    container text NOT NULL,
    name text NOT NULL REFERENCES document,
    begun timestamptz NOT NULL DEFAULT clock_timestamp(),
    done timestamptz,
    carried timestamptz,
    md5 text NOT NULL,
    size_bytes bigint NOT NULL
);
CREATE INDEX IF NOT EXISTS document_outbox_pending ON document_outbox (number) WHERE carried IS NULL;

-- The fencing numbers of the roles. They only grow, and no row goes away.
CREATE TABLE IF NOT EXISTS role_epoch (
    role text PRIMARY KEY,
    epoch bigint NOT NULL CHECK (epoch > 0),
    holder text NOT NULL,
    since timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE OR REPLACE FUNCTION role_epoch_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'UPDATE' OR NEW.epoch < OLD.epoch OR NEW.role <> OLD.role THEN
        RAISE EXCEPTION 'the epoch of % only grows', OLD.role USING ERRCODE = 'DC002';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER role_epoch_only_grows BEFORE UPDATE OR DELETE ON role_epoch
    FOR EACH ROW EXECUTE FUNCTION role_epoch_only_grows();

-- Called by a new leader before it acts. It waits for the transactions that the old one has under way.
-- Repeating the same call is harmless; an epoch that is not newer raises DC002.
CREATE OR REPLACE FUNCTION role_epoch_bump(the_role text, new_epoch bigint, new_holder text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    old role_epoch%ROWTYPE;
BEGIN
    INSERT INTO role_epoch (role, epoch, holder) VALUES (the_role, new_epoch, new_holder)
        ON CONFLICT (role) DO NOTHING;
    IF FOUND THEN
        RETURN new_epoch;
    END IF;
    SELECT * INTO old FROM role_epoch WHERE role = the_role FOR UPDATE;
    IF new_epoch < old.epoch OR (new_epoch = old.epoch AND new_holder <> old.holder) THEN
        RAISE EXCEPTION 'epoch % of % is not newer than % of %', new_epoch, the_role, old.epoch, old.holder
            USING ERRCODE = 'DC002';
    END IF;
    UPDATE role_epoch SET epoch = new_epoch, holder = new_holder, since = clock_timestamp()
        WHERE role = the_role;
    RETURN new_epoch;
END $$;

-- Called inside every transaction of a singleton; the row stays locked until that transaction has ended.
-- Raises DC001 when another epoch is in force.
CREATE OR REPLACE FUNCTION role_epoch_check(the_role text, our_epoch bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    now_epoch bigint;
BEGIN
    SELECT epoch INTO now_epoch FROM role_epoch WHERE role = the_role FOR SHARE;
    IF now_epoch IS DISTINCT FROM our_epoch THEN
        RAISE EXCEPTION 'epoch % of % is not in force: %', our_epoch, the_role, coalesce(now_epoch::text, 'none')
            USING ERRCODE = 'DC001';
    END IF;
END $$;
