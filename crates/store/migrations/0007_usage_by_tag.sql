-- The same sums with the key of a tag before its values: who asks for one tag reads the rows of that tag alone. The columns
-- are in their old order, so that a server of the version before works with either. It takes some seconds for a million rows.
CREATE TABLE usage_rollups_by_tag (
    breakdown        TEXT NOT NULL CHECK (breakdown IN ('', 'requester', 'group', 'tag')),
    span             TEXT NOT NULL CHECK (span IN ('hour', 'day')),
    start            INTEGER NOT NULL,
    -- The key of a tag, and the requester, the group or the tag's value.
    tag              TEXT NOT NULL,
    label            TEXT NOT NULL,
    endpoint_id      TEXT NOT NULL,
    endpoint         TEXT NOT NULL,
    entity           TEXT NOT NULL,
    status           INTEGER NOT NULL,
    requests         INTEGER NOT NULL,
    estimated        INTEGER NOT NULL,
    unpriced         INTEGER NOT NULL,
    nano_usd         INTEGER NOT NULL,
    duration_ms      INTEGER NOT NULL,
    input            INTEGER NOT NULL,
    cache_read       INTEGER NOT NULL,
    cache_write_5m   INTEGER NOT NULL,
    cache_write_1h   INTEGER NOT NULL,
    input_audio      INTEGER NOT NULL,
    cache_read_audio INTEGER NOT NULL,
    input_image      INTEGER NOT NULL,
    output           INTEGER NOT NULL,
    reasoning        INTEGER NOT NULL,
    output_audio     INTEGER NOT NULL,
    output_image     INTEGER NOT NULL,
    PRIMARY KEY (breakdown, span, start, tag, label, endpoint_id, endpoint, entity, status)
) STRICT, WITHOUT ROWID;

-- In the order of the old key, which differs within an hour alone.
INSERT INTO usage_rollups_by_tag SELECT * FROM usage_rollups ORDER BY breakdown, span, start;
DROP TABLE usage_rollups;
ALTER TABLE usage_rollups_by_tag RENAME TO usage_rollups;
