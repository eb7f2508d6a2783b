package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// check is one thing to look at. judge returns an error where it could not: its
// text is the reason.
type check struct {
	id    string
	title string
	area  string
	quick bool
	judge func(*exam, context.Context) (verdict, error)
}

// Areas group what is judged, and what fails together.
const (
	areaPostgres  = "Postgres"
	areaSchema    = "schema"
	areaRelay     = "relay"
	areaKafka     = "Kafka"
	areaTopics    = "topics"
	areaRegistry  = "registry"
	areaConsumers = "consumers"
)

// checks are all there are, in the order of the report.
var checks = []check{
	{"postgres", "Postgres answers", areaPostgres, true, (*exam).reached},
	{"postgres-version", "Postgres is of a version without known losses", areaPostgres, false, (*exam).version},
	{"primary", "the server is a primary", areaPostgres, true, (*exam).primary},
	{"pooler", "nothing pools connections in between", areaPostgres, false, (*exam).pooler},
	{"postgres-tls", "a connection to another machine is encrypted and verified", areaPostgres, false, (*exam).postgresTLS},
	{"postgres-clock", "the server's clock agrees with this program's", areaPostgres, false, (*exam).postgresClock},
	{"durability", "a commit survives a crash", areaPostgres, false, (*exam).durability},
	{"wal-level", "wal_level is logical", areaPostgres, false, (*exam).walLevel},
	{"replication-slots", "there is room for the slot", areaPostgres, false, (*exam).slotsLeft},
	{"wal-senders", "there is room for the relay's stream", areaPostgres, false, (*exam).sendersLeft},
	{"connections", "there are connections left", areaPostgres, false, (*exam).connectionsLeft},
	{"wal-sender-timeout", "a vanished relay is noticed, a slow one is not cut off", areaPostgres, false, (*exam).senderTimeout},
	{"wal-limit", "a relay that is down cannot fill the disk", areaPostgres, false, (*exam).walLimit},
	{"other-slots", "no other slot keeps WAL that nobody reads", areaPostgres, false, (*exam).otherSlots},
	{"open-transactions", "no transaction has been open for long", areaPostgres, false, (*exam).openTransactions},
	{"prepared-transactions", "no prepared transaction is left open", areaPostgres, false, (*exam).preparedTransactions},

	{"migrated", "every migration is applied", areaSchema, true, (*exam).migrated},
	{"statements", "the program's statements fit the schema", areaSchema, false, (*exam).statements},
	{"outbox-partitions", "the outbox has partitions for the days to come", areaSchema, false, (*exam).outboxPartitions},
	{"inbox-partitions", "the inbox has partitions for the days to come", areaSchema, false, (*exam).inboxPartitions},

	{"replication-attribute", "the relay's login has REPLICATION", areaRelay, false, (*exam).replicationAttribute},
	{"replication-connection", "this login can open a replication connection", areaRelay, false, (*exam).replicationConnection},
	{"relay-rights", "the relay's login has the rights of gapless_relay", areaRelay, false, (*exam).relayRights},
	{"message-writers", "not everybody may emit the messages that the relay sends", areaRelay, false, (*exam).messageWriters},
	{"publication", "the publication exists and publishes inserts", areaRelay, true, (*exam).publication},
	{"publication-tables", "the publication holds every table of events", areaRelay, false, (*exam).publicationTables},
	{"publication-root", "partitioned tables are published under their own name", areaRelay, false, (*exam).publicationRoot},
	{"publication-filter", "no row and no column is left out", areaRelay, false, (*exam).publicationFilter},
	{"slot", "the slot exists and is the relay's", areaRelay, true, (*exam).slot},
	{"slot-wal", "the slot has all the WAL that it needs", areaRelay, true, (*exam).slotWAL},
	{"retained-wal", "the WAL kept for the slot is far from the limit", areaRelay, false, (*exam).retainedWAL},
	{"relay-progress", "the relay's record agrees with server and slot", areaRelay, false, (*exam).progress},
	{"relay-streaming", "a relay streams from the slot", areaRelay, false, (*exam).streaming},
	{"relay-paused", "nobody has paused the relay", areaRelay, false, (*exam).paused},
	{"relay-lag", "events leave soon after their commit", areaRelay, false, (*exam).lag},
	{"parked-rows", "no row is parked", areaRelay, false, (*exam).parked},

	{"brokers", "every broker answers at the address that it names", areaKafka, true, (*exam).brokersReached},
	{"broker-version", "the brokers are of one version, and new enough", areaKafka, false, (*exam).brokerVersion},
	{"broker-features", "an upgrade of the cluster was finished", areaKafka, false, (*exam).brokerFeatures},
	{"kafka-tls", "connections to other machines are encrypted", areaKafka, false, (*exam).kafkaTLS},
	{"kafka-clock", "the brokers' clock agrees with this program's", areaKafka, false, (*exam).kafkaClock},

	{"topics", "every topic that the relay writes to exists", areaTopics, false, (*exam).topicsExist},
	{"topic-partitions", "every partition has a leader, and there are enough", areaTopics, false, (*exam).topicPartitions},
	{"topic-write", "the relay may write to each topic", areaTopics, false, (*exam).topicWrite},
	{"topic-max-bytes", "topics take the largest record", areaTopics, false, (*exam).topicMaxBytes},
	{"topic-min-insync", "an acknowledged record survives a broker", areaTopics, false, (*exam).topicMinInsync},
	{"topic-elections", "no replica that is behind becomes leader", areaTopics, false, (*exam).topicElections},
	{"topic-cleanup", "no event is compacted away", areaTopics, false, (*exam).topicCleanup},
	{"topic-retention", "records stay until consumers have been down and come back", areaTopics, false, (*exam).topicRetention},
	{"topic-timestamps", "records keep the time of their rows, however late they are", areaTopics, false, (*exam).topicTimestamps},
	{"state-topic", "a relay's state that is in Kafka is safe there", areaTopics, false, (*exam).stateTopic},

	{"registry", "the schema registry answers", areaRegistry, false, (*exam).registry},
	{"schema-ids", "the stored schema ids are complete, and the registry's", areaRegistry, false, (*exam).schemaIDs},

	{"consumer-lag", "the consumers keep up", areaConsumers, false, (*exam).consumerLag},
	{"blocked-keys", "no key waits behind a dead letter", areaConsumers, false, (*exam).blockedKeys},
	{"dead-letters", "no dead letter is open", areaConsumers, false, (*exam).deadLetters},
}

