//go:build unix

package pgserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// fromStock makes dataDir a copy of a cluster that initdb has made once for these
// binaries, with a system identifier of its own. It is what most of a short test's
// time would go to otherwise. Where no copy can be made it is initdb itself.
//
// A copy is no weaker than the first: nothing was ever stored in either.
func fromStock(ctx context.Context, bin binaries, as account, run runDir, dataDir string) (string, error) {
	stock, err := stockDir(bin)
	if err != nil {
		return initdb(ctx, bin, as, run, dataDir) // no cache to keep one in
	}
	if _, err := os.Stat(stock); err == nil {
		err := copyCluster(as, stock, dataDir)
		if err == nil {
			return readPassword(dataDir)
		}
		if err := clearDir(dataDir); err != nil {
			return "", err
		}
	}
	password, err := initdb(ctx, bin, as, run, dataDir)
	if err != nil {
		return "", err
	}
	_ = keepStock(dataDir, stock) // into a cache that may not be written; the next one is made by initdb too
	return password, nil
}

// stockDir is where the cluster of these binaries is kept. Another build of the
// server has another one.
func stockDir(bin binaries) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	info, err := os.Stat(bin.path("postgres"))
	if err != nil {
		return "", fmt.Errorf("look at postgres: %w", err)
	}
	build := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", bin.dir, info.Size(), info.ModTime().UnixNano()))
	return filepath.Join(cache, fmt.Sprintf("cluster-%d-%x", bin.major, build[:8])), nil
}

// keepStock puts a copy of a cluster that was never started into the cache. What is
// seen there is whole, because it gets there by a rename.
func keepStock(dataDir, stock string) error {
	if err := os.MkdirAll(filepath.Dir(stock), 0o755); err != nil { //nolint:gosec // the account that the server runs as reads the binaries beside it
		return fmt.Errorf("create cache: %w", err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(stock), "cluster-")
	if err != nil {
		return fmt.Errorf("create cache: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // what stays is in nobody's way
	whole := filepath.Join(tmp, "data")
	if err := copyFiles(account{}, dataDir, whole); err != nil {
		return err
	}
	syscall.Sync() // once a machine: after a power cut it must not be a name without files
	if err := os.Rename(whole, stock); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep cluster: %w", err)
	}
	return nil
}

func copyCluster(as account, stock, dataDir string) error {
	if err := copyFiles(as, stock, dataDir); err != nil {
		return err
	}
	if err := as.reaches(dataDir); err != nil {
		return err
	}
	return identify(dataDir)
}

// copyFiles copies the directories and regular files under from to to, which need
// not exist, and gives them to the account.
func copyFiles(as account, from, to string) error {
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		switch {
		case d.IsDir():
			if err := os.MkdirAll(target, 0o700); err != nil {
				return err
			}
		case d.Type().IsRegular():
			if err := copyFile(path, target); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s is neither a file nor a directory", path)
		}
		return as.own(target)
	})
	if err != nil {
		return fmt.Errorf("copy cluster: %w", err)
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// identify gives a cluster that was never started another system identifier: at
// the head of pg_control, whose checksum covers it, and of the one segment of WAL.
// See src/include/catalog/pg_control.h and src/include/access/xlog_internal.h of
// Postgres; pg_createsubscriber does the same.
func identify(dataDir string) error {
	control := filepath.Join(dataDir, "global", "pg_control")
	b, err := os.ReadFile(control)
	if err != nil {
		return fmt.Errorf("read pg_control: %w", err)
	}
	sum, err := checksumOf(b)
	if err != nil {
		return err
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return fmt.Errorf("make a system identifier: %w", err)
	}
	old := string(b[:len(id)])
	copy(b, id[:])
	binary.NativeEndian.PutUint32(b[sum:], crc32.Checksum(b[:sum], castagnoli))
	if err := overwrite(control, b); err != nil {
		return err
	}

	segments, err := filepath.Glob(filepath.Join(dataDir, "pg_wal", "0000000*"))
	if err != nil || len(segments) != 1 {
		return fmt.Errorf("%d segments of WAL in a new cluster, not one: %w", len(segments), err)
	}
	const at = 24 // of xlp_sysid in XLogLongPageHeaderData
	if b, err = os.ReadFile(segments[0]); err != nil {
		return fmt.Errorf("read WAL: %w", err)
	}
	if len(b) < at+len(id) || string(b[at:at+len(id)]) != old {
		return errors.New("the WAL of a new cluster does not begin with its system identifier")
	}
	copy(b[at:], id[:])
	return overwrite(segments[0], b)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksumOf finds the checksum of a pg_control: it comes last in a struct whose
// size depends on the version.
func checksumOf(control []byte) (int, error) {
	const least, align = 128, 4
	for at := least; at+4 <= min(len(control), 512); at += align {
		if binary.NativeEndian.Uint32(control[at:]) == crc32.Checksum(control[:at], castagnoli) {
			return at, nil
		}
	}
	return 0, errors.New("pg_control has no checksum where one is expected")
}

// overwrite keeps owner and mode.
func overwrite(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", filepath.Base(path), err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
