-- Every config and every ai_gateway block that an endpoint ever had: numbered, never changed.
CREATE TABLE endpoint_revisions (
    endpoint_id    TEXT NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    number         INTEGER NOT NULL,
    config_version INTEGER NOT NULL,
    author         TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    document       TEXT NOT NULL,
    PRIMARY KEY (endpoint_id, number)
) STRICT;

-- Endpoints from before: what they have is their first revision.
INSERT INTO endpoint_revisions (endpoint_id, number, config_version, author, created_at, document)
SELECT id, 1, config_version, json_extract(document, '$.config_author'), updated_at,
       json_object('version', '1', 'config', json_extract(document, '$.config'), 'ai_gateway', json_extract(document, '$.ai_gateway'))
FROM endpoints;
