// Command latency measures the time from a commit to the consumer that reads
// the record, and from the start of a relay to its first record.
//
// Writer and consumer are one process, so both times come from one clock; the
// relay is a process of its own. The writer commits at a steady rate, one event
// a transaction on a durable Postgres, and notes when COMMIT has returned; the
// consumer notes when it holds the record of that id. A record that arrives
// before the writer has COMMIT's answer counts as zero.
//
//	go run ./bench/latency -brokers 127.0.0.1:9092 -rate 500 -for 30s
package main
