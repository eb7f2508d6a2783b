//go:build unix

package kafkaserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// findJava returns a java of at least the given major version. The operator's
// words come first (JAVA<major>_HOME, JAVA_HOME), then PATH, then what packages
// have installed.
func findJava(ctx context.Context, least int) (string, error) {
	var candidates []string
	for _, name := range []string{fmt.Sprintf("JAVA%d_HOME", least), "JAVA_HOME"} {
		if home := os.Getenv(name); home != "" {
			candidates = append(candidates, filepath.Join(home, "bin", "java"))
		}
	}
	if p, err := exec.LookPath("java"); err == nil {
		candidates = append(candidates, p)
	}
	for _, pattern := range []string{
		"/usr/lib/jvm/*/bin/java",
		"/opt/homebrew/opt/openjdk*/bin/java",
		"/usr/local/opt/openjdk*/bin/java",
		"/Library/Java/JavaVirtualMachines/*/Contents/Home/bin/java",
	} {
		found, err := filepath.Glob(pattern)
		if err == nil {
			candidates = append(candidates, found...)
		}
	}
	for _, java := range candidates {
		if major, err := javaMajor(ctx, java); err == nil && major >= least {
			return java, nil
		}
	}
	return "", fmt.Errorf("find Java %d or later: none in JAVA%d_HOME, JAVA_HOME, PATH or the usual places", least, least)
}

func javaMajor(ctx context.Context, java string) (int, error) {
	out, err := exec.CommandContext(ctx, java, "-version").CombinedOutput() //nolint:gosec // a JDK of this machine
	if err != nil {
		return 0, fmt.Errorf("ask %s for its version: %w", java, err)
	}
	return parseJavaMajor(string(out))
}

// parseJavaMajor reads `openjdk version "17.0.15" 2025-04-15`, and "25-ea" and the
// "1.8.0_392" of old.
func parseJavaMajor(out string) (int, error) {
	_, rest, ok := strings.Cut(out, `version "`)
	if !ok {
		return 0, fmt.Errorf("parse Java version %q", out)
	}
	rest = strings.TrimPrefix(rest, "1.")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		return 0, fmt.Errorf("parse Java version %q", out)
	}
	major, err := strconv.Atoi(rest[:end])
	if err != nil {
		return 0, fmt.Errorf("parse Java version %q", out)
	}
	return major, nil
}
