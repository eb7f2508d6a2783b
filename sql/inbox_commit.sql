-- Ends a batch's transaction. In an aborted one it answers ROLLBACK, not an error.
COMMIT
