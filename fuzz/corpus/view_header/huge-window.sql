-- entity: card
-- key: card_id
SELECT card_id, count(*) AS n FROM transactions WHERE event_time > now() - INTERVAL '99999999999 years' GROUP BY card_id