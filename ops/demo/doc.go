// Package demo runs the whole order pipeline in one process: checkout, relay,
// saga and participants, on a real Postgres started for it, an embedded broker
// and an in-process registry, or on the servers that the Config names.
//
// # Promise
//
// With Orders it places a mix of every outcome over its own HTTP API. With Exit
// it then waits until each order has come to its end, judges the invariants and
// reports; [Report.OK] only if every order ended as its kind must and every
// invariant holds. When Run returns, nothing that it started is left: no
// process, no port, no directory but the DataDir it was given.
//
// Every service logs in as itself, a member of one group role, as it would in
// production; a missing grant is seen here.
//
// # When the process dies
//
// With kill -9 the kernel ends the embedded Postgres; its temporary directory
// goes at the next start. With DataDir the next demo goes on where this one was.
//
// # What it does not do
//
// The embedded broker keeps everything in memory and is not Kafka. Nothing here
// is measured: see bench.
package demo
