-- view: device
-- entity: device
-- key: device_id
SELECT
  device_id,
  count(*) AS events_24h,
  -- Lists, because plain DataFusion, as in a preview, takes 40 KiB a group for count(DISTINCT).
  CAST(cardinality(array_agg(DISTINCT ip_address)) AS BIGINT) AS unique_ips_24h,
  CAST(cardinality(array_agg(DISTINCT timezone))   AS BIGINT) AS unique_timezones_24h,
  max(event_time) AS last_seen
FROM devices
WHERE event_time > now() - INTERVAL '24 hours'
GROUP BY device_id
