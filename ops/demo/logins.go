package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// logins are database URLs, one a service.
type logins struct {
	app, relay, consumer, readonly string
}

// createLogins makes a login for each group role, or gives the one of an
// earlier demo a new password.
func createLogins(ctx context.Context, db *pgxpool.Pool, databaseURL string) (l logins, err error) {
	for _, r := range []struct {
		name, group, attributes string
		into                    *string
	}{
		{"gapless_demo_api", "gapless_app", "", &l.app},
		{"gapless_demo_relay", "gapless_relay", "REPLICATION", &l.relay},
		{"gapless_demo_consumer", "gapless_consumer", "", &l.consumer},
		{"gapless_demo_readonly", "gapless_readonly", "", &l.readonly},
	} {
		password := rand.Text()
		if *r.into, err = withUser(databaseURL, r.name, password); err != nil {
			return l, err
		}
		var exists bool
		if err := db.QueryRow(ctx, "select exists (select from pg_roles where rolname = $1)", r.name).Scan(&exists); err != nil {
			return l, fmt.Errorf("look for login %s: %w", r.name, err)
		}
		verb := "CREATE"
		if exists {
			verb = "ALTER"
		}
		// Utility statements take no parameters; name and password are ours, and
		// of letters and digits alone.
		name := pgx.Identifier{r.name}.Sanitize()
		statement := verb + " ROLE " + name + " LOGIN " + r.attributes + " PASSWORD '" + password + "'"
		if _, err := db.Exec(ctx, statement); err != nil {
			return l, fmt.Errorf("create login %s: %w", r.name, err)
		}
		if _, err := db.Exec(ctx, "GRANT "+pgx.Identifier{r.group}.Sanitize()+" TO "+name); err != nil {
			return l, fmt.Errorf("grant %s to %s: %w", r.group, r.name, err)
		}
	}
	return l, nil
}

func withUser(databaseURL, user, password string) (string, error) {
	u, err := url.Parse(databaseURL)
	if err != nil || u.Host == "" {
		return "", errors.New("database URL: the demo needs the form postgres://user:password@host:port/database")
	}
	u.User = url.UserPassword(user, password)
	return u.String(), nil
}
