//go:build unix

package cli_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
)

// planted is a secret that may be seen nowhere. It has characters that look otherwise
// in a URL and in JSON.
const planted = `pl4nted/'se+cret%&`

// forms are what a secret looks like once somebody has encoded it, beside a user, too.
func forms(secret string) []string {
	asJSON, _ := json.Marshal(secret) // a string
	list := []string{secret, strings.Trim(string(asJSON), `"`), url.QueryEscape(secret), url.PathEscape(secret), url.UserPassword("u", secret).String()[2:], strings.Trim(fmt.Sprintf("%q", secret), `"`)}
	for _, text := range []string{secret, "u:" + secret, "gapless:" + secret, kafkaserver.User + ":" + secret, "\x00" + kafkaserver.User + "\x00" + secret} {
		list = append(list, base64.StdEncoding.EncodeToString([]byte(text)), base64.RawStdEncoding.EncodeToString([]byte(text)),
			base64.URLEncoding.EncodeToString([]byte(text)), base64.RawURLEncoding.EncodeToString([]byte(text)), hex.EncodeToString([]byte(text)))
	}
	return list
}

// conceals looks for secrets, and for anything planted, in what people see.
func conceals(t *testing.T, where, seen string, secrets ...string) {
	t.Helper()
	if form := finds(seen, append(secrets, "pl4nted")...); form != "" {
		at := strings.Index(seen, form)
		t.Errorf("%s: %q is in …%s…", where, form, seen[max(0, at-200):min(len(seen), at+len(form)+100)])
	}
}

// finds returns the first form of a secret that is seen, "" when none is.
func finds(seen string, secrets ...string) string {
	for _, secret := range secrets {
		for _, form := range forms(secret) {
			if strings.Contains(seen, form) {
				return form
			}
		}
	}
	return ""
}

func TestPlantedSecretsAreFound(t *testing.T) {
	t.Parallel()
	for _, seen := range []string{
		"password=" + planted, "postgres://" + url.UserPassword("u", planted).String() + "@h/x", "?password=" + url.QueryEscape(planted),
		"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte("gapless:"+planted)), fmt.Sprintf("%q", planted), fmt.Sprintf("%x", planted),
	} {
		if finds("before "+seen+" behind", planted) == "" {
			t.Errorf("nothing is found in %s", seen)
		}
	}
	if form := finds("u:xxxxx@h", planted); form != "" {
		t.Errorf("%s is found where nothing is", form)
	}
}

// try runs a command until it ends, or, when it waits for a server, until it has said
// so; it returns all that it printed.
func try(t *testing.T, env map[string]string, args ...string) string {
	t.Helper()
	env = maps.Clone(env)
	env["GAPLESS_LOG_LEVEL"] = "debug"
	s := start(t, env, args...)
	testkit.Eventually(t, 30*time.Second, func() error {
		select {
		case <-s.done:
			return nil
		default:
		}
		if text := s.log.String(); strings.Contains(text, `"level":"WARN"`) || strings.Contains(text, `"level":"ERROR"`) {
			return nil
		}
		return fmt.Errorf("%v neither ends nor says for what it waits: %s", args, s.log)
	})
	r := s.end(t)
	return r.stdout + r.stderr
}

