-- entity: карта
-- key: "ключ"
SELECT card_id AS "ключ", 'ß' || card_id AS "ẞ" FROM transactions WHERE ключ = 1