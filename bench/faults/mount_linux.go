package main

import (
	"fmt"
	"syscall"
)

func mountTmpfs(dir, options string) error {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		return fmt.Errorf("mount a tmpfs (root may): %w", err)
	}
	return nil
}

func unmountTmpfs(dir string) error {
	if err := syscall.Unmount(dir, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}
