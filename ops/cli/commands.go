package cli

import "github.com/alecthomas/kong"

// Globals are the flags of every command.
type Globals struct {
	Config    string `help:"Configuration file." type:"path" placeholder:"FILE.yaml"`
	OneRelay  string `help:"One of several relays in --config, by its name." name:"relay" placeholder:"NAME"`
	LogLevel  string `help:"debug, info, warn or error." default:"info"`
	LogFormat string `help:"auto is text on a terminal, else json." enum:"auto,text,json" default:"auto"`

	PrintVersion kong.VersionFlag `name:"version" help:"Print the version." local:""`
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

	Load loadCommand `cmd:"" help:"Place many orders over the API, as customers would, and follow each to its end."`

	Outbox outboxCommands `cmd:"" help:"Look into the outbox."`
	Inbox  inboxCommands  `cmd:"" help:"Look into the inbox."`
	Saga   sagaCommands   `cmd:"" help:"Look at sagas."`
	Dead   deadCommands   `cmd:"" help:"Look at dead letters."`

	Trace   traceCommand    `cmd:"" help:"One order, event, saga or trace id through every store."`
	Explain explainCommand  `cmd:"" help:"What a row would become in Kafka, or for what it would be parked."`
	Compare compareCommands `cmd:"" help:"Set things against each other."`
	Verify  verifyCommand   `cmd:"" help:"Check the invariants; exit 1 if one is broken or could not be judged."`
	Doctor  doctorCommand   `cmd:"" help:"Check the installation; exit 1 if something is broken."`
	Version versionCommand  `cmd:"" help:"Print the version."`
}