// What a person may get wrong about a database is told without its password.
func TestDatabaseErrorsTellNoSecret(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	live, err := url.Parse(db.LoginURL(t, pgtest.App))
	if err != nil {
		t.Fatal(err)
	}
	brokers := strings.Join(kafkaserver.Fake(t).ListenAddrs(), ",")
	user := url.UserPassword("u", planted).String()
	wrong := url.UserPassword(live.User.Username(), planted).String()
	secret := write(t, "secret", planted)
	quoted := strings.ReplaceAll(planted, `'`, `\'`)
	for name, env := range map[string]map[string]string{
		"refused":             {"GAPLESS_DATABASE_URL": "postgres://" + user + "@" + refused + "/x"},
		"two hosts":           {"DATABASE_URL": "postgres://" + user + "@" + refused + ",127.0.0.1:2/x"},
		"keyword string":      {"GAPLESS_DATABASE_URL": "host=127.0.0.1 port=1 user=u dbname=x password='" + quoted + "'"},
		"no such host":        {"GAPLESS_DATABASE_URL": "postgres://" + user + "@no-such-host.invalid/x"},
		"wrong password":      {"GAPLESS_DATABASE_URL": "postgres://" + wrong + "@" + live.Host + live.Path},
		"wrong in the query":  {"GAPLESS_DATABASE_URL": "postgres://" + live.User.Username() + "@" + live.Host + live.Path + "?password=" + url.QueryEscape(planted)},
		"URL in a file":       {"GAPLESS_DATABASE_URL_FILE": write(t, "url", "postgres://"+wrong+"@"+live.Host+live.Path)},
		"password file":       {"GAPLESS_DATABASE_URL": "postgres://" + live.User.Username() + "@" + live.Host + live.Path, "GAPLESS_DATABASE_PASSWORD_FILE": secret},
		"not its password":    {"GAPLESS_DATABASE_URL": "postgres://" + user + "@" + live.Host + live.Path, "GAPLESS_DATABASE_PASSWORD_FILE": "/no/such/file"},
		"passfile":            {"GAPLESS_DATABASE_URL": "postgres://" + live.User.Username() + "@" + live.Host + live.Path + "?passfile=" + write(t, "pgpass", "*:*:*:*:"+planted)},
		"no TLS there":        {"GAPLESS_DATABASE_URL": "postgres://" + wrong + "@" + live.Host + live.Path + "?sslmode=verify-full"},
		"no port":             {"GAPLESS_DATABASE_URL": "postgres://" + user + "@h:port/x"},
		"a port of it":        {"GAPLESS_DATABASE_URL": "postgres://u:" + planted + "@h/x"},
		"not encoded":         {"GAPLESS_DATABASE_URL": "postgres://u:" + planted + "@h:5432/x?sslmode=disable"},
		"bad escape":          {"GAPLESS_DATABASE_URL": "postgres://u:%zz" + planted + "@h/x"},
		"no scheme":           {"GAPLESS_DATABASE_URL": "u:" + planted + "@h/x"},
		"another scheme":      {"GAPLESS_DATABASE_URL": "mysql://u:" + planted + "@h/x"},
		"an open quote":       {"GAPLESS_DATABASE_URL": "host=h password='" + planted},
		"the secret alone":    {"GAPLESS_DATABASE_URL_FILE": secret},
		"key and certificate": {"GAPLESS_DATABASE_URL": "postgres://" + user + "@h/x?sslmode=verify-full&sslcert=" + secret + "&sslkey=" + secret},
		"authority":           {"GAPLESS_DATABASE_URL": "postgres://" + user + "@h/x?sslmode=verify-full&sslrootcert=" + secret},
		"passphrase":          {"GAPLESS_DATABASE_URL": "postgres://u@" + refused + "/x?sslpassword=" + url.QueryEscape(planted)},
		"mode":                {"GAPLESS_DATABASE_URL": "postgres://" + user + "@h/x?sslmode=sometimes"},
		"query mode":          {"GAPLESS_DATABASE_URL": "postgres://" + wrong + "@" + live.Host + live.Path + "?default_query_exec_mode=exec"},
		"not a pool":          {"GAPLESS_DATABASE_URL": "postgres://" + user + "@h/x?pool_max_conns=" + url.QueryEscape(planted)},
		"configuration":       {"GAPLESS_CONFIG": write(t, "gapless.yaml", "version: 1\nrelays: [{database_url: 'postgres://"+user+"@"+refused+"/x'}]\n")},
	} {
		for _, command := range []string{
			"relay --create-topics", "api", "consume", "migrate up", "doctor --all", "verify", "keys create k", "outbox list", "schema register --registry-url=http://" + refused,
		} {
			env := maps.Clone(env)
			env["GAPLESS_BROKERS"], env["GAPLESS_OPS_LISTEN"] = brokers, "127.0.0.1:0"
			t.Run(name+"/"+strings.Fields(command)[0], func(t *testing.T) {
				t.Parallel()
				seen := try(t, env, strings.Fields(command)...)
				if seen == "" {
					t.Error("it says nothing")
				}
				conceals(t, command, seen, planted)
			})
		}
	}
}

