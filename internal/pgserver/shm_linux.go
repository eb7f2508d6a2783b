package pgserver

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// removeSegment removes the System V segment that a killed server left. Postgres
// keeps one, of a few bytes, to notice a second server on its data directory; a
// server that shuts down removes it, one that starts again on the data removes its
// predecessor's. Here the data goes away, so nobody would.
func removeSegment(dataDir string) error {
	f, err := os.Open(filepath.Join(dataDir, "postmaster.pid"))
	if os.IsNotExist(err) {
		return nil // it shut down
	}
	if err != nil {
		return fmt.Errorf("find shared memory: %w", err)
	}
	defer f.Close()
	const line = 7 // LOCK_FILE_LINE_SHMEM_KEY in Postgres's pidfile.h: key and id
	lines := bufio.NewScanner(f)
	for range line {
		if !lines.Scan() {
			return nil // killed before it had one
		}
	}
	fields := strings.Fields(lines.Text())
	if len(fields) != 2 {
		return nil
	}
	id, err := strconv.Atoi(fields[1])
	if err != nil {
		return fmt.Errorf("find shared memory: %w", err)
	}
	_, err = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EIDRM) {
		return fmt.Errorf("remove shared memory %d: %w", id, err)
	}
	return nil
}