// IDs returns the ids of all checks, in the order of the report.
func IDs() []string {
	ids := make([]string, len(checks))
	for i, k := range checks {
		ids[i] = k.id
	}
	return ids
}

// Run judges what c asks for. It returns an error only for a c that is wrong, or
// when ctx ends before the last check.
func Run(ctx context.Context, c Config) (Report, error) {
	c, err := c.withDefaults()
	if err != nil {
		return Report{}, err
	}
	began := time.Now()
	e := &exam{cfg: c}
	defer e.close()
	r := Report{StartedAt: began, Checks: []Finding{}}
	for _, k := range checks {
		if !c.wants(k) {
			continue
		}
		r.add(k.find(ctx, e))
		if err := ctx.Err(); err != nil {
			return r, fmt.Errorf("doctor: %w", err)
		}
	}
	r.Took = time.Since(began)
	return r, nil
}

// find runs one check within its time.
func (k check) find(ctx context.Context, e *exam) Finding {
	limited, cancel := context.WithTimeout(ctx, e.cfg.Timeout)
	defer cancel()
	v, err := k.judge(e, limited)
	if err != nil {
		found, fix := e.explain(k.area, err)
		v = verdict{NotJudged, found, fix}
	}
	return Finding{ID: k.id, Title: k.title, Area: k.area, Outcome: v.outcome, Found: oneLine(v.found), Fix: oneLine(v.fix)}
}

// oneLine folds the line breaks that drivers put into their errors.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
