-- Fences are drawn from a sequence: no row is locked for them, so that processes never wait for each other. It begins
-- above every number that the table has given out, and the table says in a backup how far it has come.
CREATE SEQUENCE fence AS BIGINT MINVALUE 0 START WITH 0 CACHE 1 NO CYCLE;
SELECT setval('fence', (SELECT MAX(reserved) FROM fences), true);
