//go:build unix

package secure_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/secure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "pl4nted-s3cret"

// ping connects as k says. No error of it may hold the secret.
func ping(t *testing.T, brokers []string, k secure.Kafka) error {
	t.Helper()
	options, err := k.Options()
	if err != nil {
		return checked(t, err)
	}
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(brokers...), kgo.RequestRetries(0))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return checked(t, client.Ping(ctx))
}

func checked(t *testing.T, err error) error {
	t.Helper()
	if err != nil && strings.Contains(err.Error(), password) {
		t.Errorf("the secret is in %q", err)
	}
	return err
}

// refused: Kafka says why, kfake hangs up.
func refused(err error) bool {
	return errors.Is(err, kerr.SaslAuthenticationFailed) || errors.Is(err, io.EOF)
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A broker that is asked for everything: on a real Kafka where there is one.
func TestSecuredBroker(t *testing.T) {
	s := kafkaserver.ForTestSecured(t, password, kafkaserver.OverTLS, kafkaserver.Mutual, kafkaserver.SASL, kafkaserver.Elsewhere)
	t.Run("mechanisms", func(t *testing.T) { eachMechanism(t, s) })
	t.Run("certificates", func(t *testing.T) { certificatesAreVerified(t, s) })
	t.Run("rotation", func(t *testing.T) { filesAreReadAgain(t, s) })
}

func eachMechanism(t *testing.T, s *kafkaserver.Secured) {
	brokers := s.Brokers(kafkaserver.SASL)
	for _, mechanism := range []string{secure.Plain, secure.SCRAM256, secure.SCRAM512} {
		k := secure.Kafka{TLS: &secure.TLS{CA: s.Authority.CA}, Mechanism: mechanism, User: kafkaserver.User, Password: password}
		if err := ping(t, brokers, k); err != nil {
			t.Errorf("%s: %v", mechanism, err)
		}
		k.Password, k.PasswordFile = "", file(t, password+"\n")
		if err := ping(t, brokers, k); err != nil {
			t.Errorf("%s with a file: %v", mechanism, err)
		}
		k.PasswordFile = file(t, password+"x")
		if err := ping(t, brokers, k); !refused(err) {
			t.Errorf("%s with a wrong password: %v", mechanism, err)
		}
	}
	bearer := secure.Kafka{TLS: &secure.TLS{CA: s.Authority.CA}, Mechanism: secure.OAuthBearer, TokenFile: file(t, token(time.Now().Add(time.Hour))+"\n")}
	err := ping(t, brokers, bearer)
	if !kafkaserver.IsReal(t) {
		if !errors.Is(err, kerr.UnsupportedSaslMechanism) { // of kfake
			t.Errorf("OAUTHBEARER: %v", err)
		}
		return
	}
	if err != nil {
		t.Errorf("OAUTHBEARER: %v", err)
	}
	bearer.TokenFile = file(t, token(time.Now().Add(-time.Hour)))
	if err := ping(t, brokers, bearer); !errors.Is(err, secure.ErrToken) {
		t.Errorf("OAUTHBEARER with a token that has expired: %v", err)
	}
}

// token is a JWT without a signature, as Kafka takes it where it is told of no key.
func token(expires time.Time) string {
	claims := fmt.Sprintf(`{"sub":%q,"iat":%d,"exp":%d}`, kafkaserver.User, time.Now().Add(-2*time.Hour).Unix(), expires.Unix())
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + "."
}

func certificatesAreVerified(t *testing.T, s *kafkaserver.Secured) {
	stranger := testkit.NewAuthority(t)
	shown, other, mutual := s.Brokers(kafkaserver.OverTLS), s.Brokers(kafkaserver.Elsewhere), s.Brokers(kafkaserver.Mutual)
	cert, key := s.Authority.Issue(time.Hour)
	old, oldKey := s.Authority.Issue(-time.Minute)
	strange, strangeKey := stranger.Issue(time.Hour)
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	for _, c := range []struct {
		what    string
		brokers []string
		tls     secure.TLS
		ok      func(error) bool
	}{
		{"trusted", shown, secure.TLS{CA: s.Authority.CA}, nil},
		{"the system's roots", shown, secure.TLS{}, func(err error) bool { return errors.As(err, &unknown) }},
		{"another authority", shown, secure.TLS{CA: stranger.CA}, func(err error) bool { return errors.As(err, &unknown) }},
		{"not verified, by name", shown, secure.TLS{Insecure: true}, nil},
		{"another name", other, secure.TLS{CA: s.Authority.CA}, func(err error) bool { return errors.As(err, &name) }},
		{"the other name", other, secure.TLS{CA: s.Authority.CA, ServerName: "kafka.example"}, nil},
		{"a client with a certificate", mutual, secure.TLS{CA: s.Authority.CA, Cert: cert, Key: key}, nil},
		{"a client without", mutual, secure.TLS{CA: s.Authority.CA}, alerted},
		{"a client with a stranger's", mutual, secure.TLS{CA: s.Authority.CA, Cert: strange, Key: strangeKey}, alerted},
		{"a client with one that has expired", mutual, secure.TLS{CA: s.Authority.CA, Cert: old, Key: oldKey}, alerted},
	} {
		err := ping(t, c.brokers, secure.Kafka{TLS: &c.tls})
		if c.ok == nil && err != nil || c.ok != nil && !c.ok(err) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

// alerted: the server has said by an alert of TLS what it thinks of the client.
func alerted(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

// A client that runs takes what was rotated with its next connection.
func filesAreReadAgain(t *testing.T, s *kafkaserver.Secured) {
	stranger := testkit.NewAuthority(t)
	secret, ca := file(t, "yesterday's"), file(t, "")
	replace := func(path, from string) {
		t.Helper()
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(path, text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	replace(ca, stranger.CA)
	options, err := secure.Kafka{TLS: &secure.TLS{CA: ca}, Mechanism: secure.SCRAM512, User: kafkaserver.User, PasswordFile: secret}.Options()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(append(options, kgo.SeedBrokers(s.Brokers(kafkaserver.SASL)...), kgo.RequestRetries(0))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	var unknown x509.UnknownAuthorityError
	if err := client.Ping(t.Context()); !errors.As(err, &unknown) {
		t.Fatalf("before the authority was rotated: %v", err)
	}
	replace(ca, s.Authority.CA)
	if err := client.Ping(t.Context()); !refused(err) {
		t.Fatalf("before the password was rotated: %v", err)
	}
	replace(secret, file(t, password))
	if err := client.Ping(t.Context()); err != nil {
		t.Fatalf("after both were rotated: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	tls := &secure.TLS{}
	for _, c := range []struct {
		k    secure.Kafka
		want string
	}{
		{secure.Kafka{Mechanism: secure.Plain, User: "u", Password: password}, "needs TLS"},
		{secure.Kafka{Mechanism: secure.OAuthBearer, TokenFile: file(t, password)}, "needs TLS"},
		{secure.Kafka{Mechanism: secure.AWSMSKIAM}, "needs TLS"},
		{secure.Kafka{TLS: tls, Mechanism: "GSSAPI", User: "u", Password: password}, "GSSAPI"},
		{secure.Kafka{TLS: tls, Mechanism: secure.Plain, Password: password}, "needs a user"},
		{secure.Kafka{TLS: tls, Mechanism: secure.Plain, User: "u"}, "needs a password"},
		{secure.Kafka{TLS: tls, Mechanism: secure.Plain, User: "u", PasswordFile: "/no/such/file"}, "/no/such/file"},
		{secure.Kafka{TLS: tls, Mechanism: secure.Plain, User: "u", PasswordFile: file(t, "\n")}, "0 bytes"},
		{secure.Kafka{TLS: tls, Mechanism: secure.OAuthBearer}, "file with a token"},
		{secure.Kafka{User: "u", Password: password}, "needs a SASL mechanism"},
		{secure.Kafka{TLS: &secure.TLS{CA: "/no/such/ca"}}, "/no/such/ca"},
		{secure.Kafka{TLS: &secure.TLS{CA: file(t, "no pem")}}, "no certificate in PEM"},
		{secure.Kafka{TLS: &secure.TLS{Cert: "a"}}, "both"},
	} {
		if _, err := c.k.Options(); checked(t, err) == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.k.Mechanism, err, c.want)
		}
	}
}
