package bed

import (
	"context"
	"maps"
	"strings"

	"github.com/gapless/gapless/internal/kafkaserver"
)

// Debezium starts a Connect worker whose producer is tuned as its users do it, with more
// settings of the worker.
func Debezium(ctx context.Context, brokers string, more map[string]string) (*kafkaserver.Connect, error) {
	properties := map[string]string{
		"connector.client.config.override.policy": "All",
		"producer.linger.ms":                      "5", "producer.batch.size": "262144", "producer.compression.type": "lz4",
	}
	maps.Copy(properties, more)
	return kafkaserver.StartConnect(ctx, kafkaserver.ConnectConfig{Brokers: strings.Split(brokers, ","), Properties: properties})
}

// Connector is Debezium's outbox connector for a table, with queue, batches and polling
// tuned as its users do it, and with more options.
func Connector(database string, more map[string]string) (map[string]string, error) {
	options, err := kafkaserver.DatabaseOptions(database)
	if err != nil {
		return nil, err
	}
	maps.Copy(options, map[string]string{
		"connector.class": "io.debezium.connector.postgresql.PostgresConnector", "tasks.max": "1",
		"topic.prefix": "dbz", "plugin.name": "pgoutput", "publication.autocreate.mode": "disabled",
		"tombstones.on.delete": "false", "snapshot.mode": "no_data", "skipped.operations": "u,d,t",
		"poll.interval.ms": "10", "max.batch.size": "8192", "max.queue.size": "32768",
		"transforms": "outbox", "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
		"producer.override.linger.ms": "5",
	})
	maps.Copy(options, more)
	return options, nil
}
