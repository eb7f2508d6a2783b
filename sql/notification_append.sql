-- Writes the mails of a batch. An event has one mail, also when a rebuild reads
-- it again.
-- Index: messages_pkey, messages_event_id_key. Locks: ROW EXCLUSIVE.
INSERT INTO notification.messages (message_id, event_id, order_id, customer_id, kind, subject, body, status)
SELECT *
FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
ON CONFLICT DO NOTHING
