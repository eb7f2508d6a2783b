package cli

import (
	"context"
	"text/tabwriter"
	"time"

	"github.com/gapless/gapless/ops/doctor"
	"github.com/gapless/gapless/ops/pipeline"
	"github.com/gapless/gapless/ops/schema"
)

type doctorCommand struct {
	database
	kafka
	registry
	messages
	output
	Slot           string        `help:"Replication slot of the relay." default:"gapless"`
	Publication    string        `help:"Publication of the relay." default:"gapless"`
	StateTopic     string        `help:"Topic of a state that is in Kafka." default:"gapless.relay.state" placeholder:"NAME"`
	Only           []string      `help:"Only these checks, by their ids." placeholder:"ID"`
	Quick          bool          `help:"Only what a container's health check needs."`
	Strict         bool          `help:"Exit 1 for a warning, too."`
	All            bool          `help:"A line for each check, also for what is well."`
	TransactionAge time.Duration `help:"How long a transaction may be open." default:"10m"`
	Timeout        time.Duration `help:"Bound of each check, and of the first look at a server." default:"5s"`
}

func (c *doctorCommand) Run(ctx context.Context, e *env) error {
	config := doctor.Config{
		Slot: c.Slot, Publication: c.Publication, StateTopic: c.StateTopic, Consumers: pipeline.Subscriptions(), MaxRecordBytes: recordBytes,
		TransactionAge: c.TransactionAge, Timeout: c.Timeout, Only: c.Only, Quick: c.Quick,
		Remedy: remedy,
	}
	var err error
	if config.DatabaseURL, err = c.url(); err != nil {
		return err
	}
	relay, err := e.relay()
	if err != nil {
		return err
	}
	if config.Tables, err = relay.tables(); err != nil {
		return err
	}
	prefixes, err := c.messages.with(relay)
	if err != nil {
		return err
	}
	config.Messages = len(prefixes) > 0
	if len(c.Brokers) > 0 {
		cluster, err := c.cluster()
		if err != nil {
			return err
		}
		config.Brokers, config.KafkaOptions, config.BrokerRemedy = cluster.seeds, cluster.options, cluster.remedy
	}
	if c.RegistryURL != "" {
		config.Registry = &schema.Config{RegistryURL: c.RegistryURL}
		if err := c.secure(config.Registry); err != nil {
			return err
		}
	}
	if err := config.Validate(); err != nil {
		return usageError{err}
	}
	report, err := doctor.Run(ctx, config)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		err = c.write(e, report, func(*tabwriter.Writer) {})
	} else {
		err = report.WriteText(e.stdout, c.All)
	}
	if err == nil && (report.Faults > 0 || c.Strict && report.Warnings > 0) {
		return errBroken
	}
	return err
}
