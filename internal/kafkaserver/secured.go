//go:build unix

package kafkaserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/internal/wire"
)

// Listeners of a [Secured].
const (
	OverTLS   = "TLS"       // shows a certificate
	Mutual    = "MUTUAL"    // and wants one of its authority
	SASL      = "SASL"      // over TLS: PLAIN and SCRAM; a real one OAUTHBEARER too, any token without a signature
	SASLClear = "SASLCLEAR" // the same without TLS
	Elsewhere = "ELSEWHERE" // shows the certificate of kafka.example
)

// User may come in by SASL, with the password that is set for it.
const User = "relay"

const superuser, superPassword = "admin", "admin-secret"

// Secured is a broker that shows who it is and wants to know who its clients are.
type Secured struct {
	Authority *testkit.Authority // of its certificates

	kafka     *Kafka // nil for kfake
	proxies   map[string]*wire.Proxy
	fakes     map[string]*kfake.Cluster
	callers   map[string]*callers
	cert, key string // of a client
}

// ForTestSecured starts a broker with the listeners that are named, a real one where
// [IsReal], that ends with the test. password is the one of [User] in every mechanism.
// With kfake each listener is a cluster of its own.
func ForTestSecured(t testing.TB, password string, listeners ...string) *Secured {
	t.Helper()
	s := &Secured{
		Authority: testkit.NewAuthority(t),
		proxies:   map[string]*wire.Proxy{}, fakes: map[string]*kfake.Cluster{}, callers: map[string]*callers{},
	}
	s.cert, s.key = s.Authority.Issue(time.Hour)
	if !IsReal(t) {
		for _, name := range listeners {
			s.fake(t, name, password)
		}
		return s
	}
	cfg := KafkaConfig{HeapMB: 384, Properties: map[string]string{
		"sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
	}}
	for _, name := range listeners {
		p, err := wire.Listen(context.WithoutCancel(t.Context()), wire.Config{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.Close(); err != nil {
				t.Error(err)
			}
		})
		s.proxies[name] = p
		cfg.Listeners = append(cfg.Listeners, s.listener(t, name, password, p.Addr()))
	}
	var err error
	if s.kafka, err = StartKafka(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopGrace+killGrace)
		defer cancel()
		if err := s.kafka.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	for name, p := range s.proxies {
		p.SetTarget(s.kafka.Listener(name))
	}
	s.SetPassword(t, SASL, password)
	return s
}

// listener is a real broker's.
func (s *Secured) listener(t testing.TB, name, password, advertised string) Listener {
	t.Helper()
	var names []string
	if name == Elsewhere {
		names = []string{"kafka.example"}
	}
	l := Listener{Name: name, Protocol: "SSL", Advertised: advertised, Settings: map[string]string{
		"ssl.keystore.type": "PEM", "ssl.keystore.location": s.keystore(t, names...),
		"ssl.truststore.type": "PEM", "ssl.truststore.location": s.Authority.CA,
	}}
	switch name {
	case Mutual:
		l.Settings["ssl.client.auth"] = "required"
	case SASL:
		l.Protocol = "SASL_SSL"
	case SASLClear:
		l.Protocol, l.Settings = "SASL_PLAINTEXT", map[string]string{}
	}
	if l.Protocol == "SSL" {
		return l
	}
	const security = "org.apache.kafka.common.security."
	l.Settings["plain.sasl.jaas.config"] = fmt.Sprintf(security+"plain.PlainLoginModule required user_%s=\"%s\" user_%s=\"%s\";", User, password, superuser, superPassword)
	for _, m := range []string{"scram-sha-256", "scram-sha-512"} {
		l.Settings[m+".sasl.jaas.config"] = security + "scram.ScramLoginModule required;"
	}
	// The broker logs in to itself too, with a token without a signature.
	l.Settings["oauthbearer.sasl.jaas.config"] = security + "oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"broker\";"
	return l
}

