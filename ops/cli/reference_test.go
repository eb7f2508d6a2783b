//go:build unix

package cli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gapless/gapless/ops/cli"
	"github.com/gapless/gapless/ops/doctor"
)

// document reads a file of the repository.
func document(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{"..", ".."}, path...)...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// leaves are the commands, each with the arguments that it cannot do without.
var leaves = []string{
	"demo", "migrate up", "migrate down", "migrate status", "migrate print", "topics apply", "schema check", "schema register", "schema diff",
	"catalog import f", "keys create n", "api", "load", "relay run", "relay status", "relay import f", "relay pause --reason r", "relay forget --reason r", "relay resume --reason r", "explain i", "relay redrive", "relay discard", "relay replay", "relay replays", "consume run", "consume status", "outbox list", "outbox show i",
	"inbox list", "saga list", "saga show i", "saga graph", "dead list", "dead show i", "trace i", "compare topics a b", "verify", "doctor", "version",
}

func TestReferenceHasEveryCommandAndFlag(t *testing.T) {
	t.Parallel()
	reference := document(t, "docs", "reference.md")
	for _, leaf := range leaves {
		flags, err := cli.Values(strings.Fields(leaf), func(string) string { return "" })
		if err != nil {
			t.Errorf("%s: %v", leaf, err)
		}
		if name := strings.Join(strings.Fields(leaf)[:min(2, len(strings.Fields(leaf)))], " "); !strings.Contains(reference, "`"+strings.TrimSuffix(strings.TrimSuffix(name, " i"), " run")) {
			t.Errorf("the reference does not name %s", name)
		}
		for flag := range flags {
			if flag != "help" && !strings.Contains(reference, "`--"+flag+"`") {
				t.Errorf("the reference does not name --%s of %s", flag, leaf)
			}
		}
	}
}

func TestReferenceNamesNoFlagThatIsNot(t *testing.T) {
	t.Parallel()
	known := map[string]bool{
		"snapshot":   true, // named as what is not there
		"no-dry-run": true, // of relay replay: its other form
	}
	for _, leaf := range leaves {
		flags, err := cli.Values(strings.Fields(leaf), func(string) string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		for flag := range flags {
			known[flag] = true
		}
	}
	for _, m := range regexp.MustCompile("`--([a-z-]+)").FindAllStringSubmatch(document(t, "docs", "reference.md")+document(t, "README.md"), -1) {
		if !known[m[1]] {
			t.Errorf("--%s is no flag", m[1])
		}
	}
}

// metricName finds where a metric is made.
var metricName = regexp.MustCompile(`"(gapless_(?:http|checkout|idempotency|relay|rows|slot|oldest|inbox|dlq|saga|notification|build)_[a-z_]+)"`)

func TestReferenceHasEveryMetric(t *testing.T) {
	t.Parallel()
	reference := document(t, "docs", "reference.md")
	found := map[string]bool{}
	for _, pattern := range []string{"api/metrics.go", "relay/metrics.go", "consumers/metrics.go", "consumers/saga/metrics.go", "consumers/notification/notification.go", "ops/cli/api.go"} {
		for _, m := range metricName.FindAllStringSubmatch(document(t, pattern), -1) {
			if found[m[1]] = true; !strings.Contains(reference, "`"+m[1]) {
				t.Errorf("the reference does not name %s of %s", m[1], pattern)
			}
		}
	}
	if len(found) < 40 {
		t.Errorf("only %d metrics were found", len(found))
	}
	for _, m := range regexp.MustCompile("`(gapless_[a-z_]+)[`{]").FindAllStringSubmatch(reference[strings.Index(reference, "## Metrics"):], -1) {
		if !found[m[1]] {
			t.Errorf("%s is not registered anywhere", m[1])
		}
	}
}

func TestReferenceHasEveryCheck(t *testing.T) {
	t.Parallel()
	reference := document(t, "docs", "reference.md")
	_, section, ok := strings.Cut(reference, "\n## Checks\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if !ok {
		t.Fatal("the reference has no section of checks")
	}
	var named []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` ").FindAllStringSubmatch(section, -1) {
		named = append(named, m[1])
	}
	if !slices.Equal(named, doctor.IDs()) {
		t.Errorf("the reference names %v, the checks are %v", named, doctor.IDs())
	}
	r := run(t, nil, "doctor", "--quick", "-o", "json", "--database-url", "postgres://u@"+refused+"/x")
	r.code = cli.ExitOK
	quick := jsonOf[doctorReport](t, r).Checks
	if n := strings.Count(section, "` q |"); n != len(quick) {
		t.Errorf("the reference calls %d checks quick, %d are", n, len(quick))
	}
	for _, c := range quick {
		if !strings.Contains(section, "\n| `"+c.ID+"` q |") {
			t.Errorf("the reference does not say that %s is quick", c.ID)
		}
	}
}

func TestReferenceHasEveryProblem(t *testing.T) {
	t.Parallel()
	reference := document(t, "docs", "reference.md")
	problems := regexp.MustCompile(`kind\{"([a-z-]+)", (\d+),`).FindAllStringSubmatch(document(t, "api", "problem.go"), -1)
	if len(problems) < 15 {
		t.Fatalf("only %d problems were found", len(problems))
	}
	for _, p := range problems {
		row := regexp.MustCompile(`(?m)^\| ` + p[2] + ` \| .*` + "`" + p[1] + "`")
		if !row.MatchString(reference) {
			t.Errorf("the reference does not have %s with %s", p[1], p[2])
		}
	}
}

func TestReferenceConfigurationIsRead(t *testing.T) {
	t.Parallel()
	text := blocks(document(t, "docs", "reference.md"), "yaml")
	if len(text) != 2 {
		t.Fatalf("%d YAML blocks", len(text))
	}
	secured, err := cli.Values([]string{"relay", "--config", write(t, "secure.yaml", text[1])}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	for flag, want := range map[string]string{
		"kafka-tls": "true", "kafka-ca": "/etc/gapless/ca.pem", "kafka-key": "/etc/gapless/relay.key", "kafka-sasl": "SCRAM-SHA-512",
		"kafka-user": "relay", "kafka-password-file": "/run/secrets/kafka",
	} {
		if secured[flag] != want {
			t.Errorf("--%s is %q, want %q", flag, secured[flag], want)
		}
	}
	values, err := cli.Values([]string{"relay", "--config", write(t, "gapless.yaml", text[0])}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if values["database-url"] != "postgres://relay@db/shop" || values["slot"] != "gapless" || values["brokers"] != "[kafka-1:9092 kafka-2:9092]" {
		t.Errorf("%v", values)
	}
}

// blocks returns the fenced blocks of a language.
func blocks(markdown, language string) []string {
	var list []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(markdown, -1) {
		list = append(list, m[1])
	}
	return list
}
