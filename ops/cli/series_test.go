//go:build unix

package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
)

// exported are the series of /metrics: a name's labels.
type exported map[string]map[string]bool

var (
	sampleLine  = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? `)
	sampleLabel = regexp.MustCompile(`([a-zA-Z_]+)="`)
)

// read adds what a service exports.
func (e exported) read(metrics string) {
	for line := range strings.Lines(metrics) {
		m := sampleLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if e[m[1]] == nil {
			e[m[1]] = map[string]bool{}
		}
		for _, l := range sampleLabel.FindAllStringSubmatch(m[2], -1) {
			e[m[1]][l[1]] = true
		}
	}
}

// together gives every series of a relay the label that those of several in one process
// have: it comes from where they are registered, and not all of them happen there.
func (e exported) together() {
	if !e["gapless_relay_leader"]["relay"] {
		return
	}
	for _, labels := range e {
		if labels["slot"] {
			labels["relay"] = true
		}
	}
}

// scraped are the labels that Prometheus gives a series by where it found it.
var scraped = []string{"namespace", "job", "instance"}

// faults tells which names and labels of a query nobody exports.
func (e exported) faults(expr string) []string {
	q, err := readQuery(expr)
	if err != nil {
		return []string{err.Error()}
	}
	var faults []string
	known := slices.Clone(scraped)
	for _, s := range q.selectors {
		labels, ok := e[s.name]
		if !ok {
			faults = append(faults, s.name+" is exported by nobody")
			continue
		}
		for l := range labels {
			known = append(known, l)
		}
		for _, l := range s.labels {
			if !labels[l] && !slices.Contains(scraped, l) {
				faults = append(faults, fmt.Sprintf("%s has no label %s", s.name, l))
			}
		}
	}
	for _, l := range q.groups {
		if !slices.Contains(known, l) {
			faults = append(faults, "no series has the label "+l)
		}
	}
	return faults
}

// dashboard is what a test needs of deploy/grafana/gapless.json.
type dashboard struct {
	UID    string
	Panels []struct {
		ID         int
		Type       string
		Title      string
		Datasource *datasource
		Targets    []struct {
			Datasource   *datasource
			Expr         string
			LegendFormat string
		}
		GridPos struct{ H, W, X, Y int }
	}
}

type datasource struct{ Type, UID string }

func readDashboard(t *testing.T) (d dashboard, variables []string) {
	t.Helper()
	text := document(t, "deploy", "grafana", "gapless.json")
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`"definition": "label_values\((\w+), (\w+)\)"`).FindAllStringSubmatch(text, -1) {
		variables = append(variables, m[1]+`{`+m[2]+`=~".*"}`)
	}
	return d, variables
}

func TestDashboardIsWhole(t *testing.T) {
	t.Parallel()
	d, variables := readDashboard(t)
	var rows []string
	ids := map[int]bool{}
	legend := regexp.MustCompile(`\{\{(\w+)\}\}`)
	for i, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("%s: id %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			rows = append(rows, p.Title)
			continue
		}
		// What every Grafana has.
		if p.Type != "timeseries" && p.Type != "stat" {
			t.Errorf("%s: panel of type %s", p.Title, p.Type)
		}
		if p.Datasource == nil || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s: datasource %v, %d targets", p.Title, p.Datasource, len(p.Targets))
		}
		for _, o := range d.Panels[:i] {
			if a, b := p.GridPos, o.GridPos; a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H {
				t.Errorf("%s lies over %s", p.Title, o.Title)
			}
		}
		for _, target := range p.Targets {
			if target.Datasource == nil || target.Datasource.UID != "${datasource}" {
				t.Errorf("%s: target's datasource %v", p.Title, target.Datasource)
			}
			q, err := readQuery(target.Expr)
			if err != nil {
				t.Errorf("%s: %v", p.Title, err)
			}
			for _, m := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				if len(q.groups) > 0 && !slices.Contains(q.groups, m[1]) {
					t.Errorf("%s: the legend names %s, which %s does not keep", p.Title, m[1], target.Expr)
				}
			}
		}
	}
	if !slices.Equal(rows, []string{"Relay and slot", "Kafka", "Consumers and inbox", "Saga", "Checkout"}) {
		t.Errorf("rows %q", rows)
	}
	if len(variables) != 2 || d.UID != "gapless" {
		t.Errorf("variables %q, uid %q", variables, d.UID)
	}
}

