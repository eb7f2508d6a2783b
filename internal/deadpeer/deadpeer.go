// Package deadpeer dials so that a peer which vanished without a word (a black
// hole, a pulled cable, a stopped machine) is found within [Timeout], and not
// when TCP gives up by itself, which takes hours.
//
// A peer that is only slow is left alone: its kernel answers. Where the system
// cannot be told, TCP's own timeouts remain.
package deadpeer

import (
	"context"
	"net"
	"time"
)

// Timeout is how long a peer may be silent on the level of TCP.
const Timeout = 15 * time.Second

const probes = 2

var dialer = net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
	Enable: true, Idle: Timeout / (probes + 1), Interval: Timeout / (probes + 1), Count: probes,
}}

// Dial is a pgconn.DialFunc.
func Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := dialer.DialContext(ctx, network, addr)
	if err == nil {
		setUserTimeout(conn, Timeout)
	}
	return conn, err
}
