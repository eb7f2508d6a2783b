package api

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/sql"
)

// Roles of a key.
const (
	RoleCustomer = "customer"
	RoleOperator = "operator"
)

// principal is who asks.
type principal struct {
	name     string
	operator bool
}

var anonymous = principal{name: "anonymous", operator: true}

type principalKey struct{}

func principalFrom(ctx context.Context) principal {
	p, _ := ctx.Value(principalKey{}).(principal)
	return p
}

// maxRemembered bounds the caches. Past it they start anew, which costs a query
// an entry and needs no bookkeeping.
const maxRemembered = 10_000

// authenticator finds the principal of a key. The look-up is by hash, so that
// its time tells nothing about keys that exist.
type authenticator struct {
	db  *pgxpool.Pool
	age time.Duration

	mu    sync.Mutex
	known map[[sha256.Size]byte]rememberedPrincipal
}

type rememberedPrincipal struct {
	principal
	until time.Time
}

func (a *authenticator) principal(ctx context.Context, key string) (principal, error) {
	hash := sha256.Sum256([]byte(key))
	now := time.Now()
	a.mu.Lock()
	known, ok := a.known[hash]
	a.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.principal, nil
	}
	var p principal
	var role string
	err := a.db.QueryRow(ctx, sql.CheckoutAPIKeyFind, hash[:]).Scan(&p.name, &role)
	if errors.Is(err, pgx.ErrNoRows) {
		a.mu.Lock()
		delete(a.known, hash)
		a.mu.Unlock()
		return principal{}, unauthenticated("the key is not known or was revoked")
	}
	if err != nil {
		return principal{}, fmt.Errorf("find api key: %w", err)
	}
	p.operator = role == RoleOperator
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil || len(a.known) >= maxRemembered {
		a.known = make(map[[sha256.Size]byte]rememberedPrincipal)
	}
	a.known[hash] = rememberedPrincipal{p, now.Add(a.age)}
	return p, nil
}

func unauthenticated(detail string) *problem {
	return &problem{
		kind: kindUnauthorized, detail: detail,
		header: http.Header{"Www-Authenticate": {`Bearer realm="gapless"`}},
	}
}

var crossOrigin = http.NewCrossOriginProtection()

// isLoopback tells whether a Host header names this machine by a name that nobody
// else can give it.
func isLoopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	ip := net.ParseIP(strings.Trim(name, "[]"))
	return name == "localhost" || ip != nil && ip.IsLoopback()
}

// authenticate puts the principal into the request's context.
func (s *Server) authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := anonymous
		if s.cfg.Auth == AuthNone {
			// A page in the browser of whoever runs this reaches loopback addresses
			// too, and would be an operator.
			if err := crossOrigin.Check(r); err != nil {
				s.fail(w, r, problemf(kindForbidden, "the request comes from a page of another origin"))
				return
			}
			if !isLoopback(r.Host) { // a name that was made to lead here
				s.fail(w, r, problemf(kindForbidden, "the request is for host %q: without authentication only loopback addresses and localhost are served", r.Host))
				return
			}
		}
		if s.cfg.Auth == AuthKeys {
			key, ok := parseBearer(r.Header.Get("Authorization"))
			if !ok {
				s.fail(w, r, unauthenticated("the request has no bearer token"))
				return
			}
			// As dbContext: whoever hangs up must not take a connection with him,
			// least of all before it is known who he is.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), s.cfg.AcquireTimeout)
			p, err := s.auth.principal(ctx, key)
			cancel()
			if err != nil {
				s.fail(w, r, err)
				return
			}
			who = p
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), principalKey{}, who)))
	})
}

// Execer is what CreateKey needs of a connection, pool or transaction.
type Execer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// CreateKey makes a key for the principal name with RoleCustomer or
// RoleOperator, stores its SHA-256 and returns it: it is not to be had again.
// A name has one key.
func CreateKey(ctx context.Context, db Execer, name, role string) (string, error) {
	key := "gk_" + rand.Text() + rand.Text()
	if err := StoreKey(ctx, db, name, role, key); err != nil {
		return "", err
	}
	return key, nil
}

// StoreKey is [CreateKey] with a key that comes from elsewhere, of at least 16
// characters.
func StoreKey(ctx context.Context, db Execer, name, role, key string) error {
	switch {
	case name == "" || len(name) > 128 || strings.TrimSpace(name) != name || strings.IndexFunc(name, unicode.IsControl) >= 0:
		return &UsageError{Err: fmt.Errorf("key name %q: 1 to 128 characters, no control characters, no space around it", name)}
	case name == anonymous.name:
		return &UsageError{Err: fmt.Errorf("key name %q: is the principal of --auth none", name)}
	case role != RoleCustomer && role != RoleOperator:
		return &UsageError{Err: fmt.Errorf("role %q: is neither %s nor %s", role, RoleCustomer, RoleOperator)}
	case len(key) < 16 || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return &UsageError{Err: errors.New("key: at least 16 printable ASCII characters without spaces")}
	}
	hash := sha256.Sum256([]byte(key))
	_, err := db.Exec(ctx, sql.CheckoutAPIKeyInsert, hash[:], name, role)
	if pgErr, ok := errors.AsType[*pgconn.PgError](err); ok && pgErr.ConstraintName == "api_keys_name_key" {
		return fmt.Errorf("store key: %q has a key already", name)
	}
	if err != nil {
		return fmt.Errorf("store key: %w", err)
	}
	return nil
}
