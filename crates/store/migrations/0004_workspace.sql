-- Files and folders of the workspace, such as the state that `databricks bundle deploy` keeps. What a file
-- holds is sealed among the secrets of a hidden scope, under the object's id.
CREATE TABLE workspace_objects (
    id          TEXT PRIMARY KEY,
    -- Without the prefix /Workspace, which means the same.
    path        TEXT NOT NULL UNIQUE,
    parent      TEXT NOT NULL,
    kind        TEXT NOT NULL CHECK (kind IN ('DIRECTORY', 'FILE', 'NOTEBOOK')),
    -- Of a notebook.
    language    TEXT NOT NULL,
    size        INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    modified_at INTEGER NOT NULL
) STRICT;

CREATE INDEX workspace_children ON workspace_objects (parent, path);

-- The folders that there always are: numbers of 53 bits, as all ids that clients read as integers.
INSERT INTO workspace_objects (id, path, parent, kind, language, size, created_at, modified_at)
SELECT CAST((random() & 0x7ffffffffffff) | 0x8000000000000 AS TEXT), column1, column2, 'DIRECTORY', '', 0, unixepoch() * 1000, unixepoch() * 1000
FROM (VALUES ('/', ''), ('/Users', '/'), ('/Shared', '/'));

-- A home for everybody who is there already, with the principal's id.
INSERT INTO workspace_objects (id, path, parent, kind, language, size, created_at, modified_at)
SELECT id, '/Users/' || name, '/Users', 'DIRECTORY', '', 0, created_at, created_at
FROM principals WHERE instr(name, '/') = 0
ON CONFLICT DO NOTHING;

-- Of folders; they hold for all that is in them.
CREATE TABLE workspace_grants (
    object_id    TEXT NOT NULL REFERENCES workspace_objects (id) ON DELETE CASCADE,
    grantee_kind TEXT NOT NULL CHECK (grantee_kind IN ('user', 'group', 'service_principal')),
    grantee      TEXT NOT NULL,
    level        TEXT NOT NULL CHECK (level IN ('CAN_READ', 'CAN_RUN', 'CAN_EDIT', 'CAN_MANAGE')),
    PRIMARY KEY (object_id, grantee_kind, grantee)
) STRICT;
