-- store.db as schema 3 made it (sqlite3's dump). Never made anew: older homes look like this.
PRAGMA application_id = 1297101392;
PRAGMA user_version = 3;
BEGIN TRANSACTION;
CREATE TABLE alarms (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        peer TEXT,
        text TEXT NOT NULL,
        first_ms INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        count INTEGER NOT NULL,
        acknowledged INTEGER NOT NULL CHECK (acknowledged IN (0, 1))
    );
CREATE TABLE audit (
        seq INTEGER PRIMARY KEY,
        record BLOB NOT NULL,
        sealed BLOB,
        hash BLOB NOT NULL CHECK (length(hash) = 32)
    );
CREATE TABLE audit_head (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        count INTEGER NOT NULL,
        hash BLOB NOT NULL CHECK (length(hash) = 32)
    );
INSERT INTO "audit_head" VALUES(1,0,X'0000000000000000000000000000000000000000000000000000000000000000');
CREATE TABLE blobs (
        owner TEXT NOT NULL,
        name TEXT NOT NULL,
        key_kind TEXT NOT NULL CHECK (key_kind IN ('spool', 'vault')),
        blob BLOB NOT NULL,
        PRIMARY KEY (owner, name)
    );
INSERT INTO "blobs" VALUES('aeaaaaaaaaaaaaaaaaaaaaaaae','summary','spool',X'7365616C6564');
CREATE TABLE deadlines (
        transfer TEXT NOT NULL REFERENCES transfers (id),
        kind TEXT NOT NULL,
        since_ms INTEGER NOT NULL,
        ran_ms INTEGER NOT NULL CHECK (ran_ms >= 0),
        PRIMARY KEY (transfer, kind)
    ) WITHOUT ROWID;
CREATE TABLE facts (
        peer_key BLOB NOT NULL CHECK (length(peer_key) = 32),
        direction TEXT NOT NULL CHECK (direction IN ('out', 'in')),
        number INTEGER NOT NULL CHECK (number >= 1),
        transfer TEXT NOT NULL,
        kind TEXT NOT NULL,
        time_ms INTEGER NOT NULL,
        statement BLOB NOT NULL,
        signature BLOB NOT NULL CHECK (length(signature) = 64),
        acked INTEGER NOT NULL CHECK (acked IN (0, 1)),
        PRIMARY KEY (peer_key, direction, number)
    ) WITHOUT ROWID;
CREATE TABLE journal (
        transfer INTEGER NOT NULL REFERENCES transfers (number) ON DELETE CASCADE,
        chunk INTEGER NOT NULL CHECK (chunk >= 0),
        state INTEGER NOT NULL CHECK (state IN (0, 1)),
        digest BLOB NOT NULL CHECK (length(digest) = 32),
        PRIMARY KEY (transfer, chunk)
    ) WITHOUT ROWID;
CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    ) WITHOUT ROWID;
INSERT INTO "meta" VALUES('created_ms','1790000000000');
CREATE TABLE peers (
        name TEXT PRIMARY KEY,
        noise_key BLOB NOT NULL UNIQUE CHECK (length(noise_key) = 32),
        sign_key BLOB CHECK (length(sign_key) = 32),
        source TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        verified_ms INTEGER,
        verified_by TEXT,
        told_name TEXT NOT NULL,
        told_department TEXT NOT NULL,
        told_place TEXT NOT NULL,
        software TEXT NOT NULL,
        highest_version INTEGER NOT NULL,
        addresses TEXT NOT NULL,
        settings TEXT NOT NULL,
        last_run BLOB,
        last_seen_ms INTEGER
    );
