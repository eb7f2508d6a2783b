//go:build !linux

package deadpeer

import (
	"net"
	"time"
)

func setUserTimeout(net.Conn, time.Duration) {}
