-- Finished calls summed up by the hour and by the day (UTC), in several breakdowns that each sum up to all calls: by
-- nothing (''), by requester, by each group of the requester, by each tag. Times are seconds since the epoch.
CREATE TABLE usage_rollups (
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
    PRIMARY KEY (breakdown, span, start, label, tag, endpoint_id, endpoint, entity, status)
) STRICT, WITHOUT ROWID;

-- The last segment of each journal that is in the sums.
CREATE TABLE usage_journals (
    journal_id TEXT PRIMARY KEY,
    segment    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The tags that are kept apart in an hour.
CREATE TABLE usage_tags (
    hour  INTEGER NOT NULL,
    tag   TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (hour, tag, value)
) STRICT, WITHOUT ROWID;
