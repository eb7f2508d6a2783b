package check_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/prometheus/prometheus/promql/parser"
)

func TestMain(m *testing.M) {
	plugins.RegisterDefaultPlugins() // the types of panels and queries
	os.Exit(m.Run())
}

func read(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "grafana", "gapless.json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// v1 is the schema that every Grafana reads; the newer one needs Grafana 12 and its
// Kubernetes-like API.
type v1 = dashboard.Dashboard //nolint:staticcheck // deprecated for the newer one, see above

// load decodes a dashboard into Grafana's types. A field that they do not have is an
// error.
func load(text string) (d v1, err error) {
	var judged v1 // which it does not fill
	if err := some(judged.UnmarshalJSONStrict([]byte(text))); err != nil {
		return d, err
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return d, err
	}
	return d, some(d.Validate())
}

// some is nil for an error that is a list of none, which is how the types say that all is
// well.
func some(err error) error {
	if list, ok := errors.AsType[cog.BuildErrors](err); ok && len(list) == 0 {
		return nil
	}
	return err
}

// Prometheus checks the alerts' queries itself, in .ci/deploy; nobody checks the
// dashboard's.
func TestDashboard(t *testing.T) {
	t.Parallel()
	d, err := load(read(t))
	if err != nil {
		t.Fatal(err)
	}
	parsed := 0
	for _, p := range d.Panels {
		if p.Panel == nil {
			continue // a row
		}
		for _, target := range p.Panel.Targets {
			q, ok := target.(*prometheus.Dataquery)
			if !ok {
				t.Fatalf("%s: a query of type %T", *p.Panel.Title, target)
			}
			if err := parse(q.Expr); err != nil {
				t.Errorf("%s: %s: %v", *p.Panel.Title, q.Expr, err)
			}
			parsed++
		}
	}
	if parsed < 50 {
		t.Errorf("%d queries", parsed)
	}
}

func TestDashboardMistakesAreFound(t *testing.T) {
	t.Parallel()
	whole := read(t)
	for _, m := range [][2]string{
		{`"templating"`, `"template"`},
		{`"fieldConfig"`, `"fieldConf"`},
		{`"legendFormat"`, `"legend"`},
		{`"h": 8`, `"height": 8`},
		{`"schemaVersion": 39`, `"schemaVersion": "39"`},
		{`"colorMode"`, `"colourMode"`},
	} {
		text := strings.Replace(whole, m[0], m[1], 1)
		if text == whole {
			t.Errorf("%s is not in the dashboard", m[0])
		}
		if _, err := load(text); err == nil {
			t.Errorf("%s was taken for %s", m[1], m[0])
		}
	}
	for _, expr := range []string{
		`sum by (slot) (gapless_relay_leader`, `rate(gapless_relay_events_total)`, `gapless_relay_leader{slot="a"`, `max(a) by`, `a = 1`, `$slot`,
	} {
		if parse(expr) == nil {
			t.Errorf("%s was taken", expr)
		}
	}
}

// parse puts a duration where Grafana would.
func parse(expr string) error {
	_, err := parser.NewParser(parser.Options{}).ParseExpr(strings.ReplaceAll(expr, "$__rate_interval", "1m"))
	return err
}