// Nor what is wrong about a broker, a registry, a mail server, a file or a command line.
func TestOtherErrorsTellNoSecret(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	s := kafkaserver.ForTestSecured(t, "right", kafkaserver.OverTLS, kafkaserver.SASL, kafkaserver.SASLClear)
	seeds := func(listener string) string { return strings.Join(s.Brokers(listener), ",") }
	secret := write(t, "secret", planted)
	cert, key := s.Authority.Issue(time.Hour)
	keyText, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	keyLine := strings.Split(string(keyText), "\n")[1]
	cut := write(t, "cut.key", string(keyText[:len(keyText)/2]))
	user := url.UserPassword("u", planted).String()
	denies := serveUnauthorized(t)
	for name, c := range map[string]struct {
		env  map[string]string
		args []string
	}{
		"password":            {map[string]string{"GAPLESS_KAFKA_PASSWORD": planted}, []string{"--brokers=" + seeds(kafkaserver.SASLClear), "--kafka-sasl=SCRAM-SHA-512", "--kafka-user=relay"}},
		"password as a flag":  {nil, []string{"--brokers=" + seeds(kafkaserver.SASLClear), "--kafka-sasl=SCRAM-SHA-256", "--kafka-user=relay", "--kafka-password=" + planted}},
		"password in a file":  {map[string]string{"GAPLESS_KAFKA_PASSWORD_FILE": secret}, []string{"--brokers=" + seeds(kafkaserver.SASL), "--kafka-ca=" + s.Authority.CA, "--kafka-sasl=PLAIN", "--kafka-user=relay"}},
		"PLAIN without TLS":   {map[string]string{"GAPLESS_KAFKA_PASSWORD": planted}, []string{"--brokers=" + seeds(kafkaserver.SASLClear), "--kafka-sasl=PLAIN", "--kafka-user=relay"}},
		"token":               {nil, []string{"--brokers=" + seeds(kafkaserver.SASL), "--kafka-ca=" + s.Authority.CA, "--kafka-sasl=OAUTHBEARER", "--kafka-token-file=" + secret}},
		"no mechanism":        {map[string]string{"GAPLESS_KAFKA_PASSWORD": planted}, []string{"--brokers=" + refused}},
		"mechanism":           {map[string]string{"GAPLESS_KAFKA_PASSWORD": planted}, []string{"--brokers=" + refused, "--kafka-sasl=GSSAPI", "--kafka-user=relay"}},
		"brokers":             {nil, []string{"--brokers=kafka://" + user + "@h:1"}},
		"authority":           {nil, []string{"--brokers=" + seeds(kafkaserver.OverTLS), "--kafka-ca=" + secret}},
		"key":                 {nil, []string{"--brokers=" + seeds(kafkaserver.OverTLS), "--kafka-cert=" + cert, "--kafka-key=" + secret}},
		"half a key":          {nil, []string{"--brokers=" + seeds(kafkaserver.OverTLS), "--kafka-cert=" + cert, "--kafka-key=" + cut}},
		"key for certificate": {nil, []string{"--brokers=" + seeds(kafkaserver.OverTLS), "--kafka-cert=" + key, "--kafka-key=" + cert}},
		"unknown key":         {map[string]string{"GAPLESS_CONFIG": write(t, "a.yaml", "version: 1\nkafka: {sasl: {password: '"+strings.ReplaceAll(planted, "'", "''")+"'}}\n")}, nil},
		"wrong kind":          {map[string]string{"GAPLESS_CONFIG": write(t, "b.yaml", "version: 1\nrelays: pl4nted\nkafka: {tls: pl4nted, sasl: pl4nted}\nregistry: pl4nted\n")}, nil},
		"no YAML":             {map[string]string{"GAPLESS_CONFIG": secret}, nil},
		"not a flag":          {nil, []string{"--kafka-pasword=" + planted}},
		"an argument":         {nil, []string{"postgres://" + user + "@h/x"}},
		"a value":             {nil, []string{"--retention=postgres://" + user + "@h/x", "--brokers=" + refused}},
	} {
		for _, command := range []string{"topics apply --no-pipeline --topic=any", "relay", "consume", "doctor --all", "verify"} {
			env := map[string]string{"GAPLESS_DATABASE_URL": db.URL, "GAPLESS_OPS_LISTEN": "127.0.0.1:0"}
			maps.Copy(env, c.env)
			t.Run(name+"/"+strings.Fields(command)[0], func(t *testing.T) {
				t.Parallel()
				conceals(t, command, try(t, env, append(strings.Fields(command), c.args...)...), planted, keyLine)
			})
		}
	}
	for name, args := range map[string][]string{
		"refused":        {"schema", "check", "--registry-url=http://" + user + "@" + refused},
		"denied":         {"schema", "check", "--registry-url=" + strings.Replace(denies, "://", "://"+user+"@", 1)},
		"password":       {"schema", "check", "--registry-url=" + denies, "--registry-user=gapless", "--registry-password=" + planted},
		"token":          {"schema", "check", "--registry-url=" + denies, "--registry-token-file=" + secret},
		"against":        {"schema", "diff", "--against=http://" + user + "@" + refused},
		"no URL":         {"schema", "check", "--registry-url=http://" + user + "@h:port"},
		"bad escape":     {"schema", "check", "--registry-url=http://u:%zz" + planted + "@h"},
		"key":            {"schema", "check", "--registry-url=" + denies, "--registry-cert=" + cert, "--registry-key=" + secret},
		"doctor":         {"doctor", "--all", "--database-url=" + db.URL, "--registry-url=http://" + user + "@" + refused},
		"doctor, denied": {"doctor", "--all", "--database-url=" + db.URL, "--registry-url=" + strings.Replace(denies, "://", "://"+user+"@", 1)},
		"doctor, no URL": {"doctor", "--all", "--database-url=" + db.URL, "--registry-url=http://" + user + "@h:port"},
		"mail":           {"consume", "notification", "--database-url=" + db.URL, "--brokers=" + refused, "--smtp=ftp://" + user + "@h"},
		"mail, no URL":   {"consume", "notification", "--database-url=" + db.URL, "--brokers=" + refused, "--smtp=smtp://" + user + "@h:port"},
		"API key":        {"load", "--orders=1", "--api-url=" + denies, "--api-key=" + planted},
		"API":            {"load", "--orders=1", "--api-url=http://" + user + "@" + refused},
		"API, no URL":    {"load", "--orders=1", "--api-url=http://" + user + "@h:port"},
		"Debezium":       {"relay", "import", write(t, "dbz.json", `{"name":"x","config":{"database.password":"pl4nted","connector.class":"pl4nted?"`)},
		"demo":           {"demo", "--database-url=postgres://" + user + "@" + refused + "/x", "--brokers=" + refused, "--listen=127.0.0.1:0", "--ops-listen=127.0.0.1:0", "--exit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conceals(t, name, try(t, map[string]string{"GAPLESS_OPS_LISTEN": "127.0.0.1:0"}, args...), planted)
		})
	}
}

