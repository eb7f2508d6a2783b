//go:build unix

package cli_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/cli"
)

// Each way in which a broker and the program do not trust each other is one line that
// says what to do; a service ends with it, too.
func TestKafkaTrust(t *testing.T) {
	t.Parallel()
	const password, wrong = "right-password", "wrong-password"
	s := kafkaserver.ForTestSecured(t, password, kafkaserver.OverTLS, kafkaserver.Mutual, kafkaserver.SASL, kafkaserver.SASLClear, kafkaserver.Elsewhere)
	stranger := testkit.NewAuthority(t)
	cert, key := s.Authority.Issue(time.Hour)
	strange, strangeKey := stranger.Issue(time.Hour)
	ca := "--kafka-ca=" + s.Authority.CA
	login := func(mechanism, password string) []string {
		return []string{"--kafka-sasl=" + mechanism, "--kafka-user=" + kafkaserver.User, "--kafka-password=" + password}
	}
	refusal := []string{"SASL_AUTHENTICATION_FAILED", "correct --kafka-user and the password"}
	if !kafkaserver.IsReal(t) {
		refusal = []string{"no SASL"} // kfake hangs up
	}
	mute := []string{"the listener may speak no TLS"}
	if !kafkaserver.IsReal(t) {
		mute = []string{"no answer within"} // kfake waits for the rest of a request
	}
	token := write(t, "token", wrong)
	unheard := []string{"UNSUPPORTED_SASL_MECHANISM", "--kafka-sasl"}
	if kafkaserver.IsReal(t) {
		unheard = []string{"the token"}
	}
	db := pgtest.NewDB(t)
	for name, c := range map[string]struct {
		listener string
		args     []string
		code     int
		waits    bool // a service does
		texts    []string
	}{
		"trusted":                       {kafkaserver.OverTLS, []string{ca}, cli.ExitOK, false, nil},
		"certificates both ways":        {kafkaserver.Mutual, []string{ca, "--kafka-cert=" + cert, "--kafka-key=" + key}, cli.ExitOK, false, nil},
		"PLAIN":                         {kafkaserver.SASL, append(login("PLAIN", password), ca), cli.ExitOK, false, nil},
		"SCRAM-SHA-256":                 {kafkaserver.SASL, append(login("SCRAM-SHA-256", password), ca), cli.ExitOK, false, nil},
		"SCRAM-SHA-512":                 {kafkaserver.SASL, append(login("SCRAM-SHA-512", password), ca), cli.ExitOK, false, nil},
		"SCRAM without TLS":             {kafkaserver.SASLClear, login("SCRAM-SHA-512", password), cli.ExitOK, false, nil},
		"the other name":                {kafkaserver.Elsewhere, []string{ca, "--kafka-server-name=kafka.example"}, cli.ExitOK, false, nil},
		"wrong password, PLAIN":         {kafkaserver.SASL, append(login("PLAIN", wrong), ca), cli.ExitFailed, !kafkaserver.IsReal(t), refusal},
		"wrong password, SCRAM-SHA-256": {kafkaserver.SASL, append(login("SCRAM-SHA-256", wrong), ca), cli.ExitFailed, !kafkaserver.IsReal(t), refusal},
		"wrong password, SCRAM-SHA-512": {kafkaserver.SASL, append(login("SCRAM-SHA-512", wrong), ca), cli.ExitFailed, !kafkaserver.IsReal(t), refusal},
		"a token that is none":          {kafkaserver.SASL, []string{ca, "--kafka-sasl=OAUTHBEARER", "--kafka-token-file=" + token}, cli.ExitFailed, false, unheard},
		"PLAIN without TLS":             {kafkaserver.SASLClear, login("PLAIN", password), cli.ExitUsage, false, []string{"PLAIN", "needs TLS"}},
		"system's roots":                {kafkaserver.OverTLS, []string{"--kafka-tls"}, cli.ExitFailed, false, []string{"unknown authority", "--kafka-ca"}},
		"another authority":             {kafkaserver.OverTLS, []string{"--kafka-ca=" + stranger.CA}, cli.ExitFailed, false, []string{"unknown authority", "--kafka-ca"}},
		"another name":                  {kafkaserver.Elsewhere, []string{ca}, cli.ExitFailed, false, []string{"127.0.0.1", "--kafka-server-name"}},
		"no certificate":                {kafkaserver.Mutual, []string{ca}, cli.ExitFailed, false, []string{"--kafka-cert"}},
		"a stranger's certificate":      {kafkaserver.Mutual, []string{ca, "--kafka-cert=" + strange, "--kafka-key=" + strangeKey}, cli.ExitFailed, false, []string{"--kafka-cert"}},
		"no TLS":                        {kafkaserver.OverTLS, nil, cli.ExitFailed, !kafkaserver.IsReal(t), []string{"--kafka-tls"}},
		"TLS for one without":           {kafkaserver.SASLClear, []string{ca}, cli.ExitFailed, true, mute},
		"no SASL":                       {kafkaserver.SASL, []string{ca}, cli.ExitFailed, true, []string{"--kafka-sasl"}},
		"SASL for one without":          {kafkaserver.OverTLS, append(login("PLAIN", password), ca), cli.ExitFailed, !kafkaserver.IsReal(t), []string{"no SASL"}},
	} {
		args := append([]string{"--brokers=" + strings.Join(s.Brokers(c.listener), ",")}, c.args...)
		commands := map[string][]string{"command": {"topics", "apply", "--dry-run", "--no-pipeline", "--topic=any"}}
		if c.code != cli.ExitOK && !c.waits {
			commands["service"] = []string{"relay", "--database-url=" + db.URL, "--ops-listen=127.0.0.1:0"}
		}
		for what, command := range commands {
			t.Run(name+"/"+what, func(t *testing.T) {
				t.Parallel()
				r := start(t, nil, append(command, args...)...).ended(t)
				if c.code == cli.ExitOK {
					r.succeeds(t)
					return
				}
				r.failsWith(t, c.code, c.texts...)
				for _, secret := range []string{password, wrong} {
					if strings.Contains(r.stderr, secret) {
						t.Errorf("the password is in: %s", r.stderr)
					}
				}
			})
		}
	}
}

