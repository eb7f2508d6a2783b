// Package wire is a TCP proxy that harms what goes through it: it stands between a
// relay and its servers.
//
// # What it can do
//
//	Delay       each piece waits
//	Rate        so many bytes a second in each direction, over all links
//	OneWay      one direction is lost, the other arrives
//	BlackHole   nothing arrives and nothing is answered, new connections included
//	HalfOpen    the peers of the links there are have gone without a word; new
//	            connections are fine
//	Reset       the links there are end with RST
//	CutAnswers  a produce request of Kafka is carried out, its answer is lost, and
//	            the link ends with RST
//
// [Proxy.Heal] ends all of them: what the kernel holds back is sent again then, as
// after a partition. [Proxy.Counts] tells how often each really happened, so that a
// run whose fault never fired can fail.
//
// # Silence
//
// A proxy that merely stops forwarding is no black hole: its kernel goes on
// acknowledging, and a client that watches TCP (keepalive, TCP_USER_TIMEOUT) finds
// all well. So on Linux what a client sends is dropped by a socket filter below TCP
// (socket(7), SO_ATTACH_FILTER): nothing is acknowledged, no keepalive is answered,
// a connection attempt has no reply. The socket counts what it has dropped.
//
// The loss from server to client is softer: the server's bytes wait here, and the
// client's are acknowledged still. It is what a server looks like that reads and does
// not answer.
//
// # What it does not do
//
// It knows of Kafka's protocol only the length, the kind and the number of a request,
// and of Postgres' nothing. Elsewhere than on Linux silence is only a proxy that does
// not forward.
package wire
