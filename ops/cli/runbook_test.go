//go:build unix

package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"gopkg.in/yaml.v3"

	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/ops/cli"
)

// alert is a rule of deploy/prometheus/gapless.rules.yaml.
type alert struct {
	Alert         string            `yaml:"alert"`
	Expr          string            `yaml:"expr"`
	For           string            `yaml:"for"`
	KeepFiringFor string            `yaml:"keep_firing_for"`
	Labels        map[string]string `yaml:"labels"`
	Annotations   map[string]string `yaml:"annotations"`
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string  `yaml:"name"`
			Rules []alert `yaml:"rules"`
		} `yaml:"groups"`
	}
	d := yaml.NewDecoder(strings.NewReader(document(t, "deploy", "prometheus", "gapless.rules.yaml")))
	d.KnownFields(true)
	if err := d.Decode(&file); err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

const runbookURL = "https://github.com/gapless/gapless/blob/main/docs/runbooks/"

// runbooks reads the pages, by file name.
func runbooks(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "docs", "runbooks", "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no runbooks: %v", err)
	}
	pages := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		pages[filepath.Base(f)] = string(text)
	}
	return pages
}

func TestEachAlertSaysWhatItIsAbout(t *testing.T) {
	t.Parallel()
	pages := runbooks(t)
	index := pages["README.md"]
	named := map[string]bool{}
	for _, a := range alerts(t) {
		page, ok := strings.CutPrefix(a.Annotations["runbook_url"], runbookURL)
		if pages[page] == "" || !ok {
			t.Errorf("%s: no runbook at %q", a.Alert, a.Annotations["runbook_url"])
		}
		if !strings.Contains(pages[page], "`"+a.Alert+"`: ") || !strings.Contains(index, "| `"+a.Alert+"` | ") || !strings.Contains(index, "("+page+")") {
			t.Errorf("%s is not named in %s and in the index", a.Alert, page)
		}
		named[page] = true
		for _, part := range []string{"$labels.slot }}", `label "instance" }}`} {
			if !strings.Contains(a.Annotations["summary"], part) {
				t.Errorf("%s: the summary does not have %s", a.Alert, part)
			}
		}
		if s := a.Labels["severity"]; s != "warning" && s != "critical" {
			t.Errorf("%s: severity %q", a.Alert, s)
		}
		if a.Annotations["description"] == "" {
			t.Errorf("%s: no description", a.Alert)
		}
	}
	for page := range pages {
		if !named[page] && page != "README.md" {
			t.Errorf("no alert leads to %s", page)
		}
	}
	if len(named) != 8 {
		t.Errorf("%d runbooks", len(named))
	}
}

func TestRunbooksHaveEveryPart(t *testing.T) {
	t.Parallel()
	heading := regexp.MustCompile(`(?m)^## (.+)$`)
	for name, text := range runbooks(t) {
		for _, m := range regexp.MustCompile(`\]\(([a-z-]+\.md)\)`).FindAllStringSubmatch(text, -1) {
			if runbooks(t)[m[1]] == "" {
				t.Errorf("%s leads to %s, which is not there", name, m[1])
			}
		}
		if name == "README.md" {
			continue
		}
		var parts []string
		for _, m := range heading.FindAllStringSubmatch(text, -1) {
			parts = append(parts, m[1])
		}
		if !slices.Equal(parts, []string{"What it means", "Is data at risk?", "Look", "Decide", "Undo"}) {
			t.Errorf("%s has %q", name, parts)
		}
		if look := blocks(text, "sh"); len(look) != 1 || strings.Count(look[0], "\n") != 3 {
			t.Errorf("%s: not three commands to look: %q", name, look)
		}
	}
}

var (
	psqlCommand = regexp.MustCompile(`^psql "\$GAPLESS_DATABASE_URL" (?:-f (sql/inspect_[a-z_]+\.sql)|-c "([^"]+)")$`)
	curlCommand = regexp.MustCompile(`^curl -s "http://\$RELAY/(readyz\?verbose|status)"$`)
	kubectl     = regexp.MustCompile(`^kubectl logs -l app\.kubernetes\.io/name=gapless-relay `)
	inlineCode  = regexp.MustCompile("`(gapless [^`]+)`")
)

