package sql

import _ "embed"

// SchemaLock serialises those who store registered schemas.
//
//go:embed schema_lock.sql
var SchemaLock string

// SchemaConflict finds what a registry's answer would contradict.
//
//go:embed schema_conflict.sql
var SchemaConflict string

// SchemaStore stores one registered version.
//
//go:embed schema_store.sql
var SchemaStore string

// SchemaStored reads every stored version.
//
//go:embed schema_stored.sql
var SchemaStored string
