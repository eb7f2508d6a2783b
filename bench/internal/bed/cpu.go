package bed

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// CPU is user and system time of a process so far (proc(5), stat, fields 14 and
// 15, in ticks of 10 ms); 0 where there is no /proc.
func CPU(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), ") ") // the name may hold anything
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// ServerCPU is the time of Postgres' and Kafka's processes on this machine so
// far: "postgres LOGIN" for the backends of a login, "postgres walsender",
// "postgres server" for the rest, and "kafka". A backend that has ended is not
// in it.
func ServerCPU() map[string]time.Duration {
	times := make(map[string]time.Duration)
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return times
	}
	for _, path := range paths {
		line, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if name := serverOf(line); name != "" {
			times[name] += CPU(pid)
		}
	}
	return times
}

func serverOf(cmdline []byte) string {
	title, isBackend := strings.CutPrefix(string(cmdline), "postgres: ")
	switch {
	case isBackend:
		words := strings.Fields(title)
		switch {
		case len(words) > 0 && words[0] == "walsender":
			return "postgres walsender"
		case len(words) > 2 && strings.ContainsAny(words[2], "([") && !strings.HasSuffix(words[0], ":"):
			return "postgres " + words[0]
		}
		return "postgres server"
	case bytes.Contains(cmdline, []byte("kafka.Kafka")):
		return "kafka"
	}
	return ""
}
