// Command pipeline measures the whole order pipeline: orders placed over HTTP at
// a steady rate, each worked off by saga and participants to its end, with
// durable Postgres, a real Kafka and every process on this one machine, the load
// generator included.
//
// It prints, every five seconds, orders placed, orders ended and the backlog
// between them; then the rate at which orders ended over the measured window,
// the backlog at its ends, the times from placement to end, and the processors'
// time that each process took per order, Postgres' by login and Kafka's too.
//
//	go run ./bench/pipeline -brokers 127.0.0.1:9092 -registry URL -partitions 12 -rate 500 -for 2m
package main