INSERT INTO "peers" VALUES('ward-1',X'0000000000000000000000000000000000000000000000000000000000000001',NULL,'code',1790000000000,NULL,NULL,'','','','',0,'[]','{"accept": "auto"}',NULL,NULL);
CREATE TABLE releases (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        transfer TEXT NOT NULL,
        peer_name TEXT NOT NULL,
        released_ms INTEGER NOT NULL,
        released_by TEXT NOT NULL,
        files INTEGER NOT NULL,
        until_ms INTEGER,
        over TEXT,
        over_ms INTEGER
    );
CREATE TABLE scans (
        id TEXT PRIMARY KEY,
        created_ms INTEGER NOT NULL,
        entries INTEGER NOT NULL,
        files INTEGER NOT NULL,
        file_bytes INTEGER NOT NULL,
        skipped INTEGER NOT NULL
    );
CREATE TABLE strangers (
        id INTEGER PRIMARY KEY,
        address TEXT NOT NULL,
        reason TEXT NOT NULL,
        hour_ms INTEGER NOT NULL,
        first_ms INTEGER NOT NULL,
        last_ms INTEGER NOT NULL,
        count INTEGER NOT NULL,
        reported INTEGER NOT NULL CHECK (reported IN (0, 1)),
        UNIQUE (address, reason, hour_ms, reported)
    );
CREATE TABLE targets (
        name TEXT PRIMARY KEY,
        target TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        created_by TEXT NOT NULL
    );
CREATE TABLE transfers (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE CHECK (length(id) = 26),
        direction TEXT NOT NULL CHECK (direction IN ('out', 'in')),
        peer_key BLOB NOT NULL CHECK (length(peer_key) = 32),
        peer_name TEXT NOT NULL,
        state TEXT NOT NULL,
        reason TEXT,
        held TEXT,
        priority TEXT NOT NULL,
        entries INTEGER NOT NULL,
        files INTEGER NOT NULL,
        file_bytes INTEGER NOT NULL,
        length INTEGER NOT NULL,
        offer BLOB CHECK (length(offer) = 32),
        root BLOB CHECK (length(root) = 32),
        created_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        decided_ms INTEGER,
        sealed_ms INTEGER,
        released_ms INTEGER,
        finished_ms INTEGER,
        chunks_done INTEGER NOT NULL,
        scan_id TEXT REFERENCES scans (id) ON DELETE SET NULL,
        error TEXT,
        skipped INTEGER NOT NULL,
        erasing INTEGER NOT NULL CHECK (erasing IN (0, 1))
    , checked_ms INTEGER, check_result TEXT);
INSERT INTO "transfers" VALUES(1,'aeaaaaaaaaaaaaaaaaaaaaaaae','in',X'0000000000000000000000000000000000000000000000000000000000000001','ward-a','offered',NULL,NULL,'routine',3,2,1000,10240,NULL,NULL,1790000000000,1790000000000,NULL,NULL,NULL,NULL,0,NULL,NULL,0,0,NULL,NULL);
CREATE INDEX transfers_by_state ON transfers (state, peer_key);
CREATE INDEX transfers_by_peer ON transfers (peer_key, state);
CREATE INDEX transfers_by_scan ON transfers (scan_id);
CREATE INDEX transfers_erasing ON transfers (erasing) WHERE erasing;
CREATE INDEX facts_by_transfer ON facts (transfer);
CREATE INDEX facts_pending ON facts (peer_key, number) WHERE direction = 'out' AND acked = 0;
CREATE TRIGGER audit_append_only BEFORE DELETE ON audit
    BEGIN SELECT RAISE (ABORT, 'audit records are never deleted'); END;
CREATE TRIGGER audit_unchanged BEFORE UPDATE ON audit
    WHEN new.seq IS NOT old.seq OR new.record IS NOT old.record OR new.hash IS NOT old.hash
        OR new.sealed IS NOT NULL
    BEGIN SELECT RAISE (ABORT, 'audit records are never changed'); END;
CREATE INDEX releases_open ON releases (released_ms) WHERE over IS NULL;
CREATE INDEX releases_by_transfer ON releases (transfer);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('transfers',1);
COMMIT;
