-- Abandons a batch's transaction; the connection can be used again.
ROLLBACK
