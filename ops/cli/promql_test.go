//go:build unix

package cli_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// query is what a PromQL expression asks for. It is read by a lexer of our own: the
// parser of Prometheus is checked against the same files in deploy/check, a module of
// its own, and would bring this one some hundred others.
type query struct {
	selectors []selector
	groups    []string // labels of by and on
}

type selector struct {
	name   string
	labels []string // of its matchers
}

var (
	promToken = regexp.MustCompile(`^(?:\s+|"(?:[^"\\]|\\.)*"|[0-9][0-9a-zA-Z.]*|[a-zA-Z_:][a-zA-Z0-9_:]*|\[[^\[\]]*\]|==|!=|>=|<=|=~|!~|[-+*/%^<>(){},=])`)
	promName  = regexp.MustCompile(`^[a-zA-Z_:]`)
)

// promWords stand between operands.
var promWords = []string{"and", "or", "unless", "bool", "offset"}

// readQuery knows what our files use and refuses the rest.
func readQuery(expr string) (q query, err error) {
	var tokens []string
	for rest := expr; rest != ""; {
		t := promToken.FindString(rest)
		if t == "" {
			return q, fmt.Errorf("cannot read %q", rest)
		}
		if rest = rest[len(t):]; strings.TrimSpace(t) != "" {
			tokens = append(tokens, t)
		}
	}
	at := func(i int) string {
		if i < len(tokens) {
			return tokens[i]
		}
		return ""
	}
	for i := 0; i < len(tokens); i++ {
		switch t := tokens[i]; {
		case t == "{":
			return q, fmt.Errorf("a selector without a name in %s", expr)
		case slices.Contains([]string{"by", "without", "on", "ignoring", "group_left", "group_right"}, t):
			for i++; at(i) != ")"; i++ {
				if at(i) == "" {
					return q, fmt.Errorf("a list of labels has no end in %s", expr)
				}
				if promName.MatchString(at(i)) && (t == "by" || t == "on") {
					q.groups = append(q.groups, at(i))
				}
			}
		case !promName.MatchString(t), slices.Contains(promWords, t):
		case at(i+1) == "(", at(i+1) == "by", at(i+1) == "without": // a function or an aggregation
		default:
			s := selector{name: t}
			if at(i+1) == "{" {
				for i += 2; at(i) != "}"; i++ {
					if at(i) == "" {
						return q, fmt.Errorf("a selector has no end in %s", expr)
					}
					if promName.MatchString(at(i)) {
						s.labels = append(s.labels, at(i))
					}
				}
			}
			q.selectors = append(q.selectors, s)
		}
	}
	if len(q.selectors) == 0 {
		return q, fmt.Errorf("no series in %s", expr)
	}
	return q, nil
}

func TestReadQuery(t *testing.T) {
	t.Parallel()
	for expr, want := range map[string]query{
		`up`: {[]selector{{"up", nil}}, nil},
		`histogram_quantile(0.99, sum by (le, route) (rate(a_bucket{job="x, y}",b=~"$c"}[$__rate_interval])))`: {
			[]selector{{"a_bucket", []string{"job", "b"}}}, []string{"le", "route"},
		},
		"min by (slot) (a) >= 0\nand on (slot)\n  min by (slot) (predict_linear(b[1h], 6 * 3600)) < 0": {
			[]selector{{"a", nil}, {"b", nil}}, []string{"slot", "slot", "slot"},
		},
		`a{x="1"} / (a + b) > 2e9 unless c == 1`: {[]selector{{"a", []string{"x"}}, {"a", nil}, {"b", nil}, {"c", nil}}, nil},
		`min_over_time(deriv(a[5m])[15m:1m])`:    {[]selector{{"a", nil}}, nil},
	} {
		got, err := readQuery(expr)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, %v; want %v", expr, got, err, want)
		}
	}
	for _, expr := range []string{``, `1 + 2`, `{__name__="up"}`, `up{job="x"`, `sum by (x`, `up # comment`, `up @ 5`, "`up`"} {
		if got, err := readQuery(expr); err == nil {
			t.Errorf("%s was read as %v", expr, got)
		}
	}
}
