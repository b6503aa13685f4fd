-- Endpoints as they were before their config was replaced or they were deleted, until the table of what is served has them.
CREATE TABLE past_endpoints (
    number         INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT NOT NULL,
    name           TEXT NOT NULL,
    creator        TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    updated_at     INTEGER NOT NULL,
    config_version INTEGER NOT NULL,
    document       TEXT NOT NULL,
    deleted_at     INTEGER
) STRICT;

-- Versions from before, of which the table may lack some.
INSERT INTO past_endpoints (id, name, creator, created_at, updated_at, config_version, document)
SELECT e.id, e.name, e.creator, e.created_at, r.created_at, r.config_version,
       json_set(e.document, '$.config', json_extract(r.document, '$.config'), '$.config_author', r.author, '$.config_created_at', r.created_at)
FROM endpoint_revisions r JOIN endpoints e ON e.id = r.endpoint_id
WHERE r.config_version < e.config_version
  AND r.number = (SELECT min(first.number) FROM endpoint_revisions first
                  WHERE first.endpoint_id = r.endpoint_id AND first.config_version = r.config_version)
ORDER BY r.endpoint_id, r.number;
