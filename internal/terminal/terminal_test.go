package terminal_test

import (
	"testing"

	"github.com/gapless/gapless/internal/terminal"
)

func TestNothingSteersTheTerminal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Zürich, 東京":               "Zürich, 東京",
		"\x1b]0;owned\a\x1b[2Jx":   " ]0;owned  [2Jx",
		"a\tb\nc\r":                "a b c ",
		"a\u2028b\u2029c\u0085":    "a b c ",
		"\u009b31m":                " 31m",
		"abc\u202egnp.exe\u2066":   "abc gnp.exe ",
		"\xff\x1b half a sequence": "\ufffd  half a sequence",
	} {
		if got := terminal.Line(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if got := terminal.Lines("one\x1b[2J\ntwo\a\n"); got != "one [2J\ntwo \n" {
		t.Errorf("%q", got)
	}
}
