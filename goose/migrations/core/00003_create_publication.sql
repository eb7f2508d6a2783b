-- The publication comes before the slot and before the first row: a slot made
-- first ends in "publication does not exist" for ever. Tables are added by the
-- components that own them. Inserts only, so that retention costs no decoding;
-- via the root, so that partitions come and go without touching it.

-- +goose Up

CREATE PUBLICATION gapless WITH (publish = 'insert', publish_via_partition_root = true);

-- +goose Down

DROP PUBLICATION IF EXISTS gapless;
