WITH RECURSIVE ranges (of, low, high) AS (SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each($7)),
slots (of, slot, high) AS (
    SELECT of, (SELECT MIN(start) FROM usage_rollups WHERE breakdown = $8 AND span = of AND start >= low AND start < high), high
    FROM ranges
    UNION ALL
    SELECT of, (SELECT MIN(start) FROM usage_rollups WHERE breakdown = $8 AND span = of AND start > slot AND start < high), high
    FROM slots WHERE slot IS NOT NULL)
SELECT
    CASE $1 WHEN 'hour' THEN start WHEN 'day' THEN start - start % 86400 ELSE $2 END AS begin,
    CASE WHEN $3 THEN label ELSE '' END AS who, CASE WHEN $4 THEN endpoint ELSE '' END AS at,
    CASE WHEN $5 THEN entity ELSE '' END AS model, CASE WHEN $6 THEN status ELSE 0 END AS code,
    CAST(TOTAL(requests) AS INTEGER), CAST(TOTAL(estimated) AS INTEGER), CAST(TOTAL(unpriced) AS INTEGER),
    CAST(TOTAL(nano_usd) AS INTEGER), CAST(TOTAL(duration_ms) AS INTEGER), CAST(TOTAL(input) AS INTEGER),
    CAST(TOTAL(cache_read) AS INTEGER), CAST(TOTAL(cache_write_5m) AS INTEGER), CAST(TOTAL(cache_write_1h) AS INTEGER),
    CAST(TOTAL(input_audio) AS INTEGER), CAST(TOTAL(cache_read_audio) AS INTEGER), CAST(TOTAL(input_image) AS INTEGER),
    CAST(TOTAL(output) AS INTEGER), CAST(TOTAL(reasoning) AS INTEGER), CAST(TOTAL(output_audio) AS INTEGER),
    CAST(TOTAL(output_image) AS INTEGER)
FROM slots CROSS JOIN usage_rollups ON breakdown = $8 AND span = of AND start = slot AND tag = $9
WHERE ($10 IS NULL OR label = $10) AND ($11 IS NULL OR endpoint = $11)
    AND ($12 IS NULL OR entity = $12) AND ($13 IS NULL OR status = $13)
    AND ($14 IS NULL OR (breakdown = 'requester' AND label = $14) OR endpoint_id IN (SELECT value FROM json_each($15)))
GROUP BY begin, who, at, model, code ORDER BY begin, who, at, model, code LIMIT $16
