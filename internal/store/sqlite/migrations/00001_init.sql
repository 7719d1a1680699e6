-- +goose Up
-- Times are microseconds since 1970 in UTC, 0 for none. Hashes are SHA-256.

CREATE TABLE state (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    log_id          TEXT    NOT NULL,
    head_seq        INTEGER NOT NULL,
    head_hash       BLOB    NOT NULL,
    compacted       INTEGER NOT NULL,
    compacted_hash  BLOB    NOT NULL,
    horizon         INTEGER NOT NULL,
    time_high_water INTEGER NOT NULL,
    token_life      INTEGER NOT NULL,
    everything      INTEGER NOT NULL,
    audit_seq       INTEGER NOT NULL,
    audit_hash      BLOB    NOT NULL
);

CREATE TABLE client_epochs (
    client_id TEXT    NOT NULL PRIMARY KEY,
    epoch     INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE users (
    id            TEXT    NOT NULL PRIMARY KEY,
    email         TEXT    NOT NULL,
    email_fold    TEXT    NOT NULL,
    username      TEXT    NOT NULL,
    username_fold TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    password_hash TEXT    NOT NULL,
    roles         TEXT    NOT NULL,
    status        TEXT    NOT NULL,
    must_change   INTEGER NOT NULL,
    epoch         INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    version       INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX users_email ON users (email_fold) WHERE email_fold <> '';
CREATE UNIQUE INDEX users_username ON users (username_fold) WHERE username_fold <> '';

CREATE TABLE sessions (
    id           TEXT    NOT NULL PRIMARY KEY,
    subject      TEXT    NOT NULL,
    client_id    TEXT    NOT NULL,
    scope        TEXT    NOT NULL,
    epoch        INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    auth_time    INTEGER NOT NULL,
    reauth_at    INTEGER NOT NULL,
    last_seen_at INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    ended_at     INTEGER NOT NULL,
    end_reason   TEXT    NOT NULL,
    ended_seq    INTEGER NOT NULL,
    device       TEXT    NOT NULL,
    ip           TEXT    NOT NULL,
    user_agent   TEXT    NOT NULL,
    counter      INTEGER NOT NULL,
    rotated_at   INTEGER NOT NULL,
    token_exp    INTEGER NOT NULL,
    version      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX sessions_subject ON sessions (subject, ended_at);
CREATE INDEX sessions_seen ON sessions (last_seen_at) WHERE ended_at = 0;
CREATE INDEX sessions_expiry ON sessions (expires_at) WHERE ended_at = 0;
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at > 0;

CREATE TABLE revocations (
    seq         INTEGER PRIMARY KEY,
    kind        TEXT    NOT NULL,
    target      TEXT    NOT NULL,
    issuer      TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    actor       TEXT    NOT NULL,
    recorded_at INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    hash        BLOB    NOT NULL
);

CREATE TABLE keys (
    id         TEXT    NOT NULL PRIMARY KEY,
    alg        TEXT    NOT NULL,
    purpose    TEXT    NOT NULL,
    status     TEXT    NOT NULL,
    public_jwk BLOB    NOT NULL,
    sealed     BLOB    NOT NULL,
    created_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    version    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE api_keys (
    name       TEXT    NOT NULL PRIMARY KEY,
    kind       TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE UNIQUE INDEX api_keys_hash ON api_keys (hash);

CREATE TABLE audit (
    seq        INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    event      TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    session    TEXT    NOT NULL,
    client_id  TEXT    NOT NULL,
    reason     TEXT    NOT NULL,
    count      INTEGER NOT NULL,
    rev_seq    INTEGER NOT NULL,
    ip         TEXT    NOT NULL,
    user_agent TEXT    NOT NULL,
    detail     TEXT    NOT NULL,
    hash       BLOB    NOT NULL
);
CREATE INDEX audit_subject ON audit (subject, seq);

-- +goose Down
SELECT 'the first schema has nothing below it';