// The same for Postgres.
func TestPostgresTrust(t *testing.T) {
	t.Parallel()
	authority, stranger := testkit.NewAuthority(t), testkit.NewAuthority(t)
	serverCert, serverKey := authority.Issue(time.Hour)
	server := pgtest.TLSServer(t, pgserver.TLS{Cert: serverCert, Key: serverKey, ClientCA: authority.CA})
	inClear := pgtest.NewDB(t)
	pgtest.Migrate(t, server.SuperuserURL())
	if _, err := pgtest.OpenPool(t, server.SuperuserURL()).Exec(t.Context(), "create role app login password 'pl4nted' in role gapless_readonly"); err != nil {
		t.Fatal(err)
	}
	pair := func(from *testkit.Authority) string {
		cert, key := from.Issue(time.Hour)
		return "&sslcert=" + cert + "&sslkey=" + key
	}
	brokers := strings.Join(kafkaserver.Fake(t).ListenAddrs(), ",")
	address := server.UserURL("app", "pl4nted", "postgres")
	with := func(text, query string) string {
		return changed(t, text, func(u *url.URL) { u.RawQuery = query })
	}
	for name, c := range map[string]struct {
		url   string
		code  int
		texts []string
	}{
		"trusted":                  {with(address, "sslmode=verify-full&sslrootcert="+authority.CA+pair(authority)), cli.ExitOK, nil},
		"system's roots":           {with(address, "sslmode=verify-full"+pair(authority)), cli.ExitFailed, []string{"unknown authority", "sslrootcert=FILE"}},
		"another authority":        {with(address, "sslmode=verify-full&sslrootcert="+stranger.CA+pair(authority)), cli.ExitFailed, []string{"unknown authority", "sslrootcert=FILE"}},
		"another name":             {with(strings.Replace(address, "127.0.0.1", "localhost", 1), "sslmode=verify-full&sslrootcert="+authority.CA+pair(authority)), cli.ExitFailed, []string{"localhost", "use the name"}},
		"no certificate":           {with(address, "sslmode=verify-full&sslrootcert="+authority.CA), cli.ExitFailed, []string{"client certificate", "sslcert=FILE"}},
		"a stranger's certificate": {with(address, "sslmode=verify-full&sslrootcert="+authority.CA+pair(stranger)), cli.ExitFailed, []string{"unknown certificate authority", "sslcert=FILE"}},
		"no TLS there":             {with(inClear.URL, "sslmode=verify-full"), cli.ExitFailed, []string{"speaks no TLS"}},
		"no authority in the file": {with(address, "sslmode=verify-full&sslrootcert=/no/such/file"), cli.ExitUsage, []string{"--database-url", "/no/such/file"}},
	} {
		commands := [][]string{{"outbox", "list"}}
		if c.code != cli.ExitOK {
			commands = append(commands, []string{"relay", "--create-topics", "--brokers=" + brokers, "--ops-listen=127.0.0.1:0"})
		}
		for _, command := range commands {
			t.Run(name+"/"+command[0], func(t *testing.T) {
				t.Parallel()
				r := start(t, nil, append(command, "--database-url="+c.url)...).ended(t)
				// In TLS 1.3 the server judges a client's certificate after the handshake: when it
				// hangs up while the client still writes, TCP may drop its last words.
				for range 20 {
					if !strings.Contains(r.complaint(), "connection reset by peer") {
						break
					}
					r.failsWith(t, cli.ExitFailed, "--database-url")
					r = start(t, nil, append(command, "--database-url="+c.url)...).ended(t)
				}
				if c.code == cli.ExitOK {
					r.succeeds(t)
					return
				}
				r.failsWith(t, c.code, c.texts...)
				if strings.Contains(r.stderr, "pl4nted") {
					t.Errorf("the password is in: %s", r.stderr)
				}
			})
		}
	}
}

