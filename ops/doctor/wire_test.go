//go:build unix

package doctor_test

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// between listens on a free port and hands each connection, with one of its own to
// the address, to serve. It returns the address that it listens on.
func between(t *testing.T, address string, serve func(client, server net.Conn) error) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer client.Close()
				server, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
				if err != nil {
					return
				}
				defer server.Close()
				if err := serve(client, server); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		served.Wait()
	})
	return l.Addr().String()
}

// pool is what a pooler does to a login: the client is told of a process that is not
// the server's.
func pool(client, server net.Conn) error {
	go func() {
		_, _ = io.Copy(server, client)
		_ = server.Close()
	}()
	for {
		header := make([]byte, 5)
		if _, err := io.ReadFull(server, header); err != nil {
			return err
		}
		body := make([]byte, binary.BigEndian.Uint32(header[1:])-4)
		if _, err := io.ReadFull(server, body); err != nil {
			return err
		}
		if header[0] == 'K' { // BackendKeyData: process id, secret
			binary.BigEndian.PutUint32(body, binary.BigEndian.Uint32(body)+1_000_000)
		}
		if _, err := client.Write(slices.Concat(header, body)); err != nil {
			return err
		}
	}
}

// encrypt speaks TLS with the client, as a server with ssl = on does.
func encrypt(config *tls.Config) func(client, server net.Conn) error {
	return func(client, server net.Conn) error {
		if _, err := io.ReadFull(client, make([]byte, 8)); err != nil { // SSLRequest
			return err
		}
		if _, err := client.Write([]byte("S")); err != nil {
			return err
		}
		secure := tls.Server(client, config)
		go func() {
			_, _ = io.Copy(server, secure)
			_ = server.Close()
		}()
		_, err := io.Copy(secure, server)
		if err != nil && strings.Contains(err.Error(), "closed") {
			return nil // the client has said goodbye
		}
		return err
	}
}
