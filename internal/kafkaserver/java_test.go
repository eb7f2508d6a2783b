//go:build unix

package kafkaserver

import "testing"

func TestParseJavaMajor(t *testing.T) {
	t.Parallel()
	for out, want := range map[string]int{
		`openjdk version "17.0.15" 2025-04-15`:  17,
		`openjdk version "25" 2025-09-16 LTS`:   25,
		`openjdk version "26-ea" 2026-03-17`:    26,
		`java version "1.8.0_392"`:              8,
		`Picked up X` + "\n" + `version "21.0"`: 21,
	} {
		if got, err := parseJavaMajor(out); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", out, got, err, want)
		}
	}
	for _, out := range []string{"", "version 17", `version "`, `version "x"`} {
		if got, err := parseJavaMajor(out); err == nil {
			t.Errorf("%q: %d, want an error", out, got)
		}
	}
}

func FuzzParseJavaMajor(f *testing.F) {
	f.Add(`openjdk version "17.0.15" 2025-04-15`)
	f.Add(`java version "1.8.0_392"`)
	f.Fuzz(func(t *testing.T, out string) {
		if major, err := parseJavaMajor(out); err != nil && major != 0 || major < 0 {
			t.Errorf("%q: %d, %v", out, major, err)
		}
	})
}
