package check_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

// Prometheus checks the alerts itself, in .ci/deploy; nobody checks the dashboard's.
func TestDashboardQueriesParse(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "grafana", "gapless.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	parsed := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			if err := parse(target.Expr); err != nil {
				t.Errorf("%s: %s: %v", p.Title, target.Expr, err)
			}
			parsed++
		}
	}
	if parsed < 50 {
		t.Errorf("%d queries", parsed)
	}
}

func TestParseFindsMistakes(t *testing.T) {
	t.Parallel()
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
