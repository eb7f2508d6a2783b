-- Opens the transaction of an order. The isolation is said, because what
-- follows relies on it: a waiting insert of a key must see the twin's commit.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE
