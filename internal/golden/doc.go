// Package golden holds what a real Debezium sends for given rows, so that the
// relay's records can be compared with it byte by byte.
//
// cases.json was captured, not written by hand: each [Case] says how the table is
// made, what options the connector has and which statements are run, and then what
// arrived in which topic and partition, or why the connector's task has failed.
//
// [Capture] does it again on servers that are given to it. Its test, behind the
// build tag jvm, tells when another Debezium or another Connect sends other bytes:
//
//	go test -tags jvm ./internal/golden -run TestDebeziumStillSendsThis
//
// and writes the file anew when GAPLESS_GOLDEN_WRITE is set. heartbeats.json has what
// connectors send as heartbeats, captured by TestDebeziumStillBeatsLikeThis.
//
// # What it does not do
//
// It does not compare record timestamps but where a case is about them: without an
// option for it, Debezium stamps a record with the moment of its own work.
package golden
