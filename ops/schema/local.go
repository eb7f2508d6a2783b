package schema

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// Local is a registry within this process, for the demo and for tests. It keeps
// nothing but starts with what the database holds, so that ids stay the same
// from one run to the next.
type Local struct {
	server *http.Server
	url    string
	done   chan error
}

// StartLocal starts a registry on a free port of 127.0.0.1, filled with the
// schemas of db; db may be nil. Close ends it.
func StartLocal(ctx context.Context, db Querier) (*Local, error) {
	registry := srfake.NewRegistry()
	if db != nil {
		if err := seed(ctx, registry, db); err != nil {
			return nil, err
		}
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for registry: %w", err)
	}
	l := &Local{
		server: &http.Server{Handler: registry.Handler(), ReadHeaderTimeout: 10 * time.Second},
		url:    "http://" + listener.Addr().String(),
		done:   make(chan error, 1),
	}
	go func() { l.done <- l.server.Serve(listener) }()
	return l, nil
}

// URL is the base of the registry's API.
func (l *Local) URL() string { return l.url }

// Close stops the registry and returns when its goroutine is gone.
func (l *Local) Close() error {
	err := l.server.Close()
	if served := <-l.done; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

var importLine = regexp.MustCompile(`(?m)^\s*import\s+(?:public\s+|weak\s+)?"([^"]+)"\s*;`)

// seed puts stored versions into an empty registry under their ids. A reference
// is to the newest version of the imported file at that point, as it was when
// the ids were given.
func seed(ctx context.Context, registry *srfake.Registry, db Querier) (err error) {
	list, err := ReadStored(ctx, db)
	if err != nil {
		return err
	}
	// SeedSchema panics on what a registry could not hold, for instance rows
	// that another program wrote.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("fill the registry with stored schemas: %v", r)
		}
	}()
	newest := map[string]int{}
	first := map[int]bool{}
	for _, s := range list {
		schema := sr.Schema{Schema: s.Definition, Type: sr.TypeProtobuf}
		for _, match := range importLine.FindAllStringSubmatch(s.Definition, -1) {
			if version := newest[match[1]]; version > 0 {
				schema.References = append(schema.References, sr.SchemaReference{Name: match[1], Subject: match[1], Version: version})
			}
		}
		if first[s.SchemaID] {
			id, version, err := registry.RegisterSchema(s.Subject, schema)
			if err != nil || id != s.SchemaID || version != s.Version {
				return fmt.Errorf("fill the registry: subject %s is id %d version %d, want %d and %d: %w", s.Subject, id, version, s.SchemaID, s.Version, err)
			}
		} else {
			registry.SeedSchema(s.Subject, s.Version, s.SchemaID, schema)
			first[s.SchemaID] = true
		}
		newest[s.Subject] = max(newest[s.Subject], s.Version)
	}
	return nil
}
