package sql

import _ "embed"

// SchemaIDs reads the newest registered schema id of every subject.
//
//go:embed schema_ids.sql
var SchemaIDs string
