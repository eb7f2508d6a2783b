//go:build unix

package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/cli"
)

// TestServicesWaitForABrokerThatIsAway: it comes back by itself, and restarting
// the service would not bring it.
func TestServicesWaitForABrokerThatIsAway(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"relay", "consume"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.NewDB(t)
			broker, ops := listen(t), freeAddr(t)
			_, port, _ := strings.Cut(broker.Addr().String(), ":")
			_ = broker.Close()
			args := []string{name, "--create-topics", "--database-url", db.URL, "--brokers", "127.0.0.1:" + port, "--ops-listen", ops}
			if name == "relay" {
				args = append(args, "--slot", db.Slot(t, "cli"))
			}
			s := start(t, nil, args...)
			awaitStatus(t, "http://"+ops+"/readyz?verbose", http.StatusServiceUnavailable)
			testkit.Eventually(t, 10*time.Second, func() error {
				if log := s.log.String(); !strings.Contains(log, "kafka is away, waiting for it") || !strings.Contains(log, "correct --brokers") {
					return fmt.Errorf("log: %s", s.log)
				}
				return nil
			})
			if body := awaitStatus(t, "http://"+ops+"/readyz?verbose", http.StatusServiceUnavailable); !strings.Contains(body, "cannot reach Kafka") || !strings.Contains(body, "correct --brokers") {
				t.Errorf("readiness: %s", body)
			}
			if status, _ := get(t, "http://"+ops+"/livez"); status != http.StatusOK {
				t.Errorf("liveness %d", status)
			}
			var n int
			if _, err := fmt.Sscan(port, &n); err != nil {
				t.Fatal(err)
			}
			kafkaserver.Fake(t, kfake.Ports(n))
			awaitStatus(t, "http://"+ops+"/readyz", http.StatusOK)
			if r := s.end(t); r.code != cli.ExitOK {
				t.Errorf("code %d: %s", r.code, r.stderr)
			}
		})
	}
}

// TestServicesStopWhileTheyWait must not need a broker to end.
func TestServicesStopWhileTheyWait(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	for _, name := range []string{"relay", "consume"} {
		ops := freeAddr(t)
		s := start(t, nil, name, "--database-url", db.URL, "--brokers", refused, "--ops-listen", ops)
		awaitStatus(t, "http://"+ops+"/livez", http.StatusOK)
		if r := s.end(t); r.code != cli.ExitOK {
			t.Errorf("%s: code %d: %s", name, r.code, r.stderr)
		}
	}
}

func TestServicesNameMissingTopics(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	brokers := strings.Join(kafkaserver.Fake(t).ListenAddrs(), ",")
	for _, args := range [][]string{{"relay", "--slot", db.Slot(t, "cli")}, {"consume", "loyalty"}} {
		args = append(args, "--database-url", db.URL, "--brokers", brokers, "--ops-listen", "127.0.0.1:0")
		start(t, nil, args...).ended(t).
			failsWith(t, cli.ExitFailed, "topics are missing", "gapless topics apply", "--create-topics")
	}
}

