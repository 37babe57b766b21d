-- entity: ÿþ
-- key: Ã(
SELECT í € FROM transactions