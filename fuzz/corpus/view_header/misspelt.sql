-- entitty: card
-- kye: x
-- : 
--
SELECT card_id FROM transactions