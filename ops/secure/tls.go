package secure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// TLS of a client. The zero value verifies against the system's roots and shows no
// certificate.
type TLS struct {
	CA         string // PEM file of the authorities to trust in place of the system's
	Cert, Key  string // PEM files of the client's own certificate, both or none
	ServerName string // name in the server's certificate, when it is not the host's
	// Insecure verifies nothing: whoever is in between reads and writes all of it.
	Insecure bool
}

// Config reads the files.
func (t TLS) Config() (*tls.Config, error) {
	if (t.Cert == "") != (t.Key == "") {
		return nil, errors.New("a client certificate needs both its file and its key's")
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.Insecure} //nolint:gosec // by name alone
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("read CA: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read CA: %s holds no certificate in PEM", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("read client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// dialTimeout bounds the connecting, the handshake included.
const dialTimeout = 10 * time.Second

// Dial connects with the files as they are now.
func (t TLS) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := t.Config()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return (&tls.Dialer{Config: c}).DialContext(ctx, network, address)
}