// A registry that wants a certificate and a login.
func TestRegistryTrust(t *testing.T) {
	t.Parallel()
	const password, token = "pl4nted-secret", "pl4nted-token"
	authority, stranger := testkit.NewAuthority(t), testkit.NewAuthority(t)
	registry := srfake.New()
	t.Cleanup(registry.Close)
	serve := func(clients bool) string {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			user, given, _ := r.BasicAuth()
			if (user != "gapless" || given != password) && r.Header.Get("Authorization") != "Bearer "+token {
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = w.Write([]byte(`{"error_code":401,"message":"Unauthorized"}`))
				return
			}
			registry.Handler().ServeHTTP(w, r)
		}))
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.TLS = authority.Server(clients)
		server.StartTLS()
		t.Cleanup(server.Close)
		return server.URL
	}
	one, both := serve(false), serve(true)
	cert, key := authority.Issue(time.Hour)
	ca := "--registry-ca=" + authority.CA
	inURL := strings.Replace(one, "https://", "https://gapless:"+password+"@", 1)
	wrongInURL := strings.Replace(one, "https://", "https://gapless:wrong-"+password+"@", 1)
	for name, c := range map[string]struct {
		args  []string
		code  int
		texts []string
	}{
		"basic":                {[]string{"--registry-url=" + one, ca, "--registry-user=gapless", "--registry-password=" + password}, cli.ExitOK, []string{"new"}},
		"basic in the URL":     {[]string{"--registry-url=" + inURL, ca}, cli.ExitOK, []string{"new"}},
		"bearer":               {[]string{"--registry-url=" + one, ca, "--registry-token-file=" + write(t, "token", token+"\n")}, cli.ExitOK, []string{"new"}},
		"a certificate":        {[]string{"--registry-url=" + both, ca, "--registry-cert=" + cert, "--registry-key=" + key, "--registry-user=gapless", "--registry-password=" + password}, cli.ExitOK, []string{"new"}},
		"no certificate":       {[]string{"--registry-url=" + both, ca}, cli.ExitFailed, []string{"--registry-cert"}},
		"no login":             {[]string{"--registry-url=" + one, ca}, cli.ExitFailed, []string{"Unauthorized", "--registry-user"}},
		"wrong password":       {[]string{"--registry-url=" + one, ca, "--registry-user=gapless", "--registry-password=wrong-" + password}, cli.ExitFailed, []string{"Unauthorized", "--registry-user"}},
		"wrong in the URL":     {[]string{"--registry-url=" + wrongInURL, ca}, cli.ExitFailed, []string{"Unauthorized", "--registry-user"}},
		"wrong token":          {[]string{"--registry-url=" + one, ca, "--registry-token-file=" + write(t, "wrong", "wrong-"+token)}, cli.ExitFailed, []string{"Unauthorized", "--registry-token-file"}},
		"the system's roots":   {[]string{"--registry-url=" + one}, cli.ExitFailed, []string{"unknown authority", "--registry-ca"}},
		"another authority":    {[]string{"--registry-url=" + one, "--registry-ca=" + stranger.CA}, cli.ExitFailed, []string{"unknown authority", "--registry-ca"}},
		"another name":         {[]string{"--registry-url=" + strings.Replace(one, "127.0.0.1", "localhost", 1), ca}, cli.ExitFailed, []string{"localhost", "--registry-url"}},
		"in clear":             {[]string{"--registry-url=http://gapless:" + password + "@registry.example/"}, cli.ExitUsage, []string{"needs https"}},
		"a token in clear":     {[]string{"--registry-url=http://192.0.2.1:8081", "--registry-token-file=" + write(t, "clear", token)}, cli.ExitUsage, []string{"needs https"}},
		"both ways of a login": {[]string{"--registry-url=" + inURL, ca, "--registry-token-file=" + write(t, "both", token)}, cli.ExitUsage, []string{"not beside a user"}},
		"no URL":               {[]string{"--registry-url=https://gapless:" + password + "@h:port"}, cli.ExitUsage, []string{"--registry-url"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := run(t, nil, append([]string{"schema", "check"}, c.args...)...)
			if r.code != c.code {
				t.Errorf("exit code %d, want %d", r.code, c.code)
			}
			for _, text := range c.texts {
				if !strings.Contains(r.stdout+r.stderr, text) {
					t.Errorf("%q is not in: %s%s", text, r.stdout, r.stderr)
				}
			}
			if strings.Contains(r.stdout+r.stderr, password) || strings.Contains(r.stdout+r.stderr, token) {
				t.Errorf("a secret is in: %s%s", r.stdout, r.stderr)
			}
		})
	}
}
