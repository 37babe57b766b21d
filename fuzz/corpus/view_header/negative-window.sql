-- entity: card
-- key: card_id
SELECT card_id, count(*) AS n FROM transactions WHERE event_time > now() + INTERVAL '5 minutes' GROUP BY card_id