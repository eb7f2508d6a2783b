//go:build unix

package pgserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

const minMajor = 14

// binaries is a directory with initdb and postgres of one major version.
type binaries struct {
	dir   string
	major int
}

// places are where packagers put Postgres: Debian, PGDG's RPMs, Homebrew on both
// architectures, MacPorts, Postgres.app, Alpine, FreeBSD and a plain make install.
var places = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/opt/local/lib/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
	"/usr/libexec/postgresql*",
	"/usr/local/bin",
	"/usr/local/pgsql/bin",
	"/usr/bin",
}

// resolveBinaries finds the binaries to use. major 0 takes the newest on the
// machine, else fetches; another major comes from an existing data directory and
// nothing else will do.
func resolveBinaries(ctx context.Context, binDir string, major int, as account) (binaries, error) {
	switch binDir {
	case "":
		if b, ok := installed(ctx, major, as); ok {
			return b, nil
		}
	case Embedded:
	default:
		b, err := inspect(ctx, binDir)
		if err != nil {
			return binaries{}, err
		}
		if err := as.reaches(binDir); err != nil {
			return binaries{}, err
		}
		return b, b.fits(major)
	}
	dir, err := fetch(ctx)
	if err != nil {
		return binaries{}, err
	}
	b, err := inspect(ctx, dir)
	if err != nil {
		return binaries{}, err
	}
	return b, b.fits(major)
}

func (b binaries) fits(major int) error {
	if major != 0 && b.major != major {
		return fmt.Errorf("data directory is of Postgres %d, binaries in %s are of %d", major, b.dir, b.major)
	}
	return nil
}

func (b binaries) path(program string) string { return filepath.Join(b.dir, program) }

// installed returns the newest usable Postgres of this machine; of the given major
// when that is not zero.
func installed(ctx context.Context, major int, as account) (binaries, bool) {
	var best binaries
	for _, dir := range candidates(ctx) {
		b, err := inspect(ctx, dir)
		if err != nil || as.reaches(dir) != nil || b.fits(major) != nil {
			continue
		}
		if b.major > best.major {
			best = b
		}
	}
	return best, best.dir != ""
}

// candidates lists directories that may hold the binaries, each once.
func candidates(ctx context.Context) []string {
	var dirs []string
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	if p, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(p))
	}
	for _, pattern := range places {
		found, err := filepath.Glob(pattern)
		if err == nil {
			dirs = append(dirs, found...)
		}
	}
	var unique []string
	seen := map[string]bool{}
	for _, d := range dirs {
		resolved, err := filepath.EvalSymlinks(filepath.Join(d, "postgres"))
		if err != nil || seen[filepath.Dir(resolved)] {
			continue
		}
		seen[filepath.Dir(resolved)] = true
		unique = append(unique, filepath.Dir(resolved))
	}
	return unique
}

// inspect tells the version of the binaries in dir by asking postgres itself: a
// name like "15" in the path is a packager's habit.
func inspect(ctx context.Context, dir string) (binaries, error) {
	if _, err := exec.LookPath(filepath.Join(dir, "initdb")); err != nil {
		return binaries{}, fmt.Errorf("find initdb: %w", err)
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output() //nolint:gosec // a directory the operator or a packager chose
	if err != nil {
		return binaries{}, fmt.Errorf("ask %s for its version: %w", filepath.Join(dir, "postgres"), err)
	}
	major, err := parseMajor(string(out))
	if err != nil {
		return binaries{}, err
	}
	if major < minMajor {
		return binaries{}, fmt.Errorf("postgres %d in %s: %d or later is needed", major, dir, minMajor)
	}
	return binaries{dir: dir, major: major}, nil
}

// parseMajor reads "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", and
// the likes of "19beta1".
func parseMajor(version string) (int, error) {
	_, rest, ok := strings.Cut(version, "(PostgreSQL) ")
	if !ok {
		return 0, fmt.Errorf("parse Postgres version %q", version)
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	major, err := strconv.Atoi(rest[:end])
	if err != nil {
		return 0, fmt.Errorf("parse Postgres version %q", version)
	}
	return major, nil
}

// dataMajor reads PG_VERSION of a data directory; 0 when there is none yet.
func dataMajor(dataDir string) (int, error) {
	b, err := os.ReadFile(filepath.Join(dataDir, "PG_VERSION"))
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read version of data directory: %w", err)
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("read version of data directory %q: %w", dataDir, err)
	}
	return major, nil
}
