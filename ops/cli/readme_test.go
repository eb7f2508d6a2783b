//go:build unix

package cli_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
)

// shell runs a block of the README as it is written, with this binary as
// gapless, in the repository's root.
func shell(t *testing.T, env []string, block string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\n%s=1 exec '%s' \"$@\"\n", childVariable, exe)
	if err := os.WriteFile(filepath.Join(dir, "gapless"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", block)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(append(os.Environ(), env...), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	// A group of its own: what runs in the background is stopped with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// replaced fails when the README no longer has what the test must change: it
// would run something else than it says.
func replaced(t *testing.T, text, pattern, with string) string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	if len(re.FindAllString(text, -1)) != 1 {
		t.Fatalf("the README does not have %s once in: %s", pattern, text)
	}
	return re.ReplaceAllLiteralString(text, with)
}

// TestReadmeDemo runs the first command with fewer orders and on free ports.
func TestReadmeDemo(t *testing.T) {
	t.Parallel()
	block := blocks(document(t, "README.md"), "sh")[0]
	block = replaced(t, block, `(?m)^go test \./\.\.\..*$`, "") // this is it
	block = replaced(t, block, `go run \. demo --orders 200 `, "gapless demo --orders 24 ")
	cmd := shell(t, []string{"GAPLESS_LISTEN=" + freeAddr(t), "GAPLESS_OPS_LISTEN=127.0.0.1:0"}, block)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "every invariant holds") {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestReadmeOnYourOwnServers runs the rest of the README against servers of its
// own, as one goes through it.
func TestReadmeOnYourOwnServers(t *testing.T) {
	t.Parallel()
	readme := document(t, "README.md")
	sh := blocks(readme, "sh")
	if len(sh) != 4 {
		t.Fatalf("%d blocks of shell, want demo, services, curl, look", len(sh))
	}
	server := pgtest.Server(t, nil)
	address := freeAddr(t)
	env := []string{
		"GAPLESS_DATABASE_URL=" + server.SuperuserURL(), "GAPLESS_BROKERS=" + strings.Join(kafkaserver.Fake(t).ListenAddrs(), ","),
		"GAPLESS_LISTEN=" + address, "GAPLESS_OPS_LISTEN=127.0.0.1:0",
	}
	services := replaced(t, sh[1], `(?m)^go build -o bin/gapless \. && export PATH="\$PWD/bin:\$PATH"$`, "")
	services = replaced(t, services, `(?m)^export GAPLESS_DATABASE_URL='[^']*' GAPLESS_BROKERS='[^']*'$`, "")
	cmd := shell(t, env, services+"wait\n")
	var log testkit.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		select {
		case err := <-ended:
			t.Logf("services ended: %v", err) // the shell by the signal too
			if t.Failed() {
				t.Logf("services said: %s", &log)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("services did not end: %s", &log)
		}
	})

	testkit.Eventually(t, 60*time.Second, func() error {
		if status, body := get(t, "http://"+address+"/v1/products"); status != http.StatusOK {
			return fmt.Errorf("%d %s: %s", status, body, &log)
		}
		return nil
	})
	location := curl(t, sh[2], "http://127.0.0.1:8080", "http://"+address)
	awaitOrder(t, "http://"+address, strings.TrimPrefix(location, "/v1/orders/"), "confirmed")

	testkit.Eventually(t, 60*time.Second, func() error { // some of it is too young to be judged at first
		out, err := shell(t, env, sh[3]).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "every invariant holds") ||
			!strings.Contains(string(out), "OrderConfirmed") || !strings.Contains(string(out), "streaming") {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	pool := pgtest.OpenPool(t, server.SuperuserURL())
	for _, block := range blocks(readme, "sql") {
		for statement := range strings.SplitSeq(strings.TrimSpace(block), ";\n") {
			if _, err := pool.Exec(t.Context(), statement); err != nil {
				t.Errorf("%s: %v", statement, err)
			}
		}
	}
}

// curl does what the README's curl command does, on a machine that may have no
// curl. It returns the answer's Location.
func curl(t *testing.T, command, from, to string) string {
	t.Helper()
	target := regexp.MustCompile(`http://\S+`).FindString(command)
	body := regexp.MustCompile(`(?s)-d '(.*?)'`).FindStringSubmatch(command)
	headers := regexp.MustCompile(`-H '([^:]+): ([^']+)'`).FindAllStringSubmatch(command, -1)
	if !strings.HasPrefix(target, from) || body == nil || len(headers) != 2 {
		t.Fatalf("not the command that is expected: %s", command)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, strings.Replace(target, from, to, 1), strings.NewReader(body[1]))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		req.Header.Set(h[1], h[2])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusAccepted {
		t.Fatalf("%s: %s, %v", answer.Status, text, err)
	}
	return answer.Header.Get("Location")
}
