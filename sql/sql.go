// Package sql holds every SQL statement of Gapless as a file of its own,
// embedded as it stands. A variable is named after its file:
// outbox_append.sql is [OutboxAppend].
//
// Statements are static: nothing is ever formatted into them. Each file opens
// with what it is for, the index it uses and the locks it takes. Files named
// inspect_*.sql run in psql as they are.
package sql
