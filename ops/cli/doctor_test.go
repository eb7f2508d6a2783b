//go:build unix

package cli_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/cli"
)

type doctorReport struct {
	Checks []struct{ ID, Title, Area, Outcome, Found, Fix string }
	OK     int `json:"ok"`

	Warnings, Faults int
	NotJudged        int `json:"not_judged"`
}

func TestDoctorEndsByWhatItFound(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	slot := db.Slot(t, "doctor")
	env := map[string]string{"DATABASE_URL": db.URL, "GAPLESS_SLOT": slot}
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"--only migrated,slot", cli.ExitOK, "all well: 2 ok"},
		{"--only slot,relay-streaming", cli.ExitOK, "works, with warnings: 1 ok, 1 warning,"},
		{"--only slot,relay-streaming --strict", cli.ExitFailed, "works, with warnings"},
		{"--only slot --slot not_there", cli.ExitFailed, "something is broken: 0 ok, 0 warnings, 1 fault"},
		{"--only brokers", cli.ExitOK, "nothing could be judged"},
		{"--only slot --all", cli.ExitOK, "ok          slot"},
		{"--quick", cli.ExitOK, "what could be judged is well: 6 ok"},
	} {
		r := run(t, env, append([]string{"doctor"}, strings.Fields(c.args)...)...)
		if r.code != c.code || !strings.Contains(r.stdout, c.says) || r.stderr != "" {
			t.Errorf("%s: code %d, want %d with %q; stdout: %s stderr: %s", c.args, r.code, c.code, c.says, r.stdout, r.stderr)
		}
	}
	run(t, env, "doctor", "--only", "nothing").failsWith(t, cli.ExitUsage, `no check "nothing"`, "postgres-version")
	run(t, nil, "doctor").failsWith(t, cli.ExitUsage, "--database-url")
	run(t, env, "doctor", "--brokers", "http://x").failsWith(t, cli.ExitUsage, "--brokers")
}

// A server that is away is a finding, with the fix that every command has for it, and
// without the password.
func TestDoctorOfServersThatAreAway(t *testing.T) {
	t.Parallel()
	r := run(t, nil, "doctor", "-o", "json", "--database-url", "postgres://u:verysecret@"+refused+"/x", "--brokers", refused, "--registry-url", "http://"+refused)
	if r.code != cli.ExitFailed || strings.Contains(r.stdout+r.stderr, "verysecret") {
		t.Errorf("code %d: %s %s", r.code, r.stdout, r.stderr)
	}
	r.code = cli.ExitOK
	report := jsonOf[doctorReport](t, r)
	fixes := map[string]string{"postgres": "start Postgres", "brokers": "start Kafka", "registry": "start the registry"}
	for _, c := range report.Checks {
		if want, ok := fixes[c.ID]; ok && (c.Outcome != "fault" || !strings.Contains(c.Fix, want)) {
			t.Errorf("%+v, want the fix %q", c, want)
		}
		if _, ok := fixes[c.ID]; !ok && (c.Outcome != "not judged" || c.Found == "") {
			t.Errorf("%+v", c)
		}
		if c.Title == "" || c.Area == "" {
			t.Errorf("%+v has no title or area", c)
		}
	}
	if report.Faults != 3 || report.NotJudged != len(report.Checks)-3 {
		t.Errorf("%d faults, %d not judged of %d", report.Faults, report.NotJudged, len(report.Checks))
	}
}

// The configuration file is the relay's.
func TestDoctorReadsTheRelaysFile(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	if _, err := db.Pool(t).Exec(t.Context(), `
		create table public.events (id uuid, kind text);
		insert into public.events values (gen_random_uuid(), 'Refund');
		create publication billing for table public.events`); err != nil {
		t.Fatal(err)
	}
	brokers := kafkaserver.Fake(t).ListenAddrs()
	file := write(t, "gapless.yaml", `version: 1
kafka: {brokers: ["`+brokers[0]+`"]}
relays:
  - {database_url: "`+db.URL+`", slot: `+db.Slot(t, "doctor")+`, publication: billing, tables: [{table: public.events, format: debezium, route: {by: kind}}]}
`)
	args := []string{"doctor", "--config", file, "--only", "publication-tables,slot,topics", "-o", "json"}
	r := run(t, nil, args...)
	if r.code != cli.ExitFailed {
		t.Fatalf("code %d: %s", r.code, r.stderr)
	}
	r.code = cli.ExitOK
	for _, c := range jsonOf[doctorReport](t, r).Checks {
		if broken := c.ID == "topics"; broken != (c.Outcome == "fault") || broken != strings.Contains(c.Found, "outbox.event.Refund") {
			t.Errorf("%+v", c)
		}
	}
	kafkaserver.CreateTopics(t, brokers, 2, "outbox.event.Refund")
	run(t, nil, args...).succeeds(t)
}

// What looks needs no more than gapless_readonly, whatever it is asked for.
func TestDoctorAsReader(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	reader := db.LoginURL(t, pgtest.Readonly)
	slot := db.Slot(t, "doctor")
	r := run(t, nil, "doctor", "-o", "json", "--database-url", reader, "--slot", slot)
	r.code = cli.ExitOK
	for _, c := range jsonOf[doctorReport](t, r).Checks {
		if strings.Contains(c.Found, "permission denied") {
			t.Errorf("%+v", c)
		}
	}
	stranger := changed(t, reader, func(u *url.URL) { u.Path = "/postgres" })
	run(t, nil, "doctor", "--database-url", stranger, "--only", "migrated").failsOnStdout(t, "gapless migrate up")
}

func (r result) failsOnStdout(t *testing.T, text string) {
	t.Helper()
	if r.code != cli.ExitFailed || !strings.Contains(r.stdout, text) {
		t.Errorf("code %d, %q is not in: %s %s", r.code, text, r.stdout, r.stderr)
	}
}