// commandFaults tells which commands of a page do not exist.
func commandFaults(page string) (faults []string) {
	parse := func(line string) {
		if _, err := cli.Values(strings.Fields(line)[1:], func(string) string { return "" }); err != nil {
			faults = append(faults, fmt.Sprintf("%s: %v", line, err))
		}
	}
	for _, block := range blocks(page, "sh") {
		for line := range strings.Lines(block) {
			switch line = strings.TrimSpace(line); {
			case strings.HasPrefix(line, "gapless "):
				parse(line)
			case !psqlCommand.MatchString(line) && !curlCommand.MatchString(line) && !kubectl.MatchString(line):
				faults = append(faults, line+": not a command that this test knows")
			}
		}
	}
	for _, m := range inlineCode.FindAllStringSubmatch(strings.Join(strings.Fields(page), " "), -1) {
		parse(m[1])
	}
	return faults
}

func TestRunbookCommandsExist(t *testing.T) {
	t.Parallel()
	n := 0
	for name, text := range runbooks(t) {
		n += strings.Count(text, "gapless ")
		for _, fault := range commandFaults(text) {
			t.Errorf("%s: %s", name, fault)
		}
	}
	if n < 15 {
		t.Errorf("%d commands were found", n)
	}
}

func TestRunbookCheckFindsMistakes(t *testing.T) {
	t.Parallel()
	for _, page := range []string{
		"```sh\ngapless relay statsu\n```\n", "```sh\ngapless relay status --no-such-flag\n```\n", "run `gapless relay pause` now",
		"run `gapless relay\npause` now", "```sh\npsql -f sql/nothing.sql\n```\n", "```sh\nrm -rf /\n```\n",
	} {
		if len(commandFaults(page)) != 1 {
			t.Errorf("%q: %v", page, commandFaults(page))
		}
	}
	if faults := commandFaults("```sh\ngapless relay status\n```\nand `gapless relay resume --reason TEXT`"); len(faults) != 0 {
		t.Errorf("%v", faults)
	}
}

// Who looks needs no more than gapless_readonly.
func TestRunbookQueriesRun(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDB(t)
	db.Slot(t, "runbook")
	pool := db.LoginPool(t, pgtest.Readonly)
	env := map[string]string{"GAPLESS_DATABASE_URL": db.LoginURL(t, pgtest.Readonly)}
	ran := 0
	for name, text := range runbooks(t) {
		for line := range strings.Lines(strings.Join(blocks(text, "sh"), "")) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "gapless relay ") {
				run(t, env, strings.Fields(line)[1:]...).succeeds(t)
				ran++
			}
			m := psqlCommand.FindStringSubmatch(line)
			if m == nil {
				continue
			}
			statement := m[2]
			if m[1] != "" {
				statement = document(t, m[1])
			}
			if _, err := pool.Exec(t.Context(), statement, pgx.QueryExecModeSimpleProtocol); err != nil {
				t.Errorf("%s: %s: %v", name, statement, err)
			}
			ran++
		}
	}
	if ran < 16 {
		t.Errorf("%d queries", ran)
	}
}

// The statements with which a person gains time are the server's own.
func TestRunbookStatementsRun(t *testing.T) {
	t.Parallel()
	pool := pgtest.OpenPool(t, pgtest.Server(t, nil).SuperuserURL())
	ran := 0
	for name, text := range runbooks(t) {
		for _, block := range blocks(text, "sql") {
			for statement := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(block), ";"), ";\n") {
				if _, err := pool.Exec(t.Context(), statement); err != nil {
					t.Errorf("%s: %s: %v", name, statement, err)
				}
				ran++
			}
		}
	}
	if ran != 4 {
		t.Errorf("%d statements", ran)
	}
}
