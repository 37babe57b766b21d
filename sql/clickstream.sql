-- view: clickstream
-- entity: user
-- key: user_id
WITH sessions AS (
  SELECT
    user_id,
    session_id,
    min(event_time) AS first_time,
    max(event_time) AS last_time,
    -- A page view is an event whose action is VIEW, here and below.
    count(*) FILTER (WHERE action_type = 'VIEW') AS page_views,
    -- Distinct values are kept as lists and counted below: lists of several sessions can be joined into one.
    array_agg(DISTINCT category_id) FILTER (WHERE category_id IS NOT NULL) AS categories,
    count(*) FILTER (WHERE action_type = 'ADD_TO_CART') AS cart_adds,
    count(*) FILTER (WHERE action_type = 'REMOVE_FROM_CART') AS cart_removes,
    count(*) FILTER (WHERE action_type = 'PURCHASE') AS purchases,

    -- The part of the last 5 minutes. Sums and counts rather than averages: they add up over sessions.
    count(*) FILTER (
      WHERE action_type = 'VIEW' AND event_time > now() - INTERVAL '5 minutes'
    ) AS page_views_5m,
    count(*) FILTER (
      WHERE action_type = 'CLICK' AND event_time > now() - INTERVAL '5 minutes'
    ) AS clicks_5m,
    array_agg(DISTINCT page_type) FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS page_types_5m,
    sum(dwell_time_ms) FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS dwell_time_ms_5m,
    count(*) FILTER (
      WHERE dwell_time_ms <> 0 AND event_time > now() - INTERVAL '5 minutes'
    ) AS dwell_count_5m,
    sum(scroll_depth) FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS scroll_depth_5m,
    count(*) FILTER (
      WHERE scroll_depth <> 0 AND event_time > now() - INTERVAL '5 minutes'
    ) AS scroll_count_5m
  FROM clicks
  WHERE event_time > now() - INTERVAL '24 hours'
  GROUP BY user_id, session_id
),

-- The session with the latest event is the last one; the higher session_id wins a tie.
users AS (
  SELECT
    user_id,
    last_value(session_id   ORDER BY last_time, session_id) AS session_id,
    last_value(first_time   ORDER BY last_time, session_id) AS first_time,
    last_value(page_views   ORDER BY last_time, session_id) AS page_views,
    last_value(categories   ORDER BY last_time, session_id) AS categories,
    last_value(cart_adds    ORDER BY last_time, session_id) AS cart_adds,
    last_value(cart_removes ORDER BY last_time, session_id) AS cart_removes,
    last_value(purchases    ORDER BY last_time, session_id) AS purchases,
    max(last_time) AS last_time,
    sum(page_views_5m) AS page_views_5m,
    sum(clicks_5m) AS clicks_5m,
    array_agg(page_types_5m) FILTER (WHERE page_types_5m IS NOT NULL) AS page_types_5m,
    sum(dwell_time_ms_5m) AS dwell_time_ms_5m,
    sum(dwell_count_5m) AS dwell_count_5m,
    sum(scroll_depth_5m) AS scroll_depth_5m,
    sum(scroll_count_5m) AS scroll_count_5m,
    count(*) AS sessions_24h,
    sum(page_views) AS total_page_views_24h
  FROM sessions
  GROUP BY user_id
),

measures AS (
  SELECT
    *,
    CAST(purchases    AS DOUBLE) / greatest(cart_adds, 1) AS conversion_rate,
    CAST(cart_removes AS DOUBLE) / greatest(cart_adds, 1) AS cart_abandonment_rate,
    coalesce(CAST(clicks_5m AS DOUBLE) / nullif(page_views_5m, 0), 0.0) AS click_rate_5m,
    coalesce(CAST(dwell_time_ms_5m AS DOUBLE) / nullif(dwell_count_5m, 0) / 1000, 0.0) AS avg_dwell_time_sec,
    coalesce(scroll_depth_5m / nullif(scroll_count_5m, 0), 0.0) AS avg_scroll_depth
  FROM users
),

scores AS (
  SELECT
    *,
    0.3 * least(avg_dwell_time_sec / 30, 1.0)
      + 0.2 * avg_scroll_depth
      + 0.3 * least(page_views / 10.0, 1.0)
      + 0.2 * conversion_rate AS engagement_score
  FROM measures
)

SELECT
  user_id,
  session_id,
  -- A timestamp cast to BIGINT is in microseconds.
  (CAST(last_time AS BIGINT) - CAST(first_time AS BIGINT)) / 60000000.0 AS session_duration_min,
  page_views AS pages_per_session,
  coalesce(CAST(cardinality(categories) AS BIGINT), 0) AS unique_categories_session,
  cart_adds AS cart_adds_session,
  cart_removes AS cart_removes_session,
  purchases AS purchases_session,
  conversion_rate AS conversion_rate_session,
  cart_abandonment_rate,
  page_views_5m,
  coalesce(CAST(cardinality(array_distinct(flatten(page_types_5m))) AS BIGINT), 0) AS unique_pages_5m,
  click_rate_5m,
  avg_dwell_time_sec,
  avg_scroll_depth,
  sessions_24h,
  total_page_views_24h,
  engagement_score,
  -- Without round() the order of adding would decide where the score is exactly 0.7.
  round(engagement_score, 9) > 0.7 AS is_high_engagement,
  conversion_rate > 0.1 AS is_likely_purchaser,
  last_time AS feature_timestamp
FROM scores
