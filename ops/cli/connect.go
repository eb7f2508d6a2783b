package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/deadpeer"
	"github.com/gapless/gapless/sql"
)

// connectTimeout bounds how long a command looks for its servers: a host that
// does not answer is told of while the person still looks.
const connectTimeout = 8 * time.Second

// errDatabaseURL says nothing of what the driver says: that may hold the password.
var errDatabaseURL = errors.New("--database-url is no URL (postgres://user:password@host:port/database) or keyword string that Postgres takes; " +
	"special characters in a password are percent-encoded")

// database is the flag of every command that speaks to Postgres.
type database struct {
	DatabaseURL string `help:"Postgres, as a URL or keyword string." placeholder:"URL"`
}

func (d database) url() (string, error) {
	if d.DatabaseURL == "" {
		return "", usage("--database-url is not set (nor GAPLESS_DATABASE_URL or DATABASE_URL)")
	}
	if _, err := pgxpool.ParseConfig(d.DatabaseURL); err != nil {
		return "", usage("%w", errDatabaseURL)
	}
	return d.DatabaseURL, nil
}

// pool connects, so that a wrong URL is found before any work is done. It has
// room for at least conns connections, unless the URL says how many.
func (d database) pool(ctx context.Context, conns int) (*pgxpool.Pool, error) {
	url, err := d.url()
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, usage("%w", errDatabaseURL)
	}
	if !strings.Contains(url, "pool_max_conns") {
		config.MaxConns = max(config.MaxConns, int32(conns))
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectTimeout
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "gapless"
	}
	config.ConnConfig.DialFunc = deadpeer.Dial
	// Not a startup parameter: poolers refuse those that they do not know.
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql.SessionBegin)
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connect to Postgres: %w", err)
	}
	return pool, nil
}

// servicePool is pool for a service. Its statements need the types that a server
// tells of them, so the modes of pgx that ask for none are refused.
func (d database) servicePool(ctx context.Context, conns int) (*pgxpool.Pool, error) {
	if c, err := pgxpool.ParseConfig(d.DatabaseURL); err == nil {
		switch mode := c.ConnConfig.DefaultQueryExecMode; mode {
		case pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol:
			return nil, usage("--database-url: default_query_exec_mode=%s does not work here; behind a pooler let it keep prepared statements, "+
				"or use its session mode", strings.ReplaceAll(mode.String(), " ", "_"))
		}
	}
	return d.pool(ctx, conns)
}

// errNoSchema is a service's reason not to start.
var errNoSchema = errors.New("this database has no schema of Gapless: run 'gapless migrate up'")

// installation is what of Gapless a database holds, and what the login may do.
type installation struct {
	Pipeline   bool `db:"pipeline"`
	Inbox      bool `db:"inbox"`
	MayServe   bool `db:"may_serve"`
	MayConsume bool `db:"may_consume"`
}

func installed(ctx context.Context, pool *pgxpool.Pool) (installation, error) {
	rows, err := pool.Query(ctx, sql.PipelineInstalled)
	if err != nil {
		return installation{}, fmt.Errorf("look for the schema: %w", err)
	}
	found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[installation])
	if err != nil {
		return installation{}, fmt.Errorf("look for the schema: %w", err)
	}
	return found, nil
}

func errRole(group string) error {
	return fmt.Errorf("this login may not do that work: GRANT %s TO it, or use one that has it", group)
}

// kafka is the flag of every command that speaks to a broker.
type kafka struct {
	Brokers []string `help:"Kafka bootstrap servers, host:port, comma separated." placeholder:"HOST:PORT"`
}

func (k kafka) seeds() ([]string, error) {
	if len(k.Brokers) == 0 {
		return nil, usage("--brokers is not set (nor GAPLESS_BROKERS or KAFKA_BROKERS)")
	}
	for _, b := range k.Brokers {
		if strings.Contains(b, "://") {
			return nil, usage("--brokers: %q has a scheme: give host:port", b)
		}
		host, port, err := net.SplitHostPort(b)
		if err != nil && !strings.Contains(b, ":") {
			host, port, err = b, "9092", nil // the client's default
		}
		if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || host == "" {
			return nil, usage("--brokers: %q is not host:port", b)
		}
	}
	return k.Brokers, nil
}

// reach returns the seeds once a broker has answered: the client of Kafka by
// itself would go on asking without a word.
func (k kafka) reach(ctx context.Context) ([]string, error) {
	seeds, err := k.seeds()
	if err != nil {
		return nil, err
	}
	return seeds, ping(ctx, seeds)
}

// brokerError says that no broker can be used from here.
type brokerError struct {
	seeds  []string
	err    error
	remedy string
}

func (e *brokerError) Error() string {
	return fmt.Sprintf("reach Kafka at %s: %v", strings.Join(e.seeds, ","), e.err)
}
func (e *brokerError) Unwrap() error { return e.err }

// ping asks a seed, and then the brokers under the addresses that they give for
// themselves, which is where every later request goes.
func ping(ctx context.Context, seeds []string) error {
	limited, cancel := context.WithTimeoutCause(ctx, connectTimeout, errors.New("no answer within "+connectTimeout.String()))
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ClientID("gapless"), kgo.RequestRetries(0),
		// The first exchange on a connection keeps to these, not to the context.
		kgo.DialTimeout(connectTimeout/2), kgo.RequestTimeoutOverhead(connectTimeout/2))
	if err != nil {
		return usage("--brokers: %w", err)
	}
	defer client.Close()
	fail := func(err error, remedy string) error {
		if cause := context.Cause(limited); cause != nil && ctx.Err() == nil {
			err = cause
		}
		return &brokerError{seeds, err, remedy}
	}
	if err := client.Ping(limited); err != nil {
		return fail(err, "start Kafka, or correct --brokers")
	}
	admin := kadm.NewClient(client)
	list, err := admin.ListBrokers(limited)
	if err != nil {
		return fail(err, "see the broker's log")
	}
	answers, err := admin.ApiVersions(limited)
	if err != nil {
		return fail(err, "see the broker's log")
	}
	var last error
	for _, a := range answers {
		if a.Err == nil {
			return nil
		}
		last = a.Err
	}
	var own []string
	for _, b := range list {
		own = append(own, fmt.Sprintf("%s:%d", b.Host, b.Port))
	}
	return fail(fmt.Errorf("it answers, but names itself %s, where it does not: %w", strings.Join(own, ","), last),
		"correct advertised.listeners of the broker")
}

// registry is the flag of every command that speaks to a schema registry.
type registry struct {
	RegistryURL string `help:"Schema registry with Confluent's API." placeholder:"URL"`
}
