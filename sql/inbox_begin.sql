-- Opens a batch's transaction. READ COMMITTED, whatever the default is: the
-- check for blocked keys must see what committed while the claim waited.
BEGIN ISOLATION LEVEL READ COMMITTED
