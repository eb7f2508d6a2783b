-- Drops what was taken off the outbox and is proven to be relayed. Raises as
-- outbox_retire.sql does. No lock on the outbox.
SELECT dropped, kept
FROM gapless.outbox_drop_retired()
