-- entity: card
-- key: card_id
CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'