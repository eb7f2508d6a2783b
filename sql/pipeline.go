package sql

import _ "embed"

var (
	// PipelineInstalled tells what of Gapless the database holds.
	//
	//go:embed pipeline_installed.sql
	PipelineInstalled string

	// SessionBegin is for connections of programs.
	//
	//go:embed session_begin.sql
	SessionBegin string
)