// TestDashboardAndAlertsNameWhatIsExported runs the whole pipeline, a standby too, makes
// happen what has a series only once it has happened, and asks each service.
func TestDashboardAndAlertsNameWhatIsExported(t *testing.T) {
	t.Parallel()
	server := pgtest.Server(t, nil)
	env := map[string]string{
		"GAPLESS_DATABASE_URL": server.SuperuserURL(), "GAPLESS_BROKERS": strings.Join(kafkaserver.Fake(t).ListenAddrs(), ","),
	}
	run(t, env, "migrate", "up").succeeds(t)
	run(t, env, "topics", "apply", "--partitions", "2").succeeds(t)
	run(t, env, "catalog", "import", "../catalog/sample.csv").succeeds(t)
	listen := freeAddr(t)
	var services []string
	for _, args := range [][]string{{"api", "--listen", listen}, {"relay"}, {"relay"}, {"consume"}} {
		ops := freeAddr(t)
		start(t, env, append(args, "--ops-listen", ops)...)
		awaitStatus(t, "http://"+ops+"/readyz", http.StatusOK)
		services = append(services, "http://"+ops+"/metrics")
	}
	// One that has others beside it in its process has a label more.
	file := write(t, "relays.yaml", "version: 1\nrelays: [{name: shop}, {name: other, slot: other}]\n")
	ops := freeAddr(t)
	start(t, env, "relay", "--config", file, "--ops-listen", ops)
	awaitStatus(t, "http://"+ops+"/livez", http.StatusOK)
	services = append(services, "http://"+ops+"/metrics")
	pool := pgtest.OpenPool(t, server.SuperuserURL())
	makeItHappen(t, pool, "http://"+listen)

	d, queries := readDashboard(t)
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			queries = append(queries, target.Expr)
		}
	}
	if len(queries) < 50 {
		t.Errorf("%d queries were found on the dashboard", len(queries))
	}
	for _, a := range alerts(t) {
		queries = append(queries, a.Expr)
	}
	var e exported
	testkit.Eventually(t, 30*time.Second, func() error {
		e = exported{}
		for _, url := range services {
			_, body := get(t, url)
			e.read(body)
		}
		e.together()
		for _, q := range queries {
			if faults := e.faults(q); len(faults) > 0 {
				return fmt.Errorf("%s: %q", q, faults)
			}
		}
		return nil
	})
	findsMistakes(t, e)
}

// makeItHappen lets a stream break, an order end, a handler fail and a message be poison.
func makeItHappen(t *testing.T, pool *pgxpool.Pool, base string) {
	t.Helper()
	exec := func(statement string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	exec("alter table loyalty.points add constraint fault check (false) not valid")
	awaitOrder(t, base, placeOrder(t, base, "series-1", "tok_ok"), "confirmed")
	exec(`insert into gapless.outbox (aggregatetype, aggregateid, type, payload) values ('order', 'poison', 'OrderConfirmed', '{')`)
	testkit.Eventually(t, 60*time.Second, func() error {
		var attempts, letters int
		err := pool.QueryRow(t.Context(), "select (select count(*) from gapless.inbox_attempt), (select count(*) from gapless.dead_letter)").Scan(&attempts, &letters)
		if err != nil || attempts == 0 || letters == 0 {
			return fmt.Errorf("%d attempts, %d dead letters, %w", attempts, letters, err)
		}
		return nil
	})
	exec("alter table loyalty.points drop constraint fault")
	exec("select pg_terminate_backend(active_pid) from pg_replication_slots where active_pid is not null")
}

// findsMistakes plants them.
func findsMistakes(t *testing.T, e exported) {
	t.Helper()
	for expr, want := range map[string]string{
		`sum by (slot) (gapless_relay_leaders)`:                      "gapless_relay_leaders is exported by nobody",
		`gapless_relay_commit_to_ack_seconds`:                        "exported by nobody", // a histogram has no such series
		`gapless_relay_leader and gapless_slot_activ`:                "gapless_slot_activ is exported by nobody",
		`rate(gapless_relay_events_total{outcome="published"}[5m])`:  "gapless_relay_events_total has no label outcome",
		`sum by (slots) (gapless_relay_leader)`:                      "no series has the label slots",
		`sum by (slot) (gapless_relay_leader`:                        "", // the real parser's to find
		`{__name__="gapless_relay_leader"}`:                          "a selector without a name",
		`rate(gapless_inbox_events_total{topic="x"}[5m])`:            "has no label topic",
		`max by (namespace, job, slot) (gapless_oldest_transaction)`: "gapless_oldest_transaction is exported by nobody",
	} {
		faults := e.faults(expr)
		if found := len(faults) > 0 && strings.Contains(faults[0], want); found != (want != "") {
			t.Errorf("%s: faults %q, want %q", expr, faults, want)
		}
	}
}
