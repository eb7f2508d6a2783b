// Command crash kills the services under load, at random moments and at named
// steps, and judges what is left.
//
// For each seed it takes an empty database and empty topics on a real broker,
// runs api, relay and consumers as processes of their own (built with the tag
// crashpoints), places orders of every kind, and all the while kills one process
// after another with SIGKILL and starts it again. A named step counts only if
// the process said, by its last line, that it died there. When the kills are
// done the load runs to its end, and gapless verify judges: exit 0 is needed,
// and every order must have come to the end that its kind has.
//
// The seed decides who is killed when and where; the machine decides the rest,
// so a seed narrows a failure down but does not replay it instruction by
// instruction.
//
//	go run ./bench/crash -brokers 127.0.0.1:9092 -seeds 5 -kills 40
package main
