package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/cli"
)

func TestExplainARow(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	pool := db.Pool(t)
	const id = "0199c0de-0000-7000-8000-000000000001"
	statements(t, pool, `create table shop_outbox (id uuid, kind text, k text, payload text);
insert into shop_outbox values ('`+id+`', 'order', 'k-1', null);
insert into gapless.outbox (id, aggregatetype, aggregateid, type, payload, headers) values ('`+id+`', 'order', 'o-1', 'Placed', 'text', '{"h": "1"}')`)
	file := filepath.Join(t.TempDir(), "relay.yaml")
	if err := os.WriteFile(file, []byte("version: 1\nrelays:\n- tables:\n  - {table: public.shop_outbox, format: debezium, columns: {key: k}, route: {by: kind}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	explain := func(args ...string) result {
		return run(t, nil, append([]string{"explain", "--database-url", db.LoginURL(t, pgtest.Relay)}, args...)...)
	}
	got := explain(id).succeeds(t).stdout
	for _, want := range []string{"a record", "outbox.event.order", "o-1", "header ce_type", "Placed", "text", "by the key"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing:\n%s", want, got)
		}
	}
	if strings.Contains(got, "gapless_position") {
		t.Errorf("a position of a row that nobody has relayed:\n%s", got)
	}
	// A table of one's own needs SELECT of the login.
	if r := explain(id, "--table", "public.shop_outbox", "--config", file); r.code != cli.ExitFailed || !strings.Contains(r.stderr, "permission denied") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
	statements(t, pool, "grant select on shop_outbox to public")
	if got := explain(id, "--table", "public.shop_outbox", "--config", file).succeeds(t).stdout; !strings.Contains(got, "tombstone") || !strings.Contains(got, "k-1") {
		t.Errorf("%s", got)
	}
	var list []struct {
		Sent   bool
		Reason string
		Topic  string
	}
	r := explain("--row", `{"id": "`+id+`", "k": "k-1"}`, "--table", "public.shop_outbox", "--config", file, "-o", "json").succeeds(t)
	if err := json.Unmarshal([]byte(r.stdout), &list); err != nil || len(list) != 1 || list[0].Sent || list[0].Reason != "bad_topic" {
		t.Errorf("%v: %s", err, r.stdout)
	}
	in := runContext(t, t.Context(), nil, strings.NewReader(`{"id": "`+id+`", "kind": "sale"}`), "explain", "--database-url", db.URL, "--row", "-",
		"--table", "public.shop_outbox", "--config", file)
	if in.code != cli.ExitOK || !strings.Contains(in.stdout, "outbox.event.sale") || !strings.Contains(in.stdout, "no order") {
		t.Errorf("code %d: %s%s", in.code, in.stdout, in.stderr)
	}
	for _, bad := range [][]string{{id, "--row", "{}"}, {id, "--connector", "f"}, {"--row", "[]"}, {"--row", "{"}} {
		if r := explain(bad...); r.code != cli.ExitUsage {
			t.Errorf("%q: code %d: %s", bad, r.code, r.stderr)
		}
	}
	for _, failing := range [][]string{{"no such id"}, {id, "--table", "public.nothing"}, {"--row", `{"created_at": "yesterday in a way"}`}} {
		if r := explain(failing...); r.code != cli.ExitFailed || r.complaint() == "" {
			t.Errorf("%q: code %d: %s", failing, r.code, r.stderr)
		}
	}
}

func TestOutputSteersNoTerminal(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	r := run(t, nil, "explain", "--database-url", db.URL, "--row",
		`{"id": "0199c0de-0000-7000-8000-000000000001", "aggregatetype": "order", "aggregateid": "k", "type": "T", "payload": "p", "headers": {"\u001b]0;owned\u0007": "v"}}`).succeeds(t)
	if strings.ContainsAny(r.stdout, "\x1b\a") || !strings.Contains(r.stdout, "owned") {
		t.Errorf("%q", r.stdout)
	}
	if r := run(t, nil, "version", "\x1b[2Jowned"); strings.Contains(r.stderr, "\x1b") || !strings.Contains(r.stderr, "owned") {
		t.Errorf("%q", r.stderr)
	}
}
