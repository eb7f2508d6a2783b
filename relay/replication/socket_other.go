//go:build !linux

package replication

import (
	"errors"
	"syscall"
)

func setReceiveLow(syscall.RawConn, int) error { return errors.ErrUnsupported }

func readNow(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
