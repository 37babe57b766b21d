-- entity: a
-- entity: b
-- key: ,,,
-- ttl: 99999999999999999999h
-- resolution: 0s
-- view: ../../etc
SELECT card_id FROM transactions