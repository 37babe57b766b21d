-- view: transaction_pattern
-- entity: card
-- key: card_id
WITH device_hours AS (
  SELECT
    card_id,
    device_id,
    date_part('hour', event_time) AS hour_of_day,
    count(*) FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS events_5m,
    count(*) FILTER (
      WHERE date_part('dow', event_time) IN (0, 6) AND event_time > now() - INTERVAL '5 minutes'
    ) AS weekend_events_5m,
    max(event_time) AS last_time,
    last_value(_offset ORDER BY event_time, _offset) AS last_offset
  FROM transactions
  WHERE event_time > now() - INTERVAL '24 hours'
  GROUP BY card_id, device_id, date_part('hour', event_time)
),

-- Each row also learns what its device and what its hour have in all.
totals AS (
  SELECT
    *,
    row_number()   OVER (PARTITION BY card_id, device_id ORDER BY hour_of_day) AS device_row,
    sum(events_5m) OVER (PARTITION BY card_id, device_id) AS device_events_5m,
    sum(events_5m) OVER (PARTITION BY card_id, hour_of_day) AS hour_events_5m
  FROM device_hours
),

-- A device counts by its first row. The last device is that of the last event.
patterns AS (
  SELECT
    card_id,
    sum(events_5m) AS events_5m,
    sum(weekend_events_5m) AS weekend_events_5m,
    count(*) FILTER (WHERE device_row = 1 AND device_events_5m > 0) AS unique_devices_5m,
    count(*) FILTER (WHERE device_row = 1) AS unique_devices_24h,
    last_value(device_events_5m ORDER BY last_time, last_offset) AS last_device_events_5m,
    first_value(hour_of_day ORDER BY hour_events_5m DESC, hour_of_day) AS most_active_hour
  FROM totals
  GROUP BY card_id
)

SELECT
  card_id,
  unique_devices_5m,
  unique_devices_24h,
  CASE
    WHEN events_5m < 2 THEN 0.0
    ELSE CAST(last_device_events_5m AS DOUBLE) / events_5m
  END AS device_reuse_ratio,
  CAST(weekend_events_5m AS DOUBLE) / nullif(events_5m, 0) AS weekend_ratio_5m,
  CASE WHEN events_5m > 0 THEN CAST(most_active_hour AS BIGINT) END AS most_active_hour_5m
FROM patterns
