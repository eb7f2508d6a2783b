//go:build unix

package secure_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/secure"
)

// credulous is a kfake that lets everybody in and keeps what it was shown: kfake itself
// does not know these mechanisms.
type credulous struct {
	brokers []string
	mu      sync.Mutex
	shown   []string
}

func newCredulous(t *testing.T, authority *testkit.Authority) *credulous {
	t.Helper()
	fake := kafkaserver.Fake(t, kfake.TLS(authority.Server(false)))
	c := &credulous{brokers: fake.ListenAddrs()}
	fake.ControlKey(int16(kmsg.SASLHandshake), func(r kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		return r.ResponseKind(), nil, true
	})
	fake.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.shown = append(c.shown, string(r.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes))
		answer := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		answer.SASLAuthBytes = []byte("{}")
		return answer, nil, true
	})
	return c
}

// last is what was shown last.
func (c *credulous) last(t *testing.T) string {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.shown) == 0 {
		t.Fatal("nothing was shown")
	}
	return c.shown[len(c.shown)-1]
}

func TestTokenOfNow(t *testing.T) {
	t.Parallel()
	authority := testkit.NewAuthority(t)
	c := newCredulous(t, authority)
	path := filepath.Join(t.TempDir(), "token")
	k := secure.Kafka{TLS: &secure.TLS{CA: authority.CA}, Mechanism: secure.OAuthBearer, TokenFile: path}
	for _, token := range []string{"token-1", "token-2"} {
		if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = ping(t, c.brokers, k) // its end is the server's to say
		if shown := c.last(t); !strings.Contains(shown, "auth=Bearer "+token+"\x01") {
			t.Errorf("shown: %q", shown)
		}
	}
}

func TestAWSCredentialsOfNow(t *testing.T) {
	authority := testkit.NewAuthority(t)
	c := newCredulous(t, authority)
	path := filepath.Join(t.TempDir(), "credentials")
	for name, value := range map[string]string{
		"AWS_SHARED_CREDENTIALS_FILE": path, "AWS_CONFIG_FILE": path + ".config", "AWS_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
	} {
		t.Setenv(name, value)
	}
	k := secure.Kafka{TLS: &secure.TLS{CA: authority.CA}, Mechanism: secure.AWSMSKIAM}
	for _, id := range []string{"AKIA1", "AKIA2"} {
		text := "[default]\naws_access_key_id = " + id + "\naws_secret_access_key = " + password + "\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := ping(t, c.brokers, k); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		if shown := c.last(t); !strings.Contains(shown, id) || strings.Contains(shown, password) {
			t.Errorf("shown: %q", shown)
		}
	}
}
