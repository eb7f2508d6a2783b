package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/internal/deadpeer"
	"github.com/gapless/gapless/internal/pgconnect"
	"github.com/gapless/gapless/ops/schema"
	"github.com/gapless/gapless/ops/secure"
	"github.com/gapless/gapless/sql"
)

// connectTimeout bounds how long a command looks for its servers: a host that
// does not answer is told of while the person still looks.
const connectTimeout = 8 * time.Second

// database are the flags of every command that speaks to Postgres.
type database struct {
	DatabaseURL          secret `help:"Postgres, as a URL or keyword string." placeholder:"URL"`
	DatabasePasswordFile string `help:"File with the password of that login, in place of one in the URL; read again for each connection." placeholder:"FILE"`
}

// url is the URL with its password, as the files have it now.
func (d database) url() (string, error) {
	text, err := d.DatabaseURL.now()
	if err != nil {
		return "", usage("--database-url: %w", err)
	}
	if text == "" {
		return "", usage("--database-url is not set (nor GAPLESS_DATABASE_URL or DATABASE_URL)")
	}
	if _, err := pgconnect.Parse(text); err != nil {
		return "", usage("--database-url: %w", err)
	}
	text = verified(text)
	if d.DatabasePasswordFile == "" {
		return text, nil
	}
	password, err := secure.Secret(d.DatabasePasswordFile)
	if err != nil {
		return "", usage("--database-password-file: %w", err)
	}
	return pgconnect.With(text, "password", password), nil
}

// poolConfig is of a pool whose connections are made with what the files have then.
func (d database) poolConfig() (*pgxpool.Config, error) {
	url, err := d.url()
	if err != nil {
		return nil, err
	}
	config, err := pgconnect.Parse(url)
	if err != nil {
		return nil, usage("--database-url: %w", err)
	}
	config.BeforeConnect = pgconnect.Fresh(d.url)
	return config, nil
}

