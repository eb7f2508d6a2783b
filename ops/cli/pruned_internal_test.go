package cli

import (
	"io"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// talk is a grammar and what it says.
type talk struct {
	parser *kong.Kong
	out    strings.Builder
	exited bool
}

func newTalk(line any) *talk {
	t := &talk{}
	t.parser = grammar(line, newResolver(nil, func(string) string { return "" }), kong.Writers(&t.out, io.Discard),
		kong.Exit(func(int) { t.exited = true }), kong.Vars{"version": "v"})
	return t
}

// says is what a command line prints, or where it leads.
func (t *talk) says(args []string) string {
	t.out.Reset()
	t.exited = false
	k, err := t.parser.Parse(args)
	switch {
	case t.exited:
	case err != nil:
		t.out.WriteString(err.Error())
	default:
		t.out.WriteString(k.Command() + "\n")
		for _, f := range k.Flags() {
			t.out.WriteString(f.Name + "=" + f.Default + " " + f.Target.Type().String() + "\n")
		}
	}
	return t.out.String()
}

func TestPrunedCommandLineIsTheWholeOne(t *testing.T) {
	t.Parallel()
	lines := []string{
		"", "--help", "--version", "rleay", "relay stauts", "rleay status", "relay status status", "verify relay", "inbox show",
		"--log-level debug relay run", "relay", "relay run --nonsense", "migrate up nonsense", "relay --slot status", "relay --slot status run", "relay --slot run status", "consume payment status",
		"consume payment", "demo --without relay", "--relay run relay status", "relay --nonsense", "relay run topics apply", "compare topics",
		"topics apply compare",
	}
	full := newTalk(&commands{})
	seen := 0
	err := kong.Visit(full.parser.Model, func(v kong.Visitable, next kong.Next) error {
		if node, ok := v.(*kong.Node); ok && node.Type == kong.CommandNode {
			seen++
			path := strings.TrimPrefix(node.FullPath(), "gapless ")
			lines = append(lines, path+" --help")
		}
		return next(nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 50 {
		t.Errorf("%d commands were seen", seen)
	}
	for _, text := range lines {
		args := strings.Fields(text)
		line, _ := pruned(args)
		if got, want := newTalk(line).says(args), newTalk(&commands{}).says(args); got != want {
			t.Errorf("%q: %s\n\nnot\n\n%s", text, got, want)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	args := []string{"relay", "run"}
	b.Run("full", func(b *testing.B) {
		for b.Loop() {
			newTalk(&commands{}).says(args)
		}
	})
	b.Run("pruned", func(b *testing.B) {
		for b.Loop() {
			line, _ := pruned(args)
			newTalk(line).says(args)
		}
	})
}
