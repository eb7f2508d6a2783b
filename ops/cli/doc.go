// Package cli is the gapless program: its commands, their flags, and how an
// error becomes words and an exit code.
//
// # Where a value comes from
//
// Flags, then the environment (GAPLESS_<FLAG>, for three flags also the names
// that the ecosystem uses: DATABASE_URL, KAFKA_BROKERS, SCHEMA_REGISTRY_URL),
// then the file of --config, then defaults. Every variable has a twin with the
// suffix _FILE that names a file holding the value, for secrets. A key that the
// file has and the program does not know is an error.
//
// # Exit codes
//
//	0  done
//	1  failed
//	2  the command line, the environment or the file is wrong
//	3  refused: going on would lose or repeat data; the message says what to do
//
// Data goes to stdout, everything else to stderr. Errors are one line, but for a
// refusal that has statements to run: each is a line of its own. With --log-format
// json a refusal is a record of the log and nothing else.
//
// # What it does not do
//
// It holds no logic of its own: each command is a few lines around a package
// that a Go program can use too.
package cli
