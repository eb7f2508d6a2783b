package sql

import _ "embed"

// PipelineInstalled tells whether the database holds the order pipeline.
//
//go:embed pipeline_installed.sql
var PipelineInstalled string
