package cli

import (
	"io"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// said is what a command line prints and where it leads, of the grammar in full or pruned.
func said(args []string, full bool) string {
	var out strings.Builder
	line := any(new(commands))
	if !full {
		line, _ = pruned(args)
	}
	exited := false
	parser := grammar(line, newResolver(args, func(string) string { return "" }), kong.Writers(&out, io.Discard),
		kong.Exit(func(int) { exited = true }), kong.Vars{"version": "v"})
	k, err := parser.Parse(args)
	switch {
	case exited:
	case err != nil:
		out.WriteString(err.Error())
	default:
		out.WriteString(k.Command() + "\n")
		for _, f := range k.Flags() {
			out.WriteString(f.Name + "=" + f.Default + " " + f.Target.Type().String() + "\n")
		}
	}
	return out.String()
}

func TestPrunedCommandLineIsTheWholeOne(t *testing.T) {
	t.Parallel()
	lines := []string{
		"", "--help", "--version", "rleay", "relay stauts", "rleay status", "relay status status", "verify relay", "inbox show",
		"--log-level debug relay run", "relay --slot status", "relay --slot status run", "relay --slot run status", "consume payment status",
		"consume payment", "demo --without relay", "--relay run relay status", "relay --nonsense", "relay run topics apply", "compare topics",
		"topics apply compare",
	}
	full := grammar(&commands{}, newResolver(nil, func(string) string { return "" }), kong.Vars{"version": "v"})
	commands := 0
	err := kong.Visit(full.Model, func(v kong.Visitable, next kong.Next) error {
		if node, ok := v.(*kong.Node); ok && node.Type == kong.CommandNode {
			commands++
			path := strings.TrimPrefix(node.FullPath(), "gapless ")
			lines = append(lines, path, path+" --help", path+" --nonsense", path+" nonsense")
		}
		return next(nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	if commands < 50 {
		t.Errorf("%d commands were seen", commands)
	}
	for _, line := range lines {
		args := strings.Fields(line)
		if got, want := said(args, false), said(args, true); got != want {
			t.Errorf("%q: %s\n\nnot\n\n%s", line, got, want)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	for name, full := range map[string]bool{"full": true, "pruned": false} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				said([]string{"relay", "run"}, full)
			}
		})
	}
}