// serveUnauthorized answers everybody with 401.
func serveUnauthorized(t *testing.T) (base string) {
	t.Helper()
	l := listen(t)
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return "http://" + l.Addr().String()
}

// The services run with secrets wherever one can be put, are given what they cannot
// work with, lose their connections, and tell neither a secret nor a payload.
func TestServicesTellNoSecretAndNoPayload(t *testing.T) {
	t.Parallel()
	const payload, key = "p4yload-of-somebody", "pl4nted-key-of-the-api"
	db := pgtest.NewDB(t)
	admin := db.Pool(t)
	exec := func(statement string, args ...any) {
		t.Helper()
		if _, err := admin.Exec(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	r := newRotated(t, db, pgtest.Relay)
	exec("grant gapless_app, gapless_consumer to " + r.login)
	r.setPassword(t, strings.ReplaceAll(planted, "'", "''"))
	s := kafkaserver.ForTestSecured(t, planted, kafkaserver.SASL)
	env := map[string]string{
		"GAPLESS_BROKERS": strings.Join(s.Brokers(kafkaserver.SASL), ","), "GAPLESS_KAFKA_CA": s.Authority.CA,
		"GAPLESS_KAFKA_SASL": "PLAIN", "GAPLESS_KAFKA_USER": kafkaserver.User, "GAPLESS_KAFKA_PASSWORD": planted,
		"GAPLESS_DATABASE_URL": db.URL, "PLANTED_KEY": key,
		"GAPLESS_SMTP": "smtp://" + url.UserPassword("u", planted).String() + "@" + refused,
	}
	exec(`create table own_outbox (id uuid, aggregatetype text, aggregateid text, type text, payload text, much text, at timestamptz)`)
	exec("alter publication gapless add table own_outbox")
	env["GAPLESS_CONFIG"] = write(t, "relay.yaml", `version: 1
relays: [{tables: [{table: public.own_outbox, format: debezium, columns: {timestamp: at}, placement: [payload:header:copy]}]}]
`)
	run(t, env, "topics", "apply", "--partitions", "1").succeeds(t)
	run(t, env, "catalog", "import", "../catalog/sample.csv").succeeds(t)
	run(t, env, "keys", "create", "planter", "--role=operator", "--key-from-env=PLANTED_KEY").succeeds(t)

	env["GAPLESS_DATABASE_URL"], env["PGPASSWORD"], env["GAPLESS_SLOT"] = r.url, planted, db.Slot(t, "planted")
	address := freeAddr(t)
	services := map[string]*process{
		"relay":   startProgram(t, env, "relay"),
		"consume": startProgram(t, env, "consume"),
		"api":     startProgram(t, env, "api", "--auth=keys", "--listen="+address),
	}
	for _, p := range services {
		awaitStatus(t, "http://"+p.ops+"/readyz", http.StatusOK)
	}
	n := 0
	post := func(bearer, body string) int {
		t.Helper()
		n++
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/v1/orders", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", fmt.Sprintf("%s-%d", payload, n))
		req.Header.Set("Authorization", "Bearer "+bearer)
		answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		return answer.StatusCode
	}
	order := func(customer string) string {
		return strings.NewReplacer("c-1", customer, "1 Main St", payload, "San Francisco", payload).Replace(fmt.Sprintf(orderBody, "tok_ok"))
	}
	says := func(service, words string) {
		t.Helper()
		testkit.Eventually(t, 40*time.Second, func() error {
			if !strings.Contains(services[service].out.String(), words) {
				return fmt.Errorf("%s does not say %q", service, words)
			}
			return nil
		})
	}

	if got := post(key, order(payload)); got != http.StatusAccepted {
		t.Fatalf("an order: %d", got)
	}
	if got := post(planted, order(payload)); got != http.StatusUnauthorized {
		t.Errorf("a wrong key: %d", got)
	}
	if got := post(key, `{"customer_id": "`+payload+`", `); got != http.StatusBadRequest {
		t.Errorf("half an order: %d", got)
	}
	exec("alter table checkout.orders add constraint planted check (customer_id <> '" + payload + "-2') not valid")
	if got := post(key, order(payload+"-2")); got != http.StatusInternalServerError {
		t.Errorf("an order that the database refuses: %d", got)
	}
	says("api", "request failed")
	exec("alter table inventory.reservations add constraint planted check (false) not valid")
	if got := post(key, order(payload+"-3")); got != http.StatusAccepted {
		t.Fatalf("another order: %d", got)
	}
	says("consume", "message failed")
	exec("alter table inventory.reservations drop constraint planted")
	insert := `insert into gapless.outbox (aggregatetype, aggregateid, aggregate_version, type, payload, headers)
		values ($1, gen_random_uuid()::text, 1, 'OrderPlaced', convert_to($2, 'UTF8'), $3::jsonb)`
	exec(insert, "order", payload+" is no JSON", `{"content-type": "application/json"}`)
	says("consume", "message parked")
	exec("insert into own_outbox values (gen_random_uuid(), 'order', 'one', 'Much', $1, 'X', now()), (gen_random_uuid(), 'order', 'two', 'Infinite', $2, 'X', 'infinity')",
		strings.Repeat(payload, 200_000), payload)
	says("relay", "too_large")
	says("relay", "bad_value")

	// All connections are lost, and come back only with a password that does not fit yet.
	r.setPassword(t, "another")
	if r.hangUp(t) == 0 || s.HangUp(kafkaserver.SASL) == 0 {
		t.Fatal("nobody was connected")
	}
	says("relay", "password authentication failed")
	says("consume", "password authentication failed")
	if got := post(key, order(payload)); got != http.StatusServiceUnavailable {
		t.Errorf("an order without a database: %d", got)
	}
	for name, p := range services {
		conceals(t, name+" at its worst", p.shows(t), planted, key, payload)
	}
	r.setPassword(t, strings.ReplaceAll(planted, "'", "''"))
	for _, p := range services {
		awaitStatus(t, "http://"+p.ops+"/readyz", http.StatusOK)
	}
	for name, p := range services {
		conceals(t, name, p.shows(t), planted, key, payload)
		p.end(t)
		conceals(t, name+"'s log", p.out.String(), planted, key, payload)
		t.Logf("%s has written %d bytes", name, len(p.out.String()))
	}
	// A dead letter's error is the handler's, and may cite what it could not read.
	env["GAPLESS_DATABASE_URL"] = db.URL
	for _, command := range []string{"relay status", "consume status --all", "doctor --all", "outbox list", "inbox list", "dead list", "relay redrive --all --dry-run --reason r"} {
		conceals(t, command, try(t, env, strings.Fields(command)...), planted, key)
	}
}
