// Command crash kills the services under load, at random moments and at named
// steps, and judges what is left.
//
// For each seed it takes an empty database and empty topics on a real broker,
// and runs api, relay and consumers as processes of their own, built with the
// tag crashpoints. Orders of every kind are placed without a pause while the
// three services are killed, each on a schedule of its own, and started again.
//
// Every second life of a process is armed with one of its steps. Those are
// dealt like cards, so that each comes round, and one that did not fire is dealt
// again. A life ends at the step, or by SIGKILL from outside. A death counts
// only if the kernel says that it was SIGKILL's, and at a step only if the
// process named the step in its last line. A process that ends in any other way
// ends the run: it did not survive.
//
// The consumers are static members of their groups (consume --instance), which
// have their partitions back at once. In every second run their last life is
// not: it has to wait until the session of the dead one has ended.
//
// When the kills are done the last orders come to their ends, the consumers to
// the ends of their topics, and then
//
//   - every order must have ended as its kind must, and none exists that no
//     customer placed;
//   - gapless verify must exit 0 with nothing too young and nothing left out;
//   - each service must end cleanly when asked.
//
// Over all seeds each step must have fired at least once.
//
// The seed decides who is killed when and where; the machine decides the rest,
// so a seed narrows a failure down but does not replay it instruction by
// instruction.
//
//	go run ./bench/crash -brokers 127.0.0.1:9092 -seeds 5 -kills 40
package main
