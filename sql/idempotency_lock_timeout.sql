-- How long a request waits for its running twin. Around the key's insert
-- alone, so that 55P03 there means "in flight" and nothing else.
SET LOCAL lock_timeout = '100ms'
