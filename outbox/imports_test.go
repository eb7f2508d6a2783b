package outbox_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A stranger imports this package into a program that may have none of these.
func TestImportsNoBrokerNoHTTPNoMigrations(t *testing.T) {
	t.Parallel()
	for pkg := range strings.FieldsSeq(run(t, ".", nil, "go", "list", "-deps", ".")) {
		for _, forbidden := range []string{
			"net/http", "github.com/twmb/", "github.com/pressly/", "github.com/go-chi/", "github.com/prometheus/", "google.golang.org/grpc",
			"github.com/jackc/pglogrepl", "github.com/gapless/gapless/goose", "github.com/gapless/gapless/relay", "github.com/gapless/gapless/ops",
		} {
			if strings.HasPrefix(pkg, forbidden) {
				t.Errorf("imports %s", pkg)
			}
		}
	}
}

const stranger = `package main

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/consumers"
	"github.com/gapless/gapless/outbox"
)

func place(ctx context.Context, tx pgx.Tx) error {
	return outbox.Append(ctx, tx, outbox.Event{AggregateType: "order", AggregateID: "o-1", Type: "OrderPlaced"})
}

var _ consumers.Consumer

func main() { _ = place }
`

// Another module builds on both libraries with what their module file names.
func TestAnotherModuleBuilds(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	// Our own requirements are the stranger's: nothing is fetched.
	module := strings.Replace(read("go.mod"), "module github.com/gapless/gapless", "module example.com/stranger", 1)
	write("go.mod", []byte(module+"\nrequire github.com/gapless/gapless v0.0.0\n\nreplace github.com/gapless/gapless => "+root+"\n"))
	write("go.sum", []byte(read("go.sum")))
	write("main.go", []byte(stranger))
	run(t, dir, []string{"GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off"}, "go", "vet", ".")
}
