-- view: transaction
-- entity: card
-- key: card_id
WITH aggregates AS (
  SELECT
    card_id,

    -- The last 5 minutes.
    count(*)           FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS txn_count_5m,
    sum(amount)        FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS amount_sum_5m,
    max(amount)        FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS amount_max_5m,
    min(amount)        FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS amount_min_5m,
    stddev_pop(amount) FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS amount_std_5m,
    min(event_time)    FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS first_time_5m,
    nth_value(event_time, 2 ORDER BY event_time DESC, _offset DESC)
                       FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS second_last_time_5m,
    -- Lists, counted below: plain DataFusion, as in a preview, takes 40 KiB a group for count(DISTINCT).
    array_agg(DISTINCT geo_country) FILTER (
      WHERE geo_country IS NOT NULL AND event_time > now() - INTERVAL '5 minutes'
    ) AS countries_5m,
    array_agg(DISTINCT geo_city) FILTER (
      WHERE geo_city IS NOT NULL AND event_time > now() - INTERVAL '5 minutes'
    ) AS cities_5m,
    count(*) FILTER (
      WHERE mcc IN ('6011', '5967', '7011', '7995') AND event_time > now() - INTERVAL '5 minutes'
    ) AS high_risk_count_5m,
    count(*) FILTER (
      WHERE mcc IN ('5311', '4511') AND event_time > now() - INTERVAL '5 minutes'
    ) AS medium_risk_count_5m,
    count(*) FILTER (
      WHERE amount < 5 AND event_time > now() - INTERVAL '5 minutes'
    ) AS small_amount_count_5m,
    count(*) FILTER (
      WHERE amount >= 50 AND amount % 50 = 0 AND event_time > now() - INTERVAL '5 minutes'
    ) AS round_amount_count_5m,

    -- The last 30 minutes.
    count(*)    FILTER (WHERE event_time > now() - INTERVAL '30 minutes') AS txn_count_30m,
    sum(amount) FILTER (WHERE event_time > now() - INTERVAL '30 minutes') AS amount_sum_30m,

    -- The last 24 hours. The latest event of all is also the latest of every window that has one.
    count(*) AS txn_count_24h,
    max(event_time) AS last_time,
    last_value(amount      ORDER BY event_time, _offset) AS last_amount,
    last_value(geo_country ORDER BY event_time, _offset) AS last_country,
    last_value(ip_address  ORDER BY event_time, _offset) AS last_ip_address
  FROM transactions
  WHERE event_time > now() - INTERVAL '24 hours'
  GROUP BY card_id
),

-- A timestamp cast to BIGINT is in microseconds. An average and a share of nothing are NULL.
measures AS (
  SELECT
    *,
    amount_sum_5m / nullif(txn_count_5m, 0) AS amount_avg_5m,
    coalesce(CAST(last_time AS BIGINT) - CAST(first_time_5m AS BIGINT), 0) / 60000000.0 AS span_min_5m,
    coalesce(CAST(cardinality(countries_5m) AS BIGINT), 0) AS unique_countries_5m,
    coalesce(CAST(cardinality(cities_5m)    AS BIGINT), 0) AS unique_cities_5m,
    CAST(high_risk_count_5m    AS DOUBLE) / nullif(txn_count_5m, 0) AS high_risk_txn_ratio,
    CAST(medium_risk_count_5m  AS DOUBLE) / nullif(txn_count_5m, 0) AS medium_risk_txn_ratio,
    CAST(small_amount_count_5m AS DOUBLE) / nullif(txn_count_5m, 0) AS small_amount_ratio,
    CAST(round_amount_count_5m AS DOUBLE) / nullif(txn_count_5m, 0) AS round_amount_ratio
  FROM aggregates
),

scores AS (
  SELECT
    *,
    CASE
      WHEN txn_count_5m < 2 OR span_min_5m = 0 THEN 0.0
      ELSE least(txn_count_5m / (span_min_5m / 60) / 10, 1.0)
    END AS velocity_score,
    -- Amounts that are all the same deviate by nothing, which rounding must not turn into very little.
    CASE
      WHEN amount_min_5m = amount_max_5m THEN 0.0
      ELSE abs(last_amount - amount_avg_5m) / amount_std_5m
    END AS amount_zscore
  FROM measures
)

SELECT
  card_id,
  txn_count_5m,
  txn_count_30m,
  txn_count_24h,
  coalesce(amount_sum_5m, 0.0) AS amount_sum_5m,
  amount_avg_5m,
  amount_max_5m,
  amount_min_5m,
  CASE WHEN amount_min_5m = amount_max_5m THEN 0.0 ELSE amount_std_5m END AS amount_std_5m,
  coalesce(amount_sum_30m, 0.0) AS amount_sum_30m,
  amount_sum_30m / nullif(txn_count_30m, 0) AS amount_avg_30m,
  unique_countries_5m,
  unique_cities_5m,
  CASE WHEN txn_count_5m > 0 THEN least(unique_countries_5m / 3.0, 1.0) END AS geo_diversity_score,
  unique_countries_5m > 2 AS is_geo_diverse,
  (CAST(last_time AS BIGINT) - CAST(second_last_time_5m AS BIGINT)) / 60000000.0 AS time_since_last_txn_min,
  CASE WHEN txn_count_5m > 1 THEN span_min_5m / (txn_count_5m - 1) END AS avg_time_between_txns_min,
  velocity_score,
  velocity_score > 0.7 AS is_high_velocity,
  txn_count_5m / greatest(span_min_5m, 1.0) AS txn_velocity_per_min,
  coalesce(amount_sum_5m, 0.0) / greatest(span_min_5m, 1.0) AS amount_velocity_per_min,
  high_risk_txn_ratio,
  medium_risk_txn_ratio,
  high_risk_count_5m > 0 AS has_high_risk_mcc,
  small_amount_ratio,
  coalesce(small_amount_ratio > 0.2, FALSE) AS has_small_amounts,
  round_amount_ratio,
  coalesce(round_amount_ratio > 0.3, FALSE) AS has_round_amounts,
  amount_zscore,
  -- Four equal amounts and a fifth make exactly 2; without round() the order of adding would decide.
  coalesce(round(amount_zscore, 9) > 2, FALSE) AS is_amount_outlier,
  coalesce(last_country IN ('CN', 'RU', 'NG', 'BR', 'MX', 'IN', 'ID', 'VN'), FALSE) AS is_high_risk_country,
  contains(last_ip_address, 'tor_exit_')
    OR contains(last_ip_address, 'proxy_')
    OR contains(last_ip_address, 'vpn_') AS is_suspicious_ip,
  CAST(date_part('hour', last_time) AS BIGINT) AS hour_of_day,
  date_part('dow', last_time) IN (0, 6) AS is_weekend,
  txn_count_5m AS window_event_count,
  last_time AS feature_timestamp
FROM scores
