-- Whether a published table holds no row. The relay puts the quoted name of a
-- table of its publication in the place of gapless.outbox.
SELECT NOT EXISTS (SELECT FROM gapless.outbox) AS empty