// pool connects, so that a wrong URL is found before any work is done. It has
// room for at least conns connections, unless the URL says how many.
func (d database) pool(ctx context.Context, conns int) (*pgxpool.Pool, error) {
	config, err := d.poolConfig()
	if err != nil {
		return nil, err
	}
	if !strings.Contains(config.ConnString(), "pool_max_conns") {
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
		if _, err := conn.Exec(ctx, sql.SessionBegin); err != nil {
			return err
		}
		return pgconnect.Close(ctx, conn)
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
	if c, err := d.poolConfig(); err == nil {
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

// kafka are the flags of every command that speaks to a broker.
type kafka struct {
	Brokers           []string `help:"Kafka bootstrap servers, host:port, comma separated." placeholder:"HOST:PORT"`
	KafkaTLS          bool     `name:"kafka-tls" help:"Speak TLS with Kafka. Its certificate is verified."`
	KafkaCA           string   `name:"kafka-ca" help:"Authorities to trust in place of the system's, in PEM; turns TLS on." placeholder:"FILE"`
	KafkaCert         string   `name:"kafka-cert" help:"Certificate to show, in PEM; turns TLS on." placeholder:"FILE"`
	KafkaKey          string   `name:"kafka-key" help:"Key of --kafka-cert, in PEM." placeholder:"FILE"`
	KafkaServerName   string   `name:"kafka-server-name" help:"Name in the broker's certificate, when it is not the host's." placeholder:"NAME"`
	KafkaTLSInsecure  bool     `name:"kafka-tls-insecure" help:"Verify no certificate: whoever is in between reads and writes all of it."`
	KafkaSASL         string   `name:"kafka-sasl" help:"PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or AWS_MSK_IAM; all but SCRAM need TLS." placeholder:"MECHANISM"`
	KafkaUser         string   `name:"kafka-user" help:"User of PLAIN and SCRAM." placeholder:"NAME"`
	KafkaPassword     string   `name:"kafka-password" help:"Its password. A command line is seen by others: prefer the file or the variable." placeholder:"TEXT"`
	KafkaPasswordFile string   `name:"kafka-password-file" help:"File with the password, read again for each connection." placeholder:"FILE"`
	KafkaTokenFile    string   `name:"kafka-token-file" help:"File with the token of OAUTHBEARER, read again for each connection." placeholder:"FILE"`
}

// cluster is what a client of Kafka is made of.
type cluster struct {
	seeds     []string
	options   []kgo.Opt // of TLS and SASL
	tls, sasl bool
}

func (k kafka) cluster() (cluster, error) {
	if len(k.Brokers) == 0 {
		return cluster{}, usage("--brokers is not set (nor GAPLESS_BROKERS or KAFKA_BROKERS)")
	}
	for _, b := range k.Brokers {
		if strings.Contains(b, "://") {
			return cluster{}, usage("--brokers: %q has a scheme: give host:port", b)
		}
		host, port, err := net.SplitHostPort(b)
		if err != nil && !strings.Contains(b, ":") {
			host, port, err = b, "9092", nil // the client's default
		}
		if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || host == "" {
			return cluster{}, usage("--brokers: %q is not host:port", b)
		}
	}
	security := secure.Kafka{
		Mechanism: k.KafkaSASL, User: k.KafkaUser, Password: k.KafkaPassword, PasswordFile: k.KafkaPasswordFile, TokenFile: k.KafkaTokenFile,
	}
	if k.KafkaTLS || k.KafkaCA != "" || k.KafkaCert != "" || k.KafkaKey != "" || k.KafkaServerName != "" || k.KafkaTLSInsecure {
		security.TLS = &secure.TLS{
			CA: k.KafkaCA, Cert: k.KafkaCert, Key: k.KafkaKey, ServerName: k.KafkaServerName, Insecure: k.KafkaTLSInsecure,
		}
	}
	options, err := security.Options()
	if err != nil {
		return cluster{}, usage("--kafka-…: %w", err)
	}
	return cluster{k.Brokers, options, security.TLS != nil, k.KafkaSASL != ""}, nil
}

// reach returns the cluster once a broker has answered: the client of Kafka by
// itself would go on asking without a word.
func (k kafka) reach(ctx context.Context) (cluster, error) {
	c, err := k.cluster()
	if err != nil {
		return cluster{}, err
	}
	return c, ping(ctx, c)
}

// brokerError says that no broker can be used from here.
type brokerError struct {
	seeds  []string
	err    error
	remedy string
	stays  bool // until a person changes something: waiting does not help
}

func (e *brokerError) Error() string {
	return fmt.Sprintf("cannot reach Kafka at %s: %v", strings.Join(e.seeds, ","), e.err)
}
func (e *brokerError) Unwrap() error { return e.err }

// ping asks a seed, and then the brokers under the addresses that they give for
// themselves, which is where every later request goes.
func ping(ctx context.Context, c cluster) error {
	limited, cancel := context.WithTimeoutCause(ctx, connectTimeout, errors.New("no answer within "+connectTimeout.String()))
	defer cancel()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(c.seeds...), kgo.ClientID("gapless"), kgo.RequestRetries(0),
		// The first exchange on a connection keeps to this, not to the context.
		kgo.RequestTimeoutOverhead(connectTimeout / 2),
	}, c.dialing()...)...)
	if err != nil {
		return usage("--brokers: %w", err)
	}
	defer client.Close()
	fail := func(err error, remedy string, stays bool) error {
		if cause := context.Cause(limited); cause != nil && ctx.Err() == nil {
			err = cause
		}
		return &brokerError{c.seeds, err, remedy, stays}
	}
	if err := client.Ping(limited); err != nil {
		remedy, stays := c.remedy(err), refusalRemedy(err) != ""
		if system, ok := errors.AsType[*os.SyscallError](err); ok && len(c.seeds) == 1 {
			err = system.Err // the rest is the address again
		}
		return fail(err, remedy, stays)
	}
	admin := kadm.NewClient(client)
	list, err := admin.ListBrokers(limited)
	if err != nil {
		return fail(err, "see the broker's log", false)
	}
	answers, err := admin.ApiVersions(limited)
	if err != nil {
		return fail(err, "see the broker's log", false)
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
		"correct advertised.listeners of the broker", false)
}

// dialing are the options with a bound on the dial, which a dialer of our own has in
// itself.
func (c cluster) dialing() []kgo.Opt {
	if len(c.options) > 0 {
		return c.options
	}
	return []kgo.Opt{kgo.DialTimeout(connectTimeout / 2)}
}

