//go:build unix

package kafkaserver

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/gapless/gapless/internal/process"
)

const (
	// ConnectVersion and DebeziumVersion are what [StartConnect] runs, as in
	// connect.pom.xml.
	ConnectVersion  = "4.3.0"
	DebeziumVersion = "3.6.0.Final"

	connectJava = 17
)

// ConnectConfig says how to run a Kafka Connect worker.
type ConnectConfig struct {
	// Brokers is the cluster that it writes to.
	Brokers []string

	// Dir holds the configuration, the log and the offsets. Empty: a temporary
	// one, removed by Stop.
	Dir string

	// Properties are worker settings over this package's.
	Properties map[string]string

	// HeapMB is the most of the JVM's heap. Zero: 2048, as bin/connect-standalone.sh has it.
	HeapMB int

	// Logger tells of starts and stops. Nil: silent.
	Logger *slog.Logger
}

// Connect is a running standalone worker that has Debezium's Postgres connector.
type Connect struct {
	jvm
	base    string
	offsets string
}

// StartConnect starts a worker without connectors and returns when its REST API
// answers. The first start on a machine fetches the jars, which takes a minute or
// two. ctx does not end a worker that was started: Stop does.
func StartConnect(ctx context.Context, cfg ConnectConfig) (*Connect, error) {
	home, err := fetch(ctx, "connect-"+ConnectVersion+"-debezium-"+DebeziumVersion, connectPOM, arrangeConnect)
	if err != nil {
		return nil, err
	}
	java, err := findJava(ctx, connectJava)
	if err != nil {
		return nil, err
	}
	dir, temp, err := newDir(cfg.Dir, "gapless-connect-")
	if err != nil {
		return nil, err
	}
	c := &Connect{
		jvm:     jvm{name: "connect", dir: dir, temp: temp, java: java, logger: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))},
		offsets: filepath.Join(dir, "offsets"),
	}
	c.ready = func(ctx context.Context) error { return c.call(ctx, http.MethodGet, "/connectors", nil, nil) }
	if err := c.onFreePorts(func() error { return c.configureAndLaunch(ctx, cfg, home) }); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Connect) configureAndLaunch(ctx context.Context, cfg ConnectConfig, home string) error {
	port, err := process.FreePort(ctx)
	if err != nil {
		return err
	}
	c.base = fmt.Sprintf("http://127.0.0.1:%d", port)
	p := map[string]string{
		"bootstrap.servers":            strings.Join(cfg.Brokers, ","),
		"key.converter":                "org.apache.kafka.connect.storage.StringConverter",
		"value.converter":              "org.apache.kafka.connect.storage.StringConverter",
		"offset.storage.file.filename": c.offsets,
		"offset.flush.interval.ms":     "1000",
		"plugin.path":                  filepath.Join(home, "plugins"),
		"listeners":                    c.base,
	}
	properties := filepath.Join(c.dir, "worker.properties")
	if err := os.WriteFile(properties, []byte(propertiesText(p, cfg.Properties)), 0o600); err != nil {
		return fmt.Errorf("write worker configuration: %w", err)
	}
	most := cmp.Or(cfg.HeapMB, 2048)
	c.args = append(kafkaOptions(min(256, most), most),
		"-cp", filepath.Join(home, "libs", "*"), "org.apache.kafka.connect.cli.ConnectStandalone", properties)
	return c.launch(ctx)
}

// arrangeConnect puts Connect's jars on the class path and the connector beside
// them, where Connect gives it a class loader of its own.
func arrangeConnect(fetched, keep string) error {
	libs, plugins := filepath.Join(keep, "libs"), filepath.Join(keep, "plugins")
	if err := os.MkdirAll(libs, 0o755); err != nil { //nolint:gosec // public jars
		return err
	}
	jars, err := filepath.Glob(filepath.Join(fetched, "*.jar"))
	if err != nil || len(jars) == 0 {
		return errors.Join(fmt.Errorf("no jar in %s", fetched), err)
	}
	for _, j := range jars {
		if err := os.Rename(j, filepath.Join(libs, filepath.Base(j))); err != nil {
			return err
		}
	}
	return untarAll(fetched, plugins)
}

// OffsetsFile is where the worker keeps its connectors' offsets.
func (c *Connect) OffsetsFile() string { return c.offsets }

// Put creates the connector or changes its configuration.
func (c *Connect) Put(ctx context.Context, name string, config map[string]string) error {
	if err := c.call(ctx, http.MethodPut, "/connectors/"+url.PathEscape(name)+"/config", config, nil); err != nil {
		return fmt.Errorf("put connector %s: %w", name, err)
	}
	return nil
}

// Delete removes the connector, which ends its task.
func (c *Connect) Delete(ctx context.Context, name string) error {
	if err := c.call(ctx, http.MethodDelete, "/connectors/"+url.PathEscape(name), nil, nil); err != nil {
		return fmt.Errorf("delete connector %s: %w", name, err)
	}
	return nil
}

// DatabaseOptions are a connector's, for the database at a URL with host and port.
func DatabaseOptions(databaseURL string) (map[string]string, error) {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("parse database URL: %w", err)
	}
	password, _ := u.User.Password()
	return map[string]string{
		"database.hostname": u.Hostname(), "database.port": u.Port(), "database.dbname": strings.TrimPrefix(u.Path, "/"),
		"database.user": u.User.Username(), "database.password": cmp.Or(password, "none"), // it takes no empty one
	}, nil
}

// TaskState returns the state of the connector's task (RUNNING, FAILED, …) and,
// where it has failed, the stack trace. It is empty while there is no task.
func (c *Connect) TaskState(ctx context.Context, name string) (state, trace string, err error) {
	var status struct {
		Tasks []struct{ State, Trace string }
	}
	if err := c.call(ctx, http.MethodGet, "/connectors/"+url.PathEscape(name)+"/status", nil, &status); err != nil {
		return "", "", fmt.Errorf("ask for the state of connector %s: %w", name, err)
	}
	if len(status.Tasks) == 0 {
		return "", "", nil
	}
	return status.Tasks[0].State, status.Tasks[0].Trace, nil
}

func (c *Connect) call(ctx context.Context, method, path string, body, answer any) error {
	var reader io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		reader = bytes.NewReader(b)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, reader)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	// A transport of its own: the default one would keep a connection.
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("connect answers %s: %s", response.Status, text)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}
