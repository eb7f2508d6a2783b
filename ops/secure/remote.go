package secure

import (
	"net"
	"strings"
)

// Remote tells whether a host, as a URL or a list of brokers names it, is another
// machine: what goes there is read by whoever is in between. "" and the path of a
// socket are this one; a name is not looked up.
func Remote(host string) bool {
	if host == "" || host == "localhost" || strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") {
		return false
	}
	ip := net.ParseIP(host)
	return ip == nil || !ip.IsLoopback()
}
