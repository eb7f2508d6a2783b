//go:build unix

package kafkaserver

import (
	"archive/tar"
	"compress/gzip"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/gapless/gapless/internal/process"
)

var (
	//go:embed kafka.pom.xml
	kafkaPOM string
	//go:embed apicurio.pom.xml
	apicurioPOM string
	//go:embed connect.pom.xml
	connectPOM string
)

// fetch returns a directory of the user's cache that holds what pom depends on,
// and has Maven fill it when it is not there. arrange turns the directory of
// fetched files into the one to keep; nil keeps it as it is.
func fetch(ctx context.Context, name, pom string, arrange func(fetched, keep string) error) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}
	cache = filepath.Join(cache, "gapless")
	home := filepath.Join(cache, name)
	if _, err := os.Stat(home); err == nil {
		return home, nil // whole: it got there by a rename
	}
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // public jars
		return "", fmt.Errorf("create cache: %w", err)
	}
	unlock, err := process.LockFile(ctx, home+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(home); err == nil {
		return home, nil // by the process we waited for
	}
	tmp, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return "", fmt.Errorf("create cache: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // what stays is in nobody's way
	fetched := filepath.Join(tmp, "fetched")
	if err := copyDependencies(ctx, tmp, pom, fetched); err != nil {
		return "", fmt.Errorf("fetch %s: %w", name, err)
	}
	keep := fetched
	if arrange != nil {
		keep = filepath.Join(tmp, "keep")
		if err := arrange(fetched, keep); err != nil {
			return "", fmt.Errorf("unpack %s: %w", name, err)
		}
	}
	if err := os.Rename(keep, home); err != nil {
		return "", fmt.Errorf("keep %s: %w", name, err)
	}
	return home, nil
}

func copyDependencies(ctx context.Context, dir, pom, into string) error {
	if err := os.WriteFile(filepath.Join(dir, "pom.xml"), []byte(pom), 0o600); err != nil {
		return fmt.Errorf("write pom: %w", err)
	}
	mvn := exec.CommandContext(ctx, "mvn", "--batch-mode", "--quiet", "dependency:copy-dependencies",
		"-DincludeScope=runtime", "-DoutputDirectory="+into) //nolint:gosec // our own directory
	mvn.Dir = dir
	if out, err := mvn.CombinedOutput(); err != nil {
		return fmt.Errorf("run mvn: %w\n%s", err, out)
	}
	return nil
}

// untarAll unpacks the tar.gz files of one directory into another.
func untarAll(fetched, keep string) error {
	archives, err := filepath.Glob(filepath.Join(fetched, "*.tar.gz"))
	if err != nil || len(archives) == 0 {
		return errors.Join(fmt.Errorf("no archive in %s", fetched), err)
	}
	if err := os.Mkdir(keep, 0o755); err != nil { //nolint:gosec // public jars
		return err
	}
	// A root, so that an entry with ".." in its name stays inside.
	root, err := os.OpenRoot(keep)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // opened to read
	for _, a := range archives {
		if err := untar(a, root); err != nil {
			return err
		}
	}
	return nil
}

func untar(archive string, root *os.Root) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	entries := tar.NewReader(unzipped)
	for {
		h, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(strings.TrimPrefix(h.Name, "./"), "/")
		if name == "" {
			continue
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(name, 0o755)
		case tar.TypeReg:
			err = extract(root, name, entries)
		default:
			err = fmt.Errorf("entry %s is of type %q", name, h.Typeflag)
		}
		if err != nil {
			return err
		}
	}
}

func extract(root *os.Root, name string, from io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from) //nolint:gosec // a pinned release, checked by Maven
	return errors.Join(err, f.Close())
}
