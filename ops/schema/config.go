package schema

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/sr"

	"github.com/gapless/gapless/contracts"
)

// Compatibility is what a new version of a contract owes its readers.
type Compatibility string

const (
	// Backward: new readers read old events. The default.
	Backward Compatibility = "backward"
	// Full: old readers read new events, too.
	Full Compatibility = "full"
)

// Contract is one message type and the registry's subject for it.
type Contract struct {
	Subject string
	Message string // full name
}

// Catalogue returns the contracts of the order pipeline.
func Catalogue() []Contract {
	var list []Contract
	for _, c := range contracts.Catalogue() {
		list = append(list, Contract{Subject: c.Subject(), Message: c.FullName()})
	}
	return list
}

// Config says what to register or check, and against what.
type Config struct {
	// RegistryURL is the base of Confluent's API, for Apicurio with the path
	// /apis/ccompat/v7.
	RegistryURL string
	// Username and Password for basic authentication; BearerToken instead of them.
	Username, Password, BearerToken string
	// TLS for https; nil means the system's roots.
	TLS *tls.Config

	// Dir holds earlier contracts for Check and Diff, instead of RegistryURL:
	// a tree of .proto files, or one *.binpb file of a FileDescriptorSet.
	Dir string

	// DatabaseURL of the database whose gapless.schema_version is filled; or DB.
	// Both empty: the ids are registered and not stored.
	DatabaseURL string
	DB          Beginner

	// Compatibility is Backward unless set.
	Compatibility Compatibility
	// Protos holds the .proto files by import path; nil means those of Gapless.
	Protos fs.FS
	// Contracts to register; empty means Catalogue.
	Contracts []Contract
	// Logger receives one line for each new version; nil means silence.
	Logger *slog.Logger
}

// Beginner starts a transaction: a pool or a connection of pgx.
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

func (c Config) withDefaults() (Config, error) {
	c.Compatibility = cmp.Or(c.Compatibility, Backward)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Protos == nil {
		sub, err := fs.Sub(contracts.ProtoFS, "proto")
		if err != nil {
			return c, fmt.Errorf("open contracts: %w", err)
		}
		c.Protos = sub
	}
	if len(c.Contracts) == 0 {
		c.Contracts = Catalogue()
	}
	var errs []error
	if c.Compatibility != Backward && c.Compatibility != Full {
		errs = append(errs, fmt.Errorf("Compatibility: %q is neither %s nor %s", c.Compatibility, Backward, Full))
	}
	if (c.RegistryURL == "") == (c.Dir == "") {
		errs = append(errs, errors.New("RegistryURL: or Dir, give one of them"))
	}
	if c.DatabaseURL != "" && c.DB != nil {
		errs = append(errs, errors.New("DatabaseURL: not beside DB"))
	}
	if c.BearerToken != "" && c.Username != "" {
		errs = append(errs, errors.New("BearerToken: not beside Username"))
	}
	return c, errors.Join(errs...)
}

// requestTimeout bounds one request. A registry that has just started takes
// seconds to judge its first schema.
const requestTimeout = time.Minute

// client returns a client and what closes its connections.
func (c Config) client() (_ *sr.Client, closeIdle func(), _ error) {
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, nil, errors.New("http.DefaultTransport was replaced by another type")
	}
	transport = transport.Clone()
	transport.TLSClientConfig = c.TLS
	opts := []sr.ClientOpt{
		sr.URLs(c.RegistryURL), sr.UserAgent("gapless"),
		sr.HTTPClient(&http.Client{Timeout: requestTimeout, Transport: transport, CheckRedirect: stay}),
	}
	switch {
	case c.BearerToken != "":
		opts = append(opts, sr.BearerToken(c.BearerToken))
	case c.Username != "":
		opts = append(opts, sr.BasicAuth(c.Username, c.Password))
	}
	cl, err := sr.NewClient(opts...)
	if err != nil {
		return nil, nil, fmt.Errorf("registry %s: %w", c.RegistryURL, err)
	}
	return cl, transport.CloseIdleConnections, nil
}

// stay follows no redirect to another host, port or scheme: the password goes along.
func stay(r *http.Request, via []*http.Request) error {
	from := via[0].URL
	if r.URL.Scheme != from.Scheme || r.URL.Host != from.Host {
		return fmt.Errorf("the registry redirects from %s://%s to %s://%s: if that is the right one, give its URL", from.Scheme, from.Host, r.URL.Scheme, r.URL.Host)
	}
	if len(via) > 5 {
		return errors.New("the registry redirects in circles")
	}
	return nil
}

func (c Config) level() sr.CompatibilityLevel {
	if c.Compatibility == Full {
		return sr.CompatFull
	}
	return sr.CompatBackward
}
