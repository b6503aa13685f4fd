-- Identity: what SCIM says of principals and groups, groups in groups, OAuth client secrets.

ALTER TABLE principals ADD COLUMN external_id TEXT NOT NULL DEFAULT '';
ALTER TABLE principals ADD COLUMN given_name TEXT NOT NULL DEFAULT '';
ALTER TABLE principals ADD COLUMN family_name TEXT NOT NULL DEFAULT '';
-- JSON arrays: SCIM emails, and two lists of names.
ALTER TABLE principals ADD COLUMN emails TEXT NOT NULL DEFAULT '[]';
ALTER TABLE principals ADD COLUMN entitlements TEXT NOT NULL DEFAULT '[]';
ALTER TABLE principals ADD COLUMN roles TEXT NOT NULL DEFAULT '[]';
-- OAuth tokens carry the epoch they were made in and are good in that epoch alone.
ALTER TABLE principals ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;

ALTER TABLE groups ADD COLUMN external_id TEXT NOT NULL DEFAULT '';
ALTER TABLE groups ADD COLUMN entitlements TEXT NOT NULL DEFAULT '[]';
ALTER TABLE groups ADD COLUMN roles TEXT NOT NULL DEFAULT '[]';

CREATE TABLE group_members (
    group_id  TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    member_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, member_id)
) STRICT;

-- Who asked for a token; it outlives them, so that it is no reference.
ALTER TABLE tokens ADD COLUMN created_by TEXT NOT NULL DEFAULT '';

-- Only the SHA-256 of a secret is kept.
CREATE TABLE oauth_secrets (
    id           TEXT PRIMARY KEY,
    principal_id TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    hash         BLOB NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT;

-- Ids of principals and groups are numbers of 53 bits: Databricks' Go and Terraform clients read
-- `created_by_id` as an integer. Those that were made before get one.
PRAGMA defer_foreign_keys = ON;
CREATE TABLE renumbered (old TEXT PRIMARY KEY, new TEXT NOT NULL) STRICT;
INSERT INTO renumbered SELECT id, CAST((random() & 0x7ffffffffffff) | 0x8000000000000 AS TEXT) FROM principals;
UPDATE memberships SET principal_id = (SELECT new FROM renumbered WHERE old = principal_id);
UPDATE tokens SET principal_id = (SELECT new FROM renumbered WHERE old = principal_id);
UPDATE principals SET id = (SELECT new FROM renumbered WHERE old = id);
DELETE FROM renumbered;
INSERT INTO renumbered SELECT id, CAST((random() & 0x7ffffffffffff) | 0x8000000000000 AS TEXT) FROM groups;
UPDATE memberships SET group_id = (SELECT new FROM renumbered WHERE old = group_id);
UPDATE groups SET id = (SELECT new FROM renumbered WHERE old = id);
DROP TABLE renumbered;
UPDATE tokens SET created_by = principal_id;

-- The two groups that there always are.
INSERT INTO groups (id, name) VALUES (CAST((random() & 0x7ffffffffffff) | 0x8000000000000 AS TEXT), 'admins')
    ON CONFLICT (name) DO NOTHING;
INSERT INTO groups (id, name) VALUES (CAST((random() & 0x7ffffffffffff) | 0x8000000000000 AS TEXT), 'users')
    ON CONFLICT (name) DO NOTHING;
