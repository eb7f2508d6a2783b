package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gapless/gapless/api"
	"github.com/gapless/gapless/internal/testkit"
)

func bearer(key string) map[string]string { return map[string]string{"Authorization": "Bearer " + key} }

func (f *fixture) key(name, role string) string {
	f.Helper()
	key, err := api.CreateKey(f.Context(), f.admin, name, role)
	if err != nil {
		f.Fatal(err)
	}
	return key
}

func withKeys(c *api.Config) { c.Auth = api.AuthKeys }

func TestOnlyAKnownKeyIsLetIn(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withKeys, func(c *api.Config) { c.KeyAge = time.Nanosecond })
	key := f.key("shop", api.RoleCustomer)
	for name, header := range map[string]map[string]string{
		"none":    {},
		"basic":   {"Authorization": "Basic " + key},
		"empty":   {"Authorization": "Bearer "},
		"unknown": bearer(key + "x"),
	} {
		r := f.place("k", good(), header)
		f.wantProblem(r, 401, "unauthenticated")
		if !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: www-authenticate %q", name, r.Header.Get("WWW-Authenticate"))
		}
	}
	f.wantNothing()
	f.placed("k", bearer(key))
	f.sql("update checkout.api_keys set revoked_at = now() where name = 'shop'")
	f.wantProblem(f.place("k", good(), bearer(key)), 401, "unauthenticated")
}

func TestAnotherPrincipalSeesNothing(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withKeys)
	alice, bob, boss := f.key("alice", api.RoleCustomer), f.key("bob", api.RoleCustomer), f.key("boss", api.RoleOperator)
	first := f.place("k", good(), bearer(alice))
	id := f.placed("k", bearer(bob)) // the same key is another's
	if n := f.count("select count(*) from checkout.orders"); n != 2 {
		t.Fatalf("%d orders, want 2", n)
	}
	var o api.PlacedOrder
	first.into(t, &o)
	if id == o.ID.String() {
		t.Fatal("bob was given alice's answer")
	}
	path := "/v1/orders/" + o.ID.String()
	for _, p := range []string{path, path + "/timeline", path + "/events"} {
		f.wantProblem(f.do(http.MethodGet, p, "", bearer(bob)), 404, "not-found")
	}
	f.wantProblem(f.do(http.MethodPost, path+"/cancel", "", bearer(bob)), 404, "not-found")
	f.wantProblem(f.do(http.MethodPost, path+"/review", `{"decision":"approve"}`, bearer(bob)), 403, "forbidden")
	for key, want := range map[string]int{alice: 1, bob: 1, boss: 2} {
		var page api.OrderPage
		f.do(http.MethodGet, "/v1/orders?customer_id=c-1", "", bearer(key)).into(t, &page)
		if len(page.Orders) != want {
			t.Errorf("%d orders listed, want %d", len(page.Orders), want)
		}
	}
	if r := f.do(http.MethodGet, path, "", bearer(boss)); r.StatusCode != http.StatusOK {
		t.Errorf("operator: status %d", r.StatusCode)
	}
	// A command that was given may not be told from one that was not.
	if r := f.do(http.MethodPost, path+"/cancel", "", bearer(alice)); r.StatusCode != http.StatusAccepted {
		t.Fatalf("cancel: status %d: %s", r.StatusCode, r.text)
	}
	f.wantProblem(f.do(http.MethodPost, path+"/cancel", "", bearer(bob)), 404, "not-found")
}

func TestOnlyTheHashOfAKeyIsStored(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withKeys)
	key := f.key("shop", api.RoleCustomer)
	var row []byte
	if err := f.admin.QueryRow(t.Context(), "select to_jsonb(k)::text::bytea from checkout.api_keys k").Scan(&row); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(row, []byte(key)) {
		t.Error("the key itself is stored")
	}
	if _, err := api.CreateKey(t.Context(), f.admin, "shop", api.RoleCustomer); err == nil || !strings.Contains(err.Error(), "has a key already") {
		t.Errorf("second key of a name: %v", err)
	}
	for _, c := range []struct{ name, role string }{{"", api.RoleCustomer}, {"anonymous", api.RoleCustomer}, {"x", "admin"}, {"a\nb", api.RoleCustomer}} {
		var usage *api.UsageError
		if _, err := api.CreateKey(t.Context(), f.admin, c.name, c.role); !errors.As(err, &usage) {
			t.Errorf("name %q, role %q: %v", c.name, c.role, err)
		}
	}
}

