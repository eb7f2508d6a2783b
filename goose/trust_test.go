package goose_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/goose"
	"github.com/gapless/gapless/internal/pgtest"
)

// Whoever made schema gapless before, or may make something in it, would have his functions
// run by the role that migrates.
func TestUpInASchemaOfSomebodyElse(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		as      []string // by a role that may create schemas
		admin   []string
		trusted bool
	}{
		"made by another":      {as: []string{"create schema gapless"}},
		"open to all":          {admin: []string{"create schema gapless", "grant create on schema gapless to public"}},
		"open to one":          {admin: []string{"create schema gapless", "grant create on schema gapless to ROLE"}},
		"with what one left":   {admin: []string{"create schema gapless", "create function gapless.f() returns int language sql as 'select 1'", "alter function gapless.f() owner to ROLE"}},
		"made by an admin":     {admin: []string{"create schema gapless"}, trusted: true},
		"and open for looking": {admin: []string{"create schema gapless", "grant usage on schema gapless to public"}, trusted: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.NewEmptyDB(t)
			admin := db.Pool(t)
			role := stranger(t, admin)
			for _, s := range c.as {
				conn, err := admin.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range []string{"set session authorization " + role, s, "reset session authorization"} {
					if _, err := conn.Exec(t.Context(), s); err != nil {
						t.Fatalf("%s: %v", s, err)
					}
				}
				conn.Release()
			}
			for _, s := range c.admin {
				exec(t, admin, string(bytes.ReplaceAll([]byte(s), []byte("ROLE"), []byte(role))))
			}
			cfg := goose.Config{DatabaseURL: db.URL, NoSlot: true}
			var printed bytes.Buffer
			if err := goose.Print(&printed, cfg); err != nil {
				t.Fatal(err)
			}
			conn, err := admin.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, err = conn.Conn().PgConn().Exec(t.Context(), "begin;"+printed.String()[:bytes.Index(printed.Bytes(), []byte("$trust$;"))]+"$trust$; rollback").ReadAll()
			if (err == nil) != c.trusted {
				t.Errorf("as printed: %v", err)
			}
			conn.Hijack().Close(t.Context())
			if _, err := goose.Up(t.Context(), cfg); errors.Is(err, goose.ErrUntrusted) == c.trusted || c.trusted && err != nil {
				t.Errorf("error %v, want trusted %v", err, c.trusted)
			}
		})
	}
}

// stranger is a role that may create schemas here, and nothing else.
func stranger(t *testing.T, admin *pgxpool.Pool) string {
	t.Helper()
	const role = "test_stranger"
	exec(t, admin, "do $$ begin create role "+role+"; exception when duplicate_object or unique_violation then null; end $$")
	exec(t, admin, "do $$ begin execute format('grant create on database %I to "+role+"', current_database()); end $$")
	return role
}