// TestOneConsumerNeedsItsTopicsAlone: the topics of others may be on another
// cluster.
func TestOneConsumerNeedsItsTopicsAlone(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	cluster := kafkaserver.Fake(t, kfake.SeedTopics(2, "outbox.event.order"), kfake.SeedTopics(1, "dlq.gapless.loyalty.outbox.event.order"))
	ops := freeAddr(t)
	s := start(t, nil, "consume", "loyalty", "--database-url", db.URL, "--brokers", strings.Join(cluster.ListenAddrs(), ","), "--ops-listen", ops)
	awaitStatus(t, "http://"+ops+"/readyz", http.StatusOK)
	if r := s.end(t); r.code != cli.ExitOK {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

// TestARelayOfAnotherOutboxNeedsNoTopics: the pipeline's are not its own.
func TestARelayOfAnotherOutboxNeedsNoTopics(t *testing.T) {
	t.Parallel()
	db := pgtest.NewEmptyDB(t)
	run(t, nil, "migrate", "up", "--component", "outbox", "--no-slot", "--database-url", db.URL).succeeds(t)
	ops := freeAddr(t)
	s := start(t, nil, "relay", "--slot", db.Slot(t, "cli"), "--database-url", db.URL, "--ops-listen", ops,
		"--brokers", strings.Join(kafkaserver.Fake(t).ListenAddrs(), ","))
	awaitStatus(t, "http://"+ops+"/readyz", http.StatusOK)
	if r := s.end(t); r.code != cli.ExitOK {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

// TestTopicsOfYourOwn: what the README's gapless.append names must have a topic.
func TestTopicsOfYourOwn(t *testing.T) {
	t.Parallel()
	brokers := kafkaserver.Fake(t).ListenAddrs()
	apply := func(args ...string) []string {
		t.Helper()
		r := run(t, nil, append([]string{"topics", "apply", "--partitions", "3", "-o", "json", "--brokers", strings.Join(brokers, ",")}, args...)...)
		return jsonOf[struct{ Created []string }](t, r).Created
	}
	if made := apply("--aggregate", "invoice", "--topic", "billing", "--topic", "audit", "--no-pipeline"); !slices.Equal(made, []string{"audit", "billing", "outbox.event.invoice"}) {
		t.Errorf("created %v", made)
	}
	details, err := kadm.NewClient(kafkaserver.Client(t, brokers)).ListTopics(t.Context(), "outbox.event.invoice")
	if n := len(details["outbox.event.invoice"].Partitions); err != nil || n != 3 {
		t.Errorf("%d partitions, %v", n, err)
	}
	if made := apply("--aggregate", "invoice", "--aggregate", "receipt"); !slices.Contains(made, "outbox.event.receipt") || !slices.Contains(made, "outbox.event.order") || slices.Contains(made, "outbox.event.invoice") {
		t.Errorf("besides the pipeline's: %v", made)
	}
}

// TestTheRelayCreatesTopicsWhenPostgresIsBack: which are needed, only the database can say.
func TestTheRelayCreatesTopicsWhenPostgresIsBack(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	pool := db.Pool(t)
	admit := func(limit int) {
		t.Helper()
		statement := fmt.Sprintf("do $$ begin execute format('alter database %%I connection limit %d', current_database()); end $$", limit)
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	ops, brokers, login := freeAddr(t), kafkaserver.Fake(t).ListenAddrs(), db.LoginURL(t, pgtest.Relay)
	admit(0) // a superuser is let in nevertheless
	s := start(t, nil, "relay", "--create-topics", "--slot", db.Slot(t, "cli"), "--database-url", login, "--ops-listen", ops, "--brokers", strings.Join(brokers, ","))
	testkit.Eventually(t, 20*time.Second, func() error {
		if log := s.log.String(); !strings.Contains(log, "too many connections") {
			return fmt.Errorf("log: %s", log)
		}
		return nil
	})
	admit(-1)
	awaitStatus(t, "http://"+ops+"/readyz", http.StatusOK)
	client := kadm.NewClient(kafkaserver.Client(t, brokers))
	testkit.Eventually(t, 20*time.Second, func() error {
		details, err := client.ListTopics(t.Context(), "outbox.event.order", "outbox.event.payment")
		if err == nil {
			err = details.Error()
		}
		return err
	})
	if r := s.end(t); r.code != cli.ExitOK {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

// TestTheRelayWaitsForPostgres, which comes back by itself.
func TestTheRelayWaitsForPostgres(t *testing.T) {
	t.Parallel()
	ops := freeAddr(t)
	s := start(t, nil, "relay", "--database-url", "postgres://u@"+refused+"/x", "--ops-listen", ops,
		"--brokers", strings.Join(kafkaserver.Fake(t).ListenAddrs(), ","))
	testkit.Eventually(t, 20*time.Second, func() error {
		if status, body := get(t, "http://"+ops+"/readyz?verbose"); status != http.StatusServiceUnavailable || !strings.Contains(body, "connection refused: start it, or correct --database-url") {
			return fmt.Errorf("readiness %d: %s", status, body)
		}
		return nil
	})
	if r := s.end(t); r.code != cli.ExitOK {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

// TestTheLargestPayloadIsRelayed: what the outbox takes must not be parked.
func TestTheLargestPayloadIsRelayed(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	brokers := kafkaserver.Fake(t).ListenAddrs()
	run(t, nil, "topics", "apply", "--partitions", "1", "--brokers", strings.Join(brokers, ",")).succeeds(t)
	ops := freeAddr(t)
	s := start(t, nil, "relay", "--slot", db.Slot(t, "cli"), "--database-url", db.URL, "--brokers", strings.Join(brokers, ","), "--ops-listen", ops)
	pool := db.Pool(t)
	const insert = `insert into gapless.outbox (aggregatetype, aggregateid, type, payload, headers)
		values ('order', 'k', 'Large', convert_to(repeat('x', 1048576), 'UTF8'), jsonb_build_object('filler', repeat('y', 16000)))`
	if _, err := pool.Exec(t.Context(), insert); err != nil {
		t.Fatal(err)
	}
	client := kafkaserver.Client(t, brokers, kgo.ConsumeTopics("outbox.event.order"))
	fetches := client.PollFetches(t.Context())
	if err := fetches.Err(); err != nil || fetches.NumRecords() != 1 || len(fetches.Records()[0].Value) != 1<<20 {
		t.Errorf("%d records, %v", fetches.NumRecords(), err)
	}
	var parked int
	if err := pool.QueryRow(t.Context(), "select count(*) from gapless.parked").Scan(&parked); err != nil || parked != 0 {
		t.Errorf("%d parked, %v", parked, err)
	}
	if r := s.end(t); r.code != cli.ExitOK {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

// TestSIGTERM ends each service clean within ten seconds.
func TestSIGTERM(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	brokers := strings.Join(kafkaserver.Fake(t).ListenAddrs(), ",")
	run(t, nil, "topics", "apply", "--partitions", "2", "--brokers", brokers).succeeds(t)
	env := []string{"GAPLESS_DATABASE_URL=" + db.URL, "GAPLESS_BROKERS=" + brokers}
	for _, args := range [][]string{
		{"api", "--listen", "127.0.0.1:0"},
		{"relay", "--slot", db.Slot(t, "cli")},
		{"consume"},
	} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			ops := freeAddr(t)
			cmd := child(t, env, append(args, "--ops-listen", ops)...)
			var log testkit.Buffer
			cmd.Stderr = &log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			awaitStatus(t, "http://"+ops+"/readyz", http.StatusOK)
			began := time.Now()
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("%v: %s", err, &log)
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("still running %s after SIGTERM: %s", time.Since(began), &log)
			}
		})
	}
}

// TestPipelineByCommands places orders on services that are commands of their
// own, and looks at them with every list command.
func TestPipelineByCommands(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, nil)
	brokers := strings.Join(kafkaserver.Fake(t).ListenAddrs(), ",")
	listen := freeAddr(t)
	env := map[string]string{"GAPLESS_DATABASE_URL": server.SuperuserURL(), "GAPLESS_BROKERS": brokers}
	run(t, env, "migrate", "up").succeeds(t)
	if r := run(t, env, "migrate", "up").succeeds(t); !strings.Contains(r.stdout, "0 migrations") {
		t.Errorf("a second time: %s", r.stdout)
	}
	jsonOf[map[string]any](t, run(t, env, "topics", "apply", "--partitions", "2", "-o", "json"))
	jsonOf[map[string]any](t, run(t, env, "catalog", "import", "../catalog/sample.csv", "-o", "json"))
	addresses := map[string]string{"api": freeAddr(t), "relay": freeAddr(t), "consume": freeAddr(t)}
	for name, ops := range addresses {
		args := []string{name, "--ops-listen", ops}
		if name == "api" {
			args = append(args, "--listen", listen)
		}
		start(t, env, args...)
	}
	for _, ops := range addresses {
		awaitStatus(t, "http://"+ops+"/readyz", http.StatusOK)
	}
	id := placeOrder(t, "http://"+listen, "cli-1", "tok_ok")
	awaitOrder(t, "http://"+listen, id, "confirmed")

	if story := jsonOf[struct {
		Kind, Status string
		Events       []struct{ ID, Type string }
	}](t, run(t, env, "trace", id, "-o", "json")); story.Kind != "order" || story.Status != "confirmed" || len(story.Events) < 5 {
		t.Errorf("story %+v", story)
	}
	export := filepath.Join(t.TempDir(), "story.json")
	if r := run(t, env, "trace", id, "--export", export).succeeds(t); !strings.Contains(r.stdout, "order "+id) {
		t.Errorf("trace: %s", r.stdout)
	}
	status, timeline := get(t, "http://"+listen+"/v1/orders/"+id+"/timeline")
	if status != http.StatusOK || !json.Valid([]byte(timeline)) || !strings.Contains(timeline, "OrderConfirmed") {
		t.Errorf("timeline: %d %s", status, timeline)
	}

	events := jsonOf[[]struct{ ID, Type string }](t, run(t, env, "outbox", "list", "-o", "json", "--aggregate-type", "order", "--since", "1h"))
	if len(events) != 2 || events[0].Type != "OrderConfirmed" || events[1].Type != "OrderPlaced" {
		t.Fatalf("outbox %+v", events)
	}
	event := jsonOf[map[string]any](t, run(t, env, "outbox", "show", events[1].ID, "-o", "json"))
	if event["payload"] == nil {
		t.Errorf("event %v", event)
	}
	if none := jsonOf[[]any](t, run(t, env, "outbox", "list", "-o", "json", "--type", "Nothing")); len(none) != 0 {
		t.Errorf("%v", none)
	}
	claims := jsonOf[[]struct{ Consumer, Outcome string }](t, run(t, env, "inbox", "list", "-o", "json", "--event", events[1].ID))
	if len(claims) < 3 {
		t.Errorf("claims %+v", claims)
	}
	sagas := jsonOf[[]map[string]any](t, run(t, env, "saga", "list", "-o", "json", "--order", id))
	if len(sagas) != 1 {
		t.Errorf("sagas %v", sagas)
	}
	if s := jsonOf[map[string]any](t, run(t, env, "saga", "show", id, "-o", "json")); s["order_id"] != id {
		t.Errorf("saga %v", s)
	}
	if dead := jsonOf[[]any](t, run(t, env, "dead", "list", "-o", "json")); len(dead) != 0 {
		t.Errorf("dead letters %v", dead)
	}
	relays := jsonOf[[]map[string]any](t, run(t, env, "relay", "status", "-o", "json"))
	if len(relays) != 1 || relays[0]["slot"] != "gapless" || relays[0]["state"] != "streaming" {
		t.Errorf("relays %v", relays)
	}
	if list := jsonOf[[]map[string]any](t, run(t, env, "consume", "status", "-o", "json")); len(list) != 7 {
		t.Errorf("%d consumers", len(list))
	}
	jsonOf[[]map[string]any](t, run(t, env, "migrate", "status", "-o", "json"))
	if report := jsonOf[map[string]any](t, run(t, env, "verify", "-o", "json")); len(report) == 0 {
		t.Error("an empty report")
	}

	for _, command := range []string{
		"outbox list", "outbox show " + events[0].ID, "inbox list --consumer saga", "saga list", "saga show " + id, "saga graph", "dead list --status all",
		"relay status", "consume status", "consume status saga loyalty", "migrate status", "verify", "trace " + events[0].ID,
	} {
		if r := run(t, env, strings.Fields(command)...).succeeds(t); r.stdout == "" {
			t.Errorf("%s prints nothing", command)
		}
	}
	for _, command := range []string{"outbox show", "saga show", "dead show", "trace"} {
		run(t, env, append(strings.Fields(command), "0198c0de-0000-7000-8000-000000000000")...).failsWith(t, cli.ExitFailed, "not found")
		run(t, env, append(strings.Fields(command), "x")...).failsWith(t, cli.ExitUsage, "x")
	}
	follow(t, env, "http://"+listen)
	watch(t, env)
	report := jsonOf[struct {
		Placed int
		Ends   map[string]int
	}](t, run(t, env, "load", "--api-url", "http://"+listen, "--orders", "24", "-o", "json"))
	if report.Placed != 24 || len(report.Ends) < 3 {
		t.Errorf("load: %+v", report)
	}
	if r := run(t, env, "load", "--api-url", "http://"+listen, "--orders", "2", "--rate", "100", "--no-wait").succeeds(t); !strings.Contains(r.stdout, "2 orders placed") {
		t.Errorf("load: %s", r.stdout)
	}
	lookAsReader(t, server.SuperuserURL(), brokers, id)
}

// lookAsReader takes a login that may only read, which is what who looks should
// have.
func lookAsReader(t *testing.T, superuser, brokers, id string) {
	t.Helper()
	const password = "onlyforthistest"
	if _, err := pgtest.OpenPool(t, superuser).Exec(t.Context(), "create role looker login password '"+password+"' in role gapless_readonly"); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"GAPLESS_DATABASE_URL": changed(t, superuser, func(u *url.URL) { u.User = url.UserPassword("looker", password) }), "GAPLESS_BROKERS": brokers,
	}
	for _, command := range []string{
		"outbox list", "inbox list", "saga list", "saga show " + id, "dead list", "relay status", "consume status", "trace " + id, "verify",
	} {
		if r := run(t, env, strings.Fields(command)...); r.code != cli.ExitOK {
			t.Errorf("%s: %s", command, r.stderr)
		}
	}
}

// follow sees an order that is placed meanwhile, as a line of JSON.
func follow(t *testing.T, env map[string]string, base string) {
	t.Helper()
	lines, stop := stream(t, env, "outbox", "list", "--follow", "--since", "1h", "-o", "json", "--type", "OrderPlaced")
	placeOrder(t, base, "cli-2", "tok_ok")
	for range 2 {
		var line struct{ Type string }
		if err := lines.Decode(&line); err != nil || line.Type != "OrderPlaced" {
			t.Fatalf("%+v, %v", line, err)
		}
	}
	stop()
}

// watch sees the consumers twice.
func watch(t *testing.T, env map[string]string) {
	t.Helper()
	lines, stop := stream(t, env, "consume", "status", "--watch", "--every", "100ms", "-o", "json", "saga")
	for range 2 {
		var line []struct{ Consumer string }
		if err := lines.Decode(&line); err != nil || len(line) != 1 || line[0].Consumer != "saga" {
			t.Fatalf("%+v, %v", line, err)
		}
	}
	stop()
}

// stream runs a command that has no end, and returns what it prints. stop
// interrupts it, which is a clean end.
func stream(t *testing.T, env map[string]string, args ...string) (lines *json.Decoder, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	reader, writer := io.Pipe()
	done := make(chan int, 1)
	go func() {
		code := cli.Main{
			Version: "test", Getenv: func(name string) string { return env[name] }, Stdin: strings.NewReader(""), Stdout: writer, Stderr: io.Discard,
		}.Run(ctx, args)
		_ = writer.Close()
		done <- code
	}()
	return json.NewDecoder(reader), func() {
		cancel()
		_, _ = io.Copy(io.Discard, reader)
		if code := <-done; code != cli.ExitOK {
			t.Errorf("%v ended with %d", args, code)
		}
	}
}

// jsonOf is stdout as JSON, which holds one document and nothing else.
func jsonOf[T any](t *testing.T, r result) T {
	t.Helper()
	r.succeeds(t)
	var v T
	d := json.NewDecoder(strings.NewReader(r.stdout))
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in: %s", err, r.stdout)
	}
	if d.More() {
		t.Errorf("more than one document: %s", r.stdout)
	}
	return v
}

const orderBody = `{"customer_id":"c-1","currency":"USD","items":[{"sku":"A-1","quantity":2}],
"shipping_address":{"line1":"1 Main St","city":"San Francisco","postal_code":"94107","country":"US"},
"payment_token":"%s","plan":"standard"}`

// placeOrder returns the id of a new order.
func placeOrder(t *testing.T, base, key, token string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/orders", strings.NewReader(fmt.Sprintf(orderBody, token)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var order struct{ ID string }
	if err := json.NewDecoder(answer.Body).Decode(&order); err != nil || answer.StatusCode != http.StatusAccepted {
		t.Fatalf("place order: %s, %v", answer.Status, err)
	}
	return order.ID
}

func awaitOrder(t *testing.T, base, id, status string) {
	t.Helper()
	testkit.Eventually(t, 60*time.Second, func() error {
		if _, body := get(t, base+"/v1/orders/"+id); !strings.Contains(body, `"status":"`+status+`"`) {
			return fmt.Errorf("order: %s", body)
		}
		return nil
	})
}
