// Package replication owns one walsender connection: it asks who the server
// is, starts a slot, takes the stream apart into frames and answers.
//
// # Promise
//
//   - A Conn belongs to one goroutine; only Interrupt may be called from
//     another.
//   - Fill waits for the network, and never longer than told; Next takes frames
//     from memory and never waits. Frames are views into the buffer, valid
//     until the next Fill.
//   - Status never sends a flush position of 0 (the server would take the
//     write position for it and drop what was not relayed).
//   - Whatever the server says at the end of a stream comes out as an error,
//     a *pgconn.PgError where it sent one.
//
// # Wake-ups
//
// The walsender writes each message by itself, and on loopback the sender's
// core pays for waking the reader. While messages come faster than a few
// thousand a second, a TCP connection asks the kernel (SO_RCVLOWAT) to wake it
// for tens of kilobytes at once, or after two milliseconds; told that it is a
// second behind, for hundreds, or after twelve. With a slower stream, with TLS,
// on a Unix-domain socket and on other systems than Linux it reads what is there.
//
// A peer that vanished without a word is found by TCP_USER_TIMEOUT and TCP
// keepalives, in 15 s.
//
// # What it does not do
//
// It keeps no position and decides nothing: see package core. It does not
// reconnect.
package replication