// A client that hangs up, of whom nothing is known yet, leaves the connection to
// the others: pgx closes one whose query is cancelled.
func TestHangingUpBeforeAuthenticationCostsNoConnection(t *testing.T) {
	t.Parallel()
	f := newFixture(t, withKeys, func(c *api.Config) { c.AcquireTimeout = 20 * time.Second })
	tx, err := f.admin.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if _, err := tx.Exec(t.Context(), "lock table checkout.api_keys in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.url+"/v1/orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer unknown")
	done := make(chan struct{})
	go func() {
		defer close(done)
		if r, err := f.client.Do(req); err == nil {
			r.Body.Close()
		}
	}()
	var pid int
	testkit.Eventually(t, 10*time.Second, func() error {
		return f.admin.QueryRow(t.Context(), "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'").Scan(&pid)
	})
	hangUp()
	<-done
	f.sql("select pg_sleep(0.3)") // as long as the server may take to notice
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, 5*time.Second, func() error {
		var state string
		if err := f.admin.QueryRow(t.Context(), "select state from pg_stat_activity where pid = $1", pid).Scan(&state); err != nil {
			return fmt.Errorf("the connection: %w", err)
		}
		if state != "idle" {
			return fmt.Errorf("the connection is %s", state)
		}
		return nil
	})
}

func TestAPageOfAnotherOriginIsNotTheOperator(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	id := f.placed("k")
	for _, header := range []map[string]string{{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}} {
		f.wantProblem(f.do(http.MethodPost, "/v1/orders/"+id+"/cancel", "", header), 403, "forbidden")
	}
	if got := f.commands(); len(got) != 0 {
		t.Errorf("commands: %v", got)
	}
}

func TestConfigIsRefusedInWords(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config api.Config
		want   string
	}{
		"no database":         {api.Config{}, "DatabaseURL"},
		"bad url":             {api.Config{DatabaseURL: "postgres://%zz"}, "DatabaseURL"},
		"none for everybody":  {api.Config{DatabaseURL: "postgres://x/y", Listen: "0.0.0.0:80", Auth: "none"}, "Auth"},
		"none on a name":      {api.Config{DatabaseURL: "postgres://x/y", Listen: "shop.example:80", Auth: "none"}, "Auth"},
		"all addresses":       {api.Config{DatabaseURL: "postgres://x/y", Listen: ":80", Auth: "none"}, "Auth"},
		"unsaid on the world": {api.Config{DatabaseURL: "postgres://x/y", Listen: "[::]:80"}, "Auth"},
		"unknown auth":        {api.Config{DatabaseURL: "postgres://x/y", Auth: "jwt"}, "Auth"},
		"listen":              {api.Config{DatabaseURL: "postgres://x/y", Listen: "8080"}, "Listen"},
		"negative":            {api.Config{DatabaseURL: "postgres://x/y", MaxBody: -1}, "MaxBody"},
	} {
		_, err := api.New(c.config)
		var usage *api.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.want+":") {
			t.Errorf("%s: %v, want a usage error about %s", name, err, c.want)
		}
	}
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", "localhost:0", "127.8.8.8:0"} {
		if _, err := api.New(api.Config{DatabaseURL: "postgres://x/y", Listen: listen}); err != nil {
			t.Errorf("%s: %v", listen, err)
		}
	}
	if _, err := api.New(api.Config{DatabaseURL: "postgres://x/y", Listen: "0.0.0.0:80", Auth: "keys"}); err != nil {
		t.Errorf("keys: %v", err)
	}
}
