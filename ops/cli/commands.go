package cli

// Globals are the flags of every command.
type Globals struct {
	Config    string `help:"Configuration file." type:"path" placeholder:"FILE.yaml"`
	LogLevel  string `help:"debug, info, warn or error." default:"info"`
	LogFormat string `help:"auto is text on a terminal, else json." enum:"auto,text,json" default:"auto"`
}

// commands is the whole command line.
type commands struct {
	Globals

	Demo demoCommand `cmd:"" help:"The whole pipeline in one process: Postgres, broker, registry, API, relay, consumers."`

	Migrate migrateCommands `cmd:"" help:"Schema, publication, group roles, slot."`
	Topics  topicsCommands  `cmd:"" help:"Kafka topics."`
	Schema  schemaCommands  `cmd:"" help:"Event schemas and the registry."`
	Catalog catalogCommands `cmd:"" help:"Products and their stock."`
	Keys    keysCommands    `cmd:"" help:"API keys."`

	API     apiCommand     `cmd:"" name:"api" help:"Run the REST checkout."`
	Relay   relayCommands  `cmd:"" help:"Run or inspect the relay."`
	Consume consumeCommand `cmd:"" help:"Run or inspect the consumers."`

	Verify  verifyCommand  `cmd:"" help:"Check the invariants; exit 1 if one is broken."`
	Version versionCommand `cmd:"" help:"Print the version."`
}

// database is the flag of every command that speaks to Postgres.
type database struct {
	DatabaseURL string `help:"Postgres, as a URL or keyword string." placeholder:"URL"`
}

func (d database) url() (string, error) {
	if d.DatabaseURL == "" {
		return "", usage("--database-url is not set (nor GAPLESS_DATABASE_URL or DATABASE_URL)")
	}
	return d.DatabaseURL, nil
}

// kafka is the flag of every command that speaks to a broker.
type kafka struct {
	Brokers []string `help:"Kafka bootstrap servers, host:port, comma separated." placeholder:"HOST:PORT"`
}

func (k kafka) seeds() ([]string, error) {
	if len(k.Brokers) == 0 {
		return nil, usage("--brokers is not set (nor GAPLESS_BROKERS or KAFKA_BROKERS)")
	}
	return k.Brokers, nil
}

// registry is the flag of every command that speaks to a schema registry.
type registry struct {
	RegistryURL string `help:"Schema registry with Confluent's API." placeholder:"URL"`
}
