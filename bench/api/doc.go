// Command api measures POST /v1/orders against pgbench with the same
// statements, on one durable Postgres, and the latency at half that load.
//
//	go run ./bench/api [-rounds 5] [-seconds 5] [-clients 16]
//
// Contenders alternate; medians are printed. pgbench runs twice in each round:
// a statement at a time, and as one pipeline. The statements are those of the
// package sql, taken from there, with values for their parameters. The API runs
// in a process of its own with the rights of gapless_app; the load generator
// shares the machine with it, as pgbench does with Postgres.
//
// It needs initdb, postgres and pgbench on the machine.
package main
