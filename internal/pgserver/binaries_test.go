//go:build unix

package pgserver

import "testing"

func TestParseMajor(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]int{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n": 15,
		"postgres (PostgreSQL) 18.3\n":                           18,
		"postgres (PostgreSQL) 19beta1\n":                        19,
		"postgres (PostgreSQL) 9":                                9,
	} {
		if got, err := parseMajor(version); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", version, got, err, want)
		}
	}
	for _, version := range []string{"", "postgres", "postgres (PostgreSQL) ", "postgres (PostgreSQL) devel"} {
		if got, err := parseMajor(version); err == nil {
			t.Errorf("%q: %d, want an error", version, got)
		}
	}
}

func FuzzParseMajor(f *testing.F) {
	f.Add("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n")
	f.Add("postgres (PostgreSQL) 19beta1")
	f.Fuzz(func(t *testing.T, version string) {
		if major, err := parseMajor(version); err != nil && major != 0 || major < 0 {
			t.Errorf("%q: %d, %v", version, major, err)
		}
	})
}
