-- Forward only. A released migration is never edited: the store refuses to start when a checksum differs.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- Counts every write, so that other processes and nodes notice a change.
INSERT INTO meta (name, value) VALUES ('generation', '0');

CREATE TABLE principals (
    id           TEXT PRIMARY KEY,
    kind         TEXT NOT NULL CHECK (kind IN ('user', 'service_principal')),
    name         TEXT NOT NULL,
    display_name TEXT NOT NULL,
    active       INTEGER NOT NULL DEFAULT 1,
    created_at   INTEGER NOT NULL,
    UNIQUE (kind, name)
) STRICT;

CREATE TABLE groups (
    id   TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE memberships (
    group_id     TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    principal_id TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, principal_id)
) STRICT;

-- Only the SHA-256 of a token is kept.
CREATE TABLE tokens (
    id           TEXT PRIMARY KEY,
    hash         BLOB NOT NULL UNIQUE,
    principal_id TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    comment      TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER
) STRICT;

-- Each scope has its own data key, wrapped by the master key. `name_key` is the name in lower case: scope
-- names are case-insensitive. The server's own scope, for credentials that came as plaintext, is hidden.
CREATE TABLE scopes (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    name_key   TEXT NOT NULL UNIQUE,
    hidden     INTEGER NOT NULL DEFAULT 0,
    data_key   BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE secrets (
    scope_id   TEXT NOT NULL REFERENCES scopes (id) ON DELETE CASCADE,
    key        TEXT NOT NULL,
    version    INTEGER NOT NULL,
    sealed     BLOB NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (scope_id, key)
) STRICT;

CREATE TABLE scope_acls (
    scope_id   TEXT NOT NULL REFERENCES scopes (id) ON DELETE CASCADE,
    principal  TEXT NOT NULL,
    permission TEXT NOT NULL CHECK (permission IN ('READ', 'WRITE', 'MANAGE')),
    PRIMARY KEY (scope_id, principal)
) STRICT;

-- `document` is JSON with a version field.
CREATE TABLE endpoints (
    id             TEXT PRIMARY KEY,
    name           TEXT NOT NULL UNIQUE,
    creator        TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    config_version INTEGER NOT NULL,
    document       TEXT NOT NULL
) STRICT;

CREATE TABLE endpoint_grants (
    endpoint_id  TEXT NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    grantee_kind TEXT NOT NULL CHECK (grantee_kind IN ('user', 'group', 'service_principal')),
    grantee      TEXT NOT NULL,
    level        TEXT NOT NULL CHECK (level IN ('CAN_VIEW', 'CAN_QUERY', 'CAN_MANAGE')),
    PRIMARY KEY (endpoint_id, grantee_kind, grantee)
) STRICT;