// refusalRemedy tells what to do when a broker and this client do not trust each other;
// "" when it is something else.
func refusalRemedy(err error) string {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var header tls.RecordHeaderError
	var peer *net.OpError
	switch {
	case errors.As(err, &authority):
		return "name the authority that signed the broker's certificate with --kafka-ca"
	case errors.As(err, &name):
		return "correct --brokers, or name what the certificate says with --kafka-server-name"
	case errors.As(err, &header):
		return "this listener speaks no TLS: name another in --brokers, or leave --kafka-tls out"
	case strings.Contains(err.Error(), "tls alert record"): // the client's word for an answer in TLS
		return "this listener wants TLS: --kafka-tls"
	case errors.As(err, &peer) && peer.Op == "remote error": // an alert of TLS, see crypto/tls
		return "this listener takes only clients with a certificate that it trusts: give one with --kafka-cert and --kafka-key"
	case errors.Is(err, kerr.SaslAuthenticationFailed), errors.Is(err, secure.ErrToken):
		return "correct --kafka-user and the password or token"
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return "choose with --kafka-sasl a mechanism that this listener takes"
	case errors.Is(err, kerr.IllegalSaslState):
		return "this listener takes no SASL: name another in --brokers, or leave --kafka-sasl out"
	}
	return ""
}

// remedy reads why the first exchange with a broker went wrong.
func (c cluster) remedy(err error) string {
	var invalid x509.CertificateInvalidError
	switch remedy := refusalRemedy(err); {
	case remedy != "":
		return remedy
	case errors.As(err, &invalid):
		return "give the broker a certificate that is valid today"
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		remedy = "the listener may want TLS (--kafka-tls)"
		if c.tls {
			remedy = "the listener may speak no TLS"
		}
		if c.sasl {
			return remedy + ", or no SASL"
		}
		return remedy + ", or want SASL (--kafka-sasl)"
	}
	return "start Kafka, or correct --brokers"
}

// registry are the flags of every command that speaks to a schema registry.
type registry struct {
	RegistryURL       string `help:"Schema registry with Confluent's API. With https its certificate is verified." placeholder:"URL"`
	RegistryCA        string `name:"registry-ca" help:"Authorities to trust in place of the system's, in PEM." placeholder:"FILE"`
	RegistryCert      string `name:"registry-cert" help:"Certificate to show, in PEM." placeholder:"FILE"`
	RegistryKey       string `name:"registry-key" help:"Key of --registry-cert, in PEM." placeholder:"FILE"`
	RegistryUser      string `name:"registry-user" help:"User of basic authentication." placeholder:"NAME"`
	RegistryPassword  string `name:"registry-password" help:"Its password. A command line is seen by others: prefer the variable, or its _FILE." placeholder:"TEXT"`
	RegistryTokenFile string `name:"registry-token-file" help:"File with a bearer token." placeholder:"FILE"`
}

// secure completes a registry's client with what the flags say. What is printed, logged
// and stored is the URL without its password.
func (r registry) secure(c *schema.Config) error {
	exposed := false
	if c.RegistryURL != "" {
		u, err := url.Parse(c.RegistryURL)
		if err != nil || u.Host == "" {
			return usage("--registry-url is no URL") // the parser's error may hold the password
		}
		if u.User != nil {
			c.Username = u.User.Username()
			c.Password, _ = u.User.Password()
			u.User = nil
			c.RegistryURL = u.String()
		}
		exposed = u.Scheme != "https" && secure.Remote(u.Hostname())
	}
	config, err := secure.TLS{CA: r.RegistryCA, Cert: r.RegistryCert, Key: r.RegistryKey}.Config()
	if err != nil {
		return usage("--registry-…: %w", err)
	}
	c.TLS = config
	if r.RegistryUser != "" {
		c.Username, c.Password = r.RegistryUser, r.RegistryPassword
	}
	if exposed && (c.Username != "" || r.RegistryTokenFile != "") {
		return usage("--registry-url: a password or token goes out as it is, so another machine needs https")
	}
	if r.RegistryTokenFile == "" {
		return nil
	}
	if c.Username != "" {
		return usage("--registry-token-file: not beside a user")
	}
	if c.BearerToken, err = secure.Secret(r.RegistryTokenFile); err != nil {
		return usage("--registry-token-file: %w", err)
	}
	return nil
}
