package pgconnect_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/gapless/gapless/internal/pgconnect"
)

func TestDescribe(t *testing.T) {
	t.Parallel()
	hangUp, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hangUp.Close() })
	go func() {
		for {
			c, err := hangUp.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	for url, want := range map[string]string{
		"postgres://u@127.0.0.1:1/x":                   "cannot reach Postgres at 127.0.0.1:1: connection refused",
		"postgres://u@127.0.0.1:1,127.0.0.1:2/x":       "cannot reach Postgres at 127.0.0.1:1: connection refused; 127.0.0.1:2: connection refused",
		"postgres:///x?host=/nowhere&port=5432":        "cannot reach Postgres at /nowhere/.s.PGSQL.5432: no such file or directory",
		"postgres://u@no-such-host.invalid/x":          "cannot reach Postgres at no-such-host.invalid: ",
		"postgres://u@" + hangUp.Addr().String() + "/": "cannot reach Postgres at " + hangUp.Addr().String() + ": ",
	} {
		_, err := pgx.Connect(t.Context(), url)
		text, ok := pgconnect.Describe(fmt.Errorf("wrapped: %w", err))
		if !ok || !strings.HasPrefix(text, want) || !strings.HasSuffix(want, ": ") && text != want || strings.Contains(text, "\n") {
			t.Errorf("%s: %q, want %q", url, text, want)
		}
		if url == "postgres://u@127.0.0.1:1/x" && strings.Count(text, "refused") != 1 {
			t.Errorf("said twice: %s", text)
		}
	}
	if text, ok := pgconnect.Describe(errors.New("other")); ok {
		t.Errorf("another error: %q", text)
	}
}
