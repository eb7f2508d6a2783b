//go:build unix && !linux

package pgserver

func removeSegment(string) error { return nil }
