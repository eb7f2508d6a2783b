package pgtest

import (
	"os"
	"syscall"
)

// memoryDir is where the clusters of the tests live: in memory where there is
// room. A clone is some hundred small files, written and deleted again, and on a
// slow disk that takes longer than most tests.
func memoryDir() string {
	const (
		dir   = "/dev/shm"
		tmpfs = 0x01021994
		room  = 4 << 30 // a container often has 64 MiB there
	)
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(dir, &fs) != nil || fs.Type != tmpfs {
		return "" // a TMPDIR that was set is a wish
	}
	if fs.Bavail*uint64(fs.Bsize) < room { //nolint:gosec // a block size is positive
		return ""
	}
	return dir
}
