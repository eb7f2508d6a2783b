// Command faults makes one fault after the other under a load, lets it heal, waits
// until all is quiet, and judges what was recorded.
//
// # A run
//
// One Postgres and one Apache Kafka stay for all runs. A run is one fault with one
// seed, and has topics of its own:
//
//  1. The relay runs, as a process of its own, and reaches its servers through
//     proxies (package wire). Writers commit transactions of one to five rows over a
//     few keys, with an aggregate version that is counted under the key's row lock;
//     some are rolled back on purpose.
//  2. The fault is made, and must prove that it happened: by the kernel's word on how
//     a process ended, by a line of a server's log, by a count of the proxy. A run
//     whose fault never fired fails.
//  3. The fault heals, new records must come, and the writers stop.
//  4. When every row is in Kafka the relays are asked to stop, and must end with exit
//     code 0. Then each topic is read to its end.
//  5. The history (what each writer knows of each transaction, what Kafka and the
//     database hold, when each stream began and where) goes to a file, and package
//     check judges it.
//
// The seed decides the moments, the hits and the sizes; the machine decides the rest,
// so a seed narrows a failure down and does not replay it instruction by
// instruction.
//
//	go run ./bench/faults                       three seeds of each fault
//	go run ./bench/faults -only zombie -seeds 9
//	go run ./bench/faults -out docs/faults.md   writes the table
//
// The exit code is 0 only when in every run nothing was lost, nothing was made up, no
// key was out of order, nothing was repeated that must not be, and the fault fired.
//
// # What it does not do
//
// No failover and no loss of a slot: those are refusals, and the relay's own tests
// hold them. One broker, so that a leader moves on kfake alone. Consumers are
// bench/crash's.
package main
