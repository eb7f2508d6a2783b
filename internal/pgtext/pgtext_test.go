package pgtext

import "testing"

func TestClean(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "brûlée": "brûlée", "a\x00b": "a\uFFFDb", "\xff": "\uFFFD", "half \xed\xa0\x80": "half \uFFFD",
	} {
		if got := Clean(s); got != want {
			t.Errorf("%q became %q", s, got)
		}
	}
}