// keystore is a file with a server's key and certificate.
func (s *Secured) keystore(t testing.TB, names ...string) string {
	t.Helper()
	cert, key := s.Authority.Issue(time.Hour, names...)
	var text []byte
	for _, path := range []string{key, cert} {
		part, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, part...)
	}
	path := filepath.Join(t.TempDir(), "server.pem")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *Secured) fake(t testing.TB, name, password string) {
	t.Helper()
	c := &callers{conns: map[net.Conn]bool{}}
	opts := []kfake.Opt{kfake.ListenFn(c.listen)}
	switch name {
	case Mutual:
		opts = append(opts, kfake.TLS(s.Authority.Server(true)))
	case Elsewhere:
		opts = append(opts, kfake.TLS(s.Authority.Server(false, "kafka.example")))
	case OverTLS, SASL:
		opts = append(opts, kfake.TLS(s.Authority.Server(false)))
	}
	if name == SASL || name == SASLClear {
		opts = append(opts, kfake.EnableSASL(), kfake.Superuser("PLAIN", superuser, superPassword))
		for _, m := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
			opts = append(opts, kfake.Superuser(m, User, password))
		}
	}
	s.fakes[name], s.callers[name] = Fake(t, opts...), c
}

// Brokers is the bootstrap list of a listener.
func (s *Secured) Brokers(listener string) []string {
	if s.kafka == nil {
		return s.fakes[listener].ListenAddrs()
	}
	return []string{s.proxies[listener].Addr()}
}

// Client is an administrator's client of what is behind a listener. It is closed after
// the test.
func (s *Secured) Client(t testing.TB, listener string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	if s.kafka != nil {
		return Client(t, s.kafka.Brokers(), opts...)
	}
	if listener != SASLClear {
		pair, err := tls.LoadX509KeyPair(s.cert, s.key)
		if err != nil {
			t.Fatal(err)
		}
		c := s.Authority.Client()
		c.Certificates = []tls.Certificate{pair}
		if listener == Elsewhere {
			c.ServerName = "kafka.example"
		}
		opts = append(opts, kgo.DialTLSConfig(c))
	}
	if listener == SASL || listener == SASLClear {
		opts = append(opts, kgo.SASL(plain.Auth{User: superuser, Pass: superPassword}.AsMechanism()))
	}
	return Client(t, s.Brokers(listener), opts...)
}

// SetPassword changes the password of [User] in SCRAM.
func (s *Secured) SetPassword(t testing.TB, listener, password string) {
	t.Helper()
	admin := kadm.NewClient(s.Client(t, listener))
	for _, m := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} { // a request takes one of a user
		answers, err := admin.AlterUserSCRAMs(t.Context(), nil, []kadm.UpsertSCRAM{{User: User, Mechanism: m, Iterations: 4096, Password: password}})
		if err := errors.Join(err, answers.Error()); err != nil {
			t.Fatalf("set a SCRAM password: %v", err)
		}
	}
}

// HangUp ends the connections that clients have with a listener, and returns how many.
func (s *Secured) HangUp(listener string) int {
	if s.kafka != nil {
		return s.proxies[listener].Reset()
	}
	return s.callers[listener].hangUp()
}

// callers are the connections of a kfake.
type callers struct {
	mu    sync.Mutex
	conns map[net.Conn]bool
}

func (c *callers) listen(network, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), network, address)
	return &callersListener{l, c}, err
}

func (c *callers) hangUp() int {
	c.mu.Lock()
	list := slices.Collect(maps.Keys(c.conns))
	c.mu.Unlock()
	for _, conn := range list {
		conn.Close()
	}
	return len(list)
}

type callersListener struct {
	net.Listener
	callers *callers
}

func (l *callersListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &caller{conn, l.callers}
	l.callers.mu.Lock()
	defer l.callers.mu.Unlock()
	l.callers.conns[c] = true
	return c, nil
}

type caller struct {
	net.Conn
	callers *callers
}

func (c *caller) Close() error {
	c.callers.mu.Lock()
	delete(c.callers.conns, c)
	c.callers.mu.Unlock()
	return c.Conn.Close()
}
