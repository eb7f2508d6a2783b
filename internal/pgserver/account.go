//go:build unix

package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/gapless/gapless/internal/process"
)

// account is who the server runs as. A nil user is this process's own account.
type account struct{ user *process.User }

// serverAccount is our own, unless we are root: then postgres where a package made
// it, else nobody.
func serverAccount() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("parse uid of %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("parse gid of %s: %w", name, err)
		}
		return account{&process.User{Name: name, UID: uint32(uid), GID: uint32(gid)}}, nil
	}
	return account{}, errors.New("postgres refuses to run as root, and this machine has no account postgres or nobody to run it as")
}

// own gives path to the account.
func (a account) own(path string) error {
	if a.user == nil {
		return nil
	}
	if err := os.Chown(path, int(a.user.UID), int(a.user.GID)); err != nil {
		return fmt.Errorf("give %s to %s: %w", path, a.user.Name, err)
	}
	return nil
}

// reaches tells whether the account may pass through dir and all its parents. It
// looks at permission bits alone, which is all that the places in question use.
func (a account) reaches(dir string) error {
	if a.user == nil {
		return nil
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", dir, err)
	}
	if resolved, err := filepath.EvalSymlinks(abs); err == nil {
		abs = resolved
	}
	for d := abs; ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil {
			return fmt.Errorf("look at %s: %w", d, err)
		}
		if !a.passes(info) {
			return fmt.Errorf("account %s cannot enter %s: chmod o+x it, or choose another place", a.user.Name, d)
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

// passes tells whether the account may enter the directory info, by the first of
// owner, group and others that applies, as the kernel decides it.
func (a account) passes(info os.FileInfo) bool {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return true
	}
	switch {
	case s.Uid == a.user.UID:
		return info.Mode()&0o100 != 0
	case s.Gid == a.user.GID:
		return info.Mode()&0o010 != 0
	default:
		return info.Mode()&0o001 != 0
	}
}
