-- Ends the transaction of an order. Until its answer is read the outcome is
-- unknown.
COMMIT
