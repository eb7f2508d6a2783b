// Command inbox measures how many events a second one consumer brings from Kafka
// to committed rows: one upsert an event, on a durable Postgres and a real Kafka.
//
// Contenders alternate in each round, over the same topic, and medians are
// printed:
//
//	gapless    the consumers package as it is used: claim, upsert, offsets after COMMIT
//	no-inbox   the same client and transactions of the same size without a claim: what
//	           effectively-once costs is the distance to this
//	per-event  claim and upsert in a transaction of their own for each event, on a
//	           part of the topic
//
// The clock runs from the first transaction to the last COMMIT's answer, so that
// joining the group, which takes Kafka seconds, is not in it.
//
//	go run ./bench/inbox -brokers 127.0.0.1:9092 -events 300000
package main
