-- entity: card
-- key: card_id
-- ttl: 24h
-- resolution: 10s
SELECT card_id, count(*) FILTER (WHERE event_time > now() - INTERVAL '5 minutes') AS n
FROM transactions
WHERE event_time > now() - INTERVAL '24 hours'
GROUP BY card_id
