-- Whether this database holds the order pipeline. Reads the catalogue alone, and
-- takes no right on the schema.
SELECT to_regnamespace('checkout') IS NOT NULL
