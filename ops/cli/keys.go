package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/gapless/gapless/api"
	"github.com/gapless/gapless/sql"
)

type keysCommands struct {
	Create keysCreate `cmd:"" help:"Make an API key and print it; only its hash is stored."`
}

type keysCreate struct {
	database
	Role       string `help:"customer, or operator who sees every order and decides reviews." enum:"customer,operator" default:"customer"`
	KeyFromEnv string `help:"Take the key from this environment variable instead of making one; a key that exists already is left as it is. For development." placeholder:"NAME"`
	Name       string `arg:"" help:"Name of the key, unique: the principal."`
}

func (c *keysCreate) Run(ctx context.Context, e *env) error {
	pool, err := c.pool(ctx, 1)
	if err != nil {
		return err
	}
	defer pool.Close()
	if c.KeyFromEnv != "" {
		key := e.getenv(c.KeyFromEnv)
		if key == "" {
			return usage("--key-from-env: %s is empty", c.KeyFromEnv)
		}
		return c.store(ctx, pool, key)
	}
	key, err := api.CreateKey(ctx, pool, c.Name, c.Role)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(e.stdout, key)
	return err
}

// store keeps a given key unless it is there already, so that a deployment can
// run the command each time.
func (c *keysCreate) store(ctx context.Context, pool *pgxpool.Pool, key string) error {
	hash := sha256.Sum256([]byte(key))
	var name, role string
	err := pool.QueryRow(ctx, sql.CheckoutAPIKeyFind, hash[:]).Scan(&name, &role)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return api.StoreKey(ctx, pool, c.Name, c.Role, key)
	case err != nil:
		return fmt.Errorf("find key: %w", err)
	case name != c.Name || role != c.Role:
		return fmt.Errorf("the key belongs to %q with the role %s: revoke it, or take another key", name, role)
	}
	return nil
}
