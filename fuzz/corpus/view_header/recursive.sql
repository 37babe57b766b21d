-- entity: card
-- key: card_id
WITH RECURSIVE n AS (SELECT 1 AS card_id UNION ALL SELECT card_id + 1 FROM n) SELECT * FROM n