-- How long a request waits for its running twin. Around the key's insert
-- alone, so that 55P03 there means "in flight". Not shorter: the insert also
-- waits its turn to extend the table, which on a busy disk may take a while.
SET LOCAL lock_timeout = '500ms'
