//go:build unix

package kafkaserver

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"

	"github.com/gapless/gapless/internal/process"
)

const (
	// ApicurioVersion is the registry that [StartApicurio] runs, as in
	// apicurio.pom.xml.
	ApicurioVersion = "3.3.3"

	apicurioJava = 21
)

// ApicurioConfig says how to run a registry.
type ApicurioConfig struct {
	// Dir holds the log. Empty: a temporary one, removed by Stop.
	Dir string

	// HeapMB is the JVM's heap. Zero: 512.
	HeapMB int

	// Logger tells of starts and stops. Nil: silent.
	Logger *slog.Logger
}

// Apicurio is a running registry that keeps its schemas in memory.
type Apicurio struct {
	jvm
	base string
}

// StartApicurio starts a registry and returns when its Confluent API answers. The
// first start on a machine fetches it, which takes a minute or two. ctx does not
// end a registry that was started: Stop does.
func StartApicurio(ctx context.Context, cfg ApicurioConfig) (*Apicurio, error) {
	app, err := fetch(ctx, "apicurio-"+ApicurioVersion, apicurioPOM, untarAll)
	if err != nil {
		return nil, err
	}
	java, err := findJava(ctx, apicurioJava)
	if err != nil {
		return nil, err
	}
	dir, temp, err := newDir(cfg.Dir, "gapless-apicurio-")
	if err != nil {
		return nil, err
	}
	a := &Apicurio{jvm: jvm{name: "apicurio", dir: dir, temp: temp, java: java, logger: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))}}
	a.ready = a.answers
	if err := a.onFreePorts(func() error { return a.configureAndLaunch(ctx, cfg, app) }); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Apicurio) configureAndLaunch(ctx context.Context, cfg ApicurioConfig, app string) error {
	port, err := process.FreePort(ctx)
	if err != nil {
		return err
	}
	management, err := process.FreePort(ctx)
	if err != nil {
		return err
	}
	a.base = fmt.Sprintf("http://127.0.0.1:%d", port)
	a.args = []string{
		fmt.Sprintf("-Xmx%dm", cmp.Or(cfg.HeapMB, 512)),
		"-Dquarkus.http.host=127.0.0.1", fmt.Sprintf("-Dquarkus.http.port=%d", port),
		"-Dquarkus.management.host=127.0.0.1", fmt.Sprintf("-Dquarkus.management.port=%d", management),
		"-jar", filepath.Join(app, "quarkus-run.jar"),
	}
	return a.launch(ctx)
}

// URL is the base of the Confluent-compatible API.
func (a *Apicurio) URL() string { return a.base + "/apis/ccompat/v7" }

func (a *Apicurio) answers(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL()+"/subjects", nil)
	if err != nil {
		return err
	}
	// A transport of its own: the default one would keep a connection.
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("registry answers %s", response.Status)
	}
	return nil
}
