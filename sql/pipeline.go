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

	// SessionClosed is for those of them that run no statement of anybody else's.
	//
	//go:embed session_closed.sql
	SessionClosed string
)
