package cli

import (
	"fmt"
	"runtime"
)

type versionCommand struct{}

func (versionCommand) Run(e *env) error {
	_, err := fmt.Fprintln(e.stdout, versionLine(e.version))
	return err
}

func versionLine(version string) string {
	return fmt.Sprintf("gapless %s (%s %s/%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
