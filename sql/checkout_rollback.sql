-- Frees a connection whose pipeline failed before COMMIT.
ROLLBACK
