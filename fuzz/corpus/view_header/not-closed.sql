-- entity: card
-- key: card_id
SELECT 'a FROM transactions /* 