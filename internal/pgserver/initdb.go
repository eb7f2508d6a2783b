//go:build unix

package pgserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gapless/gapless/internal/process"
)

const (
	superuser    = "postgres"
	passwordFile = "gapless.password"
	confFile     = "gapless.conf"
)

// prepareData makes sure that dataDir holds a cluster with our settings, and
// returns the superuser's password.
func prepareData(ctx context.Context, cfg Config, bin binaries, as account, run runDir, dataDir string, fresh bool) (string, error) {
	var password string
	var err error
	switch {
	case !fresh:
		password, err = readPassword(dataDir)
	case cfg.FromStock:
		password, err = fromStock(ctx, bin, as, run, dataDir)
	default:
		password, err = initdb(ctx, bin, as, run, dataDir)
	}
	if err != nil {
		return "", err
	}
	if cfg.TLS != nil {
		if err := cfg.TLS.prepare(as, dataDir, cfg.Settings); err != nil {
			return "", err
		}
	}
	return password, writeOwned(as, filepath.Join(dataDir, confFile), cfg.conf())
}

// initdb initialises dataDir. --no-sync spares a flush of every file: the first
// checkpoint of a durable server flushes what it writes, and a machine that dies
// within these seconds leaves a directory that is made again.
//
// When it fails, dataDir is empty again: half a cluster could neither be used nor
// be initialised once more.
func initdb(ctx context.Context, bin binaries, as account, run runDir, dataDir string) (_ string, err error) {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return "", fmt.Errorf("create data directory: %w", err)
	}
	if err := as.own(dataDir); err != nil {
		return "", err
	}
	if err := as.reaches(dataDir); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeSegment(dataDir), clearDir(dataDir))
		}
	}()
	password := rand.Text()
	secret := filepath.Join(run.path, "pwfile")
	if err := writeOwned(as, secret, password+"\n"); err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(secret) }() // the run directory goes with it anyway
	log, err := os.Create(filepath.Join(run.path, "initdb.log"))
	if err != nil {
		return "", fmt.Errorf("create log: %w", err)
	}
	defer log.Close()
	p, err := process.Start(process.Command{
		Path: bin.path("initdb"),
		Args: []string{
			"--pgdata=" + dataDir, "--username=" + superuser, "--pwfile=" + secret,
			"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions",
		},
		Env: environment(run), Dir: run.path, Output: log, User: as.user,
	})
	if err != nil {
		return "", err
	}
	if err := p.Wait(ctx); err != nil {
		return "", errors.Join(fmt.Errorf("initialise %s: %w", dataDir, err), p.KillTree(context.WithoutCancel(ctx)))
	}
	if err := p.Err(); err != nil {
		return "", fmt.Errorf("initialise %s: %w\n%s", dataDir, err, tail(log.Name()))
	}
	conf, err := os.OpenFile(filepath.Join(dataDir, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return "", fmt.Errorf("configure %s: %w", dataDir, err)
	}
	_, err = conf.WriteString("\ninclude_if_exists = '" + confFile + "'\n")
	if err := errors.Join(err, conf.Close()); err != nil {
		return "", fmt.Errorf("configure %s: %w", dataDir, err)
	}
	return password, writeOwned(as, filepath.Join(dataDir, passwordFile), password+"\n")
}

func readPassword(dataDir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dataDir, passwordFile))
	if os.IsNotExist(err) {
		return "", fmt.Errorf("data directory %s has no %s: it was not made by gapless; start its server yourself and give its URL", dataDir, passwordFile)
	}
	if err != nil {
		return "", fmt.Errorf("read superuser password: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// writeOwned writes a file that the account alone (and root) can read.
func writeOwned(as account, path, content string) error {
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return as.own(path)
}

// environment is ours without what would lead Postgres astray: every PG variable,
// and a home that its account cannot enter.
func environment(run runDir) []string {
	var env []string
	for _, kv := range os.Environ() {
		switch name, _, _ := strings.Cut(kv, "="); {
		case strings.HasPrefix(name, "PG"), strings.HasPrefix(name, "LC_"), name == "LANG", name == "LANGUAGE", name == "HOME", name == "TMPDIR":
		default:
			env = append(env, kv)
		}
	}
	return append(env, "LC_ALL=C", "HOME="+run.path)
}

func clearDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("clear data directory: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("clear data directory: %w", err)
		}
	}
	return nil
}

// emptyDir tells whether dir has no entry or does not exist.
func emptyDir(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read data directory: %w", err)
	}
	return len(entries) == 0, nil
}
