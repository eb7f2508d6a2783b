package replication

import (
	"io"
	"os"
	"syscall"
)

// setReceiveLow sets how many bytes must have come before the poller is told.
func setReceiveLow(raw syscall.RawConn, n int) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, n))
	})
	if err != nil {
		return err
	}
	return failed
}

// readNow reads without waiting; nothing there is 0 and no error.
func readNow(fd uintptr, into []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), into)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return 0, nil
		case err != nil:
			return 0, os.NewSyscallError("read", err)
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
