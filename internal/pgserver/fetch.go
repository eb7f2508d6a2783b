//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"

	"github.com/gapless/gapless/internal/process"
)

const fetchedVersion = embeddedpostgres.V18

// fetch returns the bin directory of the fetched Postgres, and fetches it when the
// cache has none.
func fetch(ctx context.Context) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	home := filepath.Join(cache, "postgres-"+string(fetchedVersion))
	bin := filepath.Join(home, "bin")
	if whole(bin) {
		return bin, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // the account that the server runs as reads it
		return "", fmt.Errorf("create cache: %w", err)
	}
	unlock, err := process.LockFile(ctx, home+".lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if whole(bin) {
		return bin, nil // by the process we waited for
	}
	tmp, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return "", fmt.Errorf("create cache: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }()     // what stays is in nobody's way
	if err := os.Chmod(tmp, 0o755); err != nil { //nolint:gosec // as above
		return "", fmt.Errorf("create cache: %w", err)
	}
	if err := fetchInto(ctx, tmp); err != nil {
		return "", err
	}
	if err := os.RemoveAll(home); err != nil {
		return "", fmt.Errorf("replace %s: %w", home, err)
	}
	if err := os.Rename(filepath.Join(tmp, "home"), home); err != nil {
		return "", fmt.Errorf("keep the fetched Postgres: %w", err)
	}
	return bin, nil
}

// fetchInto makes dir/home.
//
// The module has no call that only fetches: its Start does, then runs initdb
// (which refuses root) and the server. It skips initdb when the data directory has
// the version file, and a data directory with nothing else in it starts no server;
// so Start always fails here, after the part that is wanted, and the binaries on
// disk tell whether that part succeeded.
func fetchInto(ctx context.Context, dir string) error {
	data := filepath.Join(dir, "data")
	if err := os.Mkdir(data, 0o700); err != nil {
		return fmt.Errorf("create cache: %w", err)
	}
	major, _, _ := strings.Cut(string(fetchedVersion), ".")
	if err := os.WriteFile(filepath.Join(data, "PG_VERSION"), []byte(major+"\n"), 0o600); err != nil {
		return fmt.Errorf("create cache: %w", err)
	}
	port, err := process.FreePort(ctx)
	if err != nil {
		return err
	}
	home := filepath.Join(dir, "home")
	result := make(chan error, 1)
	go func() {
		result <- embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
			Version(fetchedVersion).
			CachePath(filepath.Join(dir, "cache")).
			RuntimePath(filepath.Join(dir, "run")).
			BinariesPath(home).
			DataPath(data).
			Port(uint32(port)). //nolint:gosec // a port fits
			StartTimeout(time.Second).
			Logger(io.Discard)).Start()
	}()
	select {
	case err = <-result:
	case <-ctx.Done():
		// The module takes no context. Its download ends with the process.
		return fmt.Errorf("fetch Postgres %s: %w", fetchedVersion, ctx.Err())
	}
	// The module uses the default client, whose idle connection would stay.
	http.DefaultClient.CloseIdleConnections()
	if !whole(filepath.Join(home, "bin")) {
		return fmt.Errorf("fetch Postgres %s: %w", fetchedVersion, errors.Join(err, errors.New("install Postgres 14 or later, or allow Maven Central")))
	}
	return nil
}

func whole(bin string) bool {
	for _, p := range []string{"postgres", "initdb"} {
		if _, err := os.Stat(filepath.Join(bin, p)); err != nil {
			return false
		}
	}
	return true
}

// cacheDir is the user's, but for root the system's: root's home is closed to the
// account that the server runs as.
func cacheDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/gapless", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}
	return filepath.Join(dir, "gapless"), nil
}
