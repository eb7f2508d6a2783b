//go:build unix

package pgserver

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Embedded as [Config.BinDir] asks for the fetched binaries, whatever the machine
// has.
const Embedded = "embedded"

// Config says which server to run. Its zero value is a throw-away cluster.
type Config struct {
	// DataDir is the cluster's data directory. Empty: a temporary one, removed by
	// Stop. One that does not exist or is empty is initialised; it stays after
	// Stop. Run by root, it is given to the server's account.
	DataDir string

	// BinDir holds initdb and postgres. Empty: the newest on this machine, else
	// fetched. [Embedded]: fetched.
	BinDir string

	// TempDir is where the run directory is made. Empty: os.TempDir, or /tmp where
	// the server's account cannot reach that or its path is too long for a socket.
	TempDir string

	// FromStock makes a new cluster by copying one that initdb made before, which is
	// kept in the cache, and giving the copy a system identifier of its own. The
	// superuser's password is then that of all copies: for tests.
	FromStock bool

	// Durable keeps fsync, synchronous_commit and full_page_writes on. Without it
	// the data survives the server's death but not the machine's.
	Durable bool

	// Settings are server parameters (postgresql.conf) over the defaults of this
	// package: wal_level logical and 20 WAL senders and replication slots.
	Settings map[string]string

	// TLS turns TLS on. Nil: none.
	TLS *TLS

	// StopGrace is how long Stop waits for a fast shutdown before it orders an
	// immediate one. Zero: 10 s. Negative: at once.
	StopGrace time.Duration

	// Logger tells of the server's starts and stops. Nil: silent.
	Logger *slog.Logger
}

// TLS names PEM files, which are copied at each start.
type TLS struct {
	Cert, Key string
	// ClientCA is the authority of the certificates that logins other than the
	// superuser have to show, beside their password. Empty: none is asked for.
	ClientCA string
}

func (c Config) withDefaults() Config {
	c.StopGrace = cmp.Or(c.StopGrace, 10*time.Second)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	settings := map[string]string{
		"wal_level":             "logical",
		"max_wal_senders":       "20",
		"max_replication_slots": "20",
		"timezone":              "UTC",
		"log_timezone":          "UTC",
	}
	if !c.Durable {
		settings["fsync"] = "off"
		settings["synchronous_commit"] = "off"
		settings["full_page_writes"] = "off"
	}
	if c.DataDir == "" {
		// In files under the data directory and not in /dev/shm, where a killed
		// server's would stay when its directory is gone.
		settings["dynamic_shared_memory_type"] = "mmap"
	}
	maps.Copy(settings, c.Settings)
	c.Settings = settings
	return c
}

var settingName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_.]*$`)

// ours are the parameters that Start decides, on the command line.
var ours = []string{"port", "listen_addresses", "unix_socket_directories", "data_directory"}

func (c Config) validate() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.Settings)) {
		switch {
		case !settingName.MatchString(name):
			errs = append(errs, fmt.Errorf("Config.Settings: %q is no parameter name", name))
		case slices.Contains(ours, strings.ToLower(name)):
			errs = append(errs, fmt.Errorf("Config.Settings: %s is decided by Start", name))
		case strings.ContainsAny(c.Settings[name], "\n\r\x00"):
			errs = append(errs, fmt.Errorf("Config.Settings: value of %s holds a line break or NUL", name))
		}
	}
	if c.StopGrace < 0 && c.Durable {
		errs = append(errs, errors.New("Config.StopGrace: a durable server needs time for its shutdown checkpoint"))
	}
	return errors.Join(errs...)
}

// conf renders the settings in the syntax of postgresql.conf(5): a value in
// single quotes, where a quote is doubled and a backslash escapes.
func (c Config) conf() string {
	var b strings.Builder
	b.WriteString("# Written by gapless at each start. Use ALTER SYSTEM for changes.\n")
	quote := strings.NewReplacer(`\`, `\\`, `'`, `''`)
	for _, name := range slices.Sorted(maps.Keys(c.Settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, quote.Replace(c.Settings[name]))
	}
	return b.String()
}
