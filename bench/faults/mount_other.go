//go:build !linux

package main

import "errors"

func mountTmpfs(string, string) error { return errors.ErrUnsupported }

func unmountTmpfs(string) error { return errors.ErrUnsupported }
