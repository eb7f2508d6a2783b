//go:build !linux

package wire

import "syscall"

func setDeaf(syscall.Conn, bool) error { return nil }

func drops(syscall.Conn) int { return 0 }
