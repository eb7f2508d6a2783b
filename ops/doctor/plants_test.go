//go:build unix

package doctor_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgtest"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/doctor"
	"github.com/gapless/gapless/ops/schema"
	"github.com/gapless/gapless/relay/eventrouter"
	"github.com/gapless/gapless/relay/format"
)

const ordersTopic = "outbox.event.order"

const parkedRow = `insert into gapless.parked (slot, relation, row_key, topic, system_id, timeline, commit_lsn, commit_index, status, reason)
	values ('SLOT', 'gapless.outbox', 'k', 't', '1', 1, '0/1', 0, 'parked', 'too_large'), ('SLOT', 'gapless.outbox', 'k', 't', '1', 1, '0/1', 1, 'waiting', 'too_large')`

const deadLetter = `insert into gapless.dead_letter (dead_letter_id, consumer, event_id, topic, partition, "offset", record_timestamp, key, reason, attempts, first_failed_at, last_failed_at)
	values ('0199c0de-0000-7000-8000-0000000000dd', 'payment', gapless.uuid7(), 't', 0, 7, now(), 'k', 'poison', 1, now(), now())`

var plants = []plant{
	{
		check: "postgres", what: "away", want: doctor.Fault, says: "connect",
		fault: func(w *world) { w.cfg.DatabaseURL = "postgres://u@127.0.0.1:1/x?sslmode=disable" },
	},
	{
		check: "postgres-version", what: "a minor release with known losses", want: doctor.Warning, says: "15.2", fix: "15.14",
		fault: shadowed(`create function plant.current_setting(text) returns text stable return
			case $1 when 'server_version_num' then '150002' when 'server_version' then '15.2' else pg_catalog.current_setting($1) end`),
	},
	{
		check: "postgres-version", what: "too old", want: doctor.Fault, says: "older than 14", fix: "upgrade",
		fault: shadowed(`create function plant.current_setting(text) returns text stable return
			case $1 when 'server_version_num' then '130022' else pg_catalog.current_setting($1) end`),
	},
	{check: "primary", what: "a standby", world: standby, born: true, want: doctor.Fault, says: "standby", fix: "primary"},
	{
		check: "pooler", what: "a pooler", want: doctor.Warning, says: "pooler", fix: "server itself",
		fault: func(w *world) {
			w.cfg.DatabaseURL = w.changed(func(u *url.URL) { u.Host = between(w.T, u.Host, pool) })
		},
	},
	{
		check: "postgres-tls", what: "in the clear", want: doctor.Warning, says: "not encrypted", fix: "verify-full",
		// On this machine, and by a name that does not say so.
		fault: func(w *world) {
			w.cfg.DatabaseURL = w.changed(func(u *url.URL) { u.Host = "0.0.0.0:" + u.Port() })
		},
	},
	{
		check: "postgres-tls", what: "a certificate that nobody verifies", want: doctor.Warning, says: "not verified", fix: "verify-full",
		world: func(t *testing.T) *world {
			w := newWorld(t)
			authority := testkit.NewAuthority(t)
			config := authority.Server(false)
			w.cfg.DatabaseURL = w.changed(func(u *url.URL) {
				_, port, _ := strings.Cut(between(t, u.Host, encrypt(config)), ":")
				u.Host, u.RawQuery = "0.0.0.0:"+port, url.Values{"sslmode": {"verify-ca"}, "sslrootcert": {authority.CA}}.Encode()
			})
			return w
		},
		fault: func(w *world) {
			w.cfg.DatabaseURL = w.changed(func(u *url.URL) { u.RawQuery = "sslmode=require" })
		},
	},
	{
		check: "postgres-clock", what: "minutes ahead", want: doctor.Warning, says: "ahead of", fix: "chrony",
		fault: func(w *world) { w.cfg.Now = func() time.Time { return time.Now().Add(-5 * time.Minute) } },
	},
	{
		check: "postgres-clock", what: "hours behind", want: doctor.Fault, says: "behind", fix: "chrony",
		fault: func(w *world) { w.cfg.Now = func() time.Time { return time.Now().Add(5 * time.Hour) } },
	},
	{check: "durability", what: "no fsync", world: bare(map[string]string{"fsync": "off"}), born: true, want: doctor.Fault, says: "fsync is off", fix: "fsync = on"},
	{check: "durability", what: "torn pages", world: bare(map[string]string{"fsync": "on", "full_page_writes": "off"}), born: true, want: doctor.Warning, says: "full_page_writes", fix: "full_page_writes = on"},
	{
		check: "durability", what: "commits that nobody waits for", want: doctor.Warning, says: "synchronous_commit is off", fix: "synchronous_commit = on",
		fault: func(w *world) { w.option("synchronous_commit=off") },
	},
	{check: "wal-level", what: "replica", world: bare(map[string]string{"wal_level": "replica"}), born: true, want: doctor.Fault, says: "wal_level is replica", fix: "wal_level = logical"},
	{
		check: "replication-slots", what: "all taken", want: doctor.Fault, says: "all 1 replication slots", fix: "max_replication_slots",
		world: own(map[string]string{"max_replication_slots": "1"}),
		fault: func(w *world) { w.cfg.Slot = "another" },
	},
	{
		check: "wal-senders", what: "all taken", want: doctor.Fault, says: "all 1 WAL senders", fix: "max_wal_senders",
		world: own(map[string]string{"max_wal_senders": "1"}), fault: takeSender,
	},
	{
		check: "connections", what: "nearly all taken", want: doctor.Warning, says: "connections are taken", fix: "max_connections",
		world: bare(map[string]string{"max_connections": "30", "max_wal_senders": "2"}),
		fault: func(w *world) {
			for range 23 {
				conn, err := pgx.Connect(w.Context(), w.cfg.DatabaseURL)
				if err != nil {
					w.Fatal(err)
				}
				w.Cleanup(func() { _ = conn.Close(context.Background()) })
			}
		},
	},
	{check: "wal-sender-timeout", what: "off", want: doctor.Warning, says: "off", fix: "'60s'", fault: func(w *world) { w.option("wal_sender_timeout=0") }},
	{check: "wal-sender-timeout", what: "short", want: doctor.Warning, says: "cut off", fix: "'60s'", fault: func(w *world) { w.option("wal_sender_timeout=1s") }},
	{check: "wal-sender-timeout", what: "long", want: doctor.Warning, says: "1h", fix: "'60s'", fault: func(w *world) { w.option("wal_sender_timeout=1h") }},
	{check: "wal-limit", what: "none", world: bare(nil), born: true, want: doctor.Warning, says: "no limit", fix: "max_slot_wal_keep_size"},
	{check: "wal-limit", what: "low", world: bare(map[string]string{"max_slot_wal_keep_size": "64MB"}), born: true, want: doctor.Warning, says: "64.0 MiB", fix: "max_slot_wal_keep_size"},
	{
		check: "wal-limit", what: "an idle slot that is dropped", want: doctor.Warning, says: "idle_replication_slot_timeout is 1h", fix: "idle_replication_slot_timeout = 0",
		// The setting is there from Postgres 18 on.
		fault: shadowed(`create view plant.pg_settings as select name, setting from pg_catalog.pg_settings where name <> 'idle_replication_slot_timeout'
			union all select 'idle_replication_slot_timeout', '3600'`),
	},
	{
		check: "other-slots", what: "idle", world: own(sound), want: doctor.Warning, says: "forgotten (pgoutput postgres) is idle and keeps", fix: "pg_drop_replication_slot('forgotten')",
		fault: func(w *world) {
			w.withSlot("forgotten")
			w.switchWAL(3)
		},
	},
	{
		check: "other-slots", what: "invalid", world: own(map[string]string{"max_slot_wal_keep_size": "1MB"}), want: doctor.Warning, says: "forgotten (pgoutput postgres) is invalid", fix: "pg_drop_replication_slot('forgotten')",
		fault: func(w *world) {
			w.withSlot("forgotten")
			w.switchWAL(4)
			w.exec("checkpoint")
		},
	},
	{
		check: "open-transactions", what: "one that has written", want: doctor.Warning, says: "keeps the slot's WAL", fix: "pg_terminate_backend(",
		fault: func(w *world) {
			tx, err := w.pool.Begin(w.Context())
			if err == nil {
				_, err = tx.Exec(w.Context(), "select pg_current_xact_id()")
			}
			if err != nil {
				w.Fatal(err)
			}
			w.Cleanup(func() { _ = tx.Rollback(context.Background()) })
			w.cfg.TransactionAge = time.Nanosecond
		},
	},
	{
		check: "prepared-transactions", what: "one", want: doctor.Warning, says: "'left open' of", fix: "ROLLBACK PREPARED 'left open'", world: own(sound),
		fault: func(w *world) {
			w.exec("begin; select pg_current_xact_id(); prepare transaction 'left open'")
			w.cfg.TransactionAge = time.Nanosecond
		},
	},

	{
		check: "migrated", what: "never", want: doctor.Fault, says: "no schema", fix: "gapless migrate up",
		fault: func(w *world) { w.cfg.DatabaseURL = pgtest.NewEmptyDB(w.T).URL },
	},
	{
		check: "migrated", what: "not the newest", want: doctor.Fault, says: "outbox/00002", fix: "gapless migrate up",
		fault: after("delete from gapless.goose_outbox where version_id = 2"),
	},
	{
		check: "statements", what: "a column of another version", want: doctor.Fault, says: "relay_", fix: "gapless migrate up",
		fault: after("alter table gapless.relay_progress rename column timeline to history"),
	},
	{
		check: "outbox-partitions", what: "three days left", want: doctor.Warning, says: "days to come", fix: "outbox_partitions_create()",
		fault: after(fewerPartitions("3")),
	},
	{
		check: "outbox-partitions", what: "rows in the last one", want: doctor.Fault, says: "last partition", fix: "outbox_partitions_create()",
		fault: after("do $$ declare p regclass; begin for p in select inhrelid::regclass from pg_inherits where inhparent = 'gapless.outbox'::regclass loop execute format('drop table %s', p); end loop; end $$",
			"create table gapless.outbox_plant partition of gapless.outbox for values from (minvalue) to (maxvalue)"),
	},
	{
		check: "outbox-partitions", what: "an end", want: doctor.Fault, says: "MAXVALUE", fix: "MAXVALUE",
		fault: after("do $$ begin execute (select format('drop table %s', i.inhrelid::regclass) from pg_inherits as i join pg_class as c on c.oid = i.inhrelid where i.inhparent = 'gapless.outbox'::regclass and c.relname like '%max'); end $$"),
	},
	{
		check: "inbox-partitions", what: "none", want: doctor.Warning, says: "no partition for today", fix: "inbox_partitions_create()",
		fault: after("do $$ declare p regclass; begin for p in select i.inhrelid::regclass from pg_inherits as i where i.inhparent = 'gapless.inbox'::regclass and i.inhrelid <> 'gapless.inbox_other'::regclass loop execute format('drop table %s', p); end loop; end $$"),
	},

	{
		check: "replication-attribute", what: "not given", want: doctor.Fault, says: "no REPLICATION", fix: "ALTER ROLE",
		fault: func(w *world) { w.cfg.DatabaseURL = w.login("unreplicated", "in role gapless_relay") },
	},
	{
		check: "replication-connection", what: "refused", want: doctor.Fault, says: "max_wal_senders", fix: "max_wal_senders",
		world: own(map[string]string{"max_wal_senders": "1"}), fault: takeSender,
	},
	{
		check: "relay-rights", what: "not a member", want: doctor.Fault, says: "may not", fix: "GRANT gapless_relay TO",
		fault: func(w *world) { w.cfg.DatabaseURL = w.login("stranger", "replication") },
	},
	{
		check: "relay-rights", what: "one taken away", want: doctor.Fault, says: "INSERT ON gapless.parked", fix: "GRANT INSERT ON gapless.parked TO gapless_relay",
		world: func(t *testing.T) *world {
			w := newWorld(t)
			w.cfg.DatabaseURL = w.db.LoginURL(t, pgtest.Relay)
			return w
		},
		fault: after("revoke insert on gapless.parked from gapless_relay"),
	},
	{
		check: "message-writers", what: "everybody", want: doctor.Warning, says: "every login", fix: "FROM PUBLIC",
		world: func(t *testing.T) *world {
			w := newWorld(t)
			w.cfg.Messages = true
			w.exec(onEmitters("revoke", "from"))
			return w
		},
		fault: after(onEmitters("grant", "to")),
	},
	{check: "publication", what: "dropped", want: doctor.Fault, says: "does not exist", fix: "gapless relay", fault: after("drop publication gapless")},
	{check: "publication", what: "of updates", want: doctor.Fault, says: "does not publish inserts", fix: "publish = 'insert'", fault: after("alter publication gapless set (publish = 'update')")},
	{check: "publication-tables", what: "no outbox", want: doctor.Fault, says: "gapless.outbox", fix: `ADD TABLE "gapless"."outbox"`, fault: after("alter publication gapless drop table gapless.outbox")},
	{check: "publication-tables", what: "no dead letters", want: doctor.Fault, says: "gapless.dead_letter", fix: `ADD TABLE "gapless"."dead_letter"`, fault: after("alter publication gapless drop table gapless.dead_letter")},
	{check: "publication-tables", what: "empty", want: doctor.Fault, says: "no table", fix: "ADD TABLE", fault: after("alter publication gapless drop table gapless.outbox, gapless.dead_letter")},
	{
		check: "publication-tables", what: "all there are", want: doctor.Fault, says: "the relay itself writes", fix: "FOR TABLE",
		fault: after("drop publication gapless", "create publication gapless for all tables"),
	},
	{
		check: "publication-tables", what: "a table of the configuration", want: doctor.Fault, says: "public.events", fix: `ADD TABLE "public"."events"`,
		fault: func(w *world) {
			w.exec("create table public.events (id uuid, aggregatetype text, aggregateid text, payload text)")
			w.cfg.Tables = map[string]format.Format{"public.events": eventrouter.Config{}}
		},
	},
	{check: "publication-root", what: "off", want: doctor.Fault, says: "gapless.outbox", fix: "publish_via_partition_root = true", fault: after("alter publication gapless set (publish_via_partition_root = false)")},
	{check: "publication-filter", what: "rows", want: doctor.Fault, says: "filtered", fix: "SET TABLE", fault: after("alter publication gapless set table gapless.outbox where (type <> 'x'), gapless.dead_letter")},
	{check: "publication-filter", what: "columns", want: doctor.Fault, says: "columns of gapless.outbox", fix: "SET TABLE", fault: after("alter publication gapless set table gapless.outbox (id, type), gapless.dead_letter")},
	{check: "slot", what: "not there", want: doctor.Fault, says: "does not exist", fix: "gapless migrate up", fault: after("select pg_drop_replication_slot('SLOT')")},
	{
		check: "slot", what: "gone", want: doctor.Fault, says: "does not exist", fix: "gapless relay",
		fault: after("insert into gapless.relay_progress (slot, system_id, timeline, resume_lsn) values ('SLOT', '1', 1, '0/1')", "select pg_drop_replication_slot('SLOT')"),
	},
	{
		check: "slot", what: "another database's", want: doctor.Fault, says: "belongs to database", fix: "--slot",
		fault: func(w *world) { w.cfg.Slot = pgtest.NewEmptyDB(w.T).Slot(w.T, "foreign") },
	},
	{
		check: "slot-wal", what: "lost", want: doctor.Fault, says: "lost WAL", fix: "gapless relay", world: own(map[string]string{"max_slot_wal_keep_size": "1MB"}),
		fault: func(w *world) {
			w.switchWAL(4)
			w.exec("checkpoint")
		},
	},
	{
		check: "retained-wal", what: "past half of the limit", want: doctor.Warning, says: "which is lost at 64.0 MiB", fix: "gapless relay", world: own(map[string]string{"max_slot_wal_keep_size": "64MB"}),
		fault: func(w *world) { w.switchWAL(3) },
	},
	{
		check: "retained-wal", what: "near the limit", want: doctor.Fault, says: "which is lost at 64.0 MiB", fix: "gapless relay", world: own(map[string]string{"max_slot_wal_keep_size": "64MB"}),
		fault: func(w *world) { w.switchWAL(5) },
	},
	{check: "relay-progress", what: "of another server", want: doctor.Fault, says: "another server", fix: "--database-url", fault: progressed("'1'", "1", "'0/1'")},
	{
		check: "relay-progress", what: "ahead of the WAL", want: doctor.Fault, says: "lost commits", fix: "gapless relay",
		fault: progressed(pgtest.SystemIdentifier, "1", "'FFFF/0'"),
	},
	{
		check: "relay-progress", what: "of a later timeline", want: doctor.Fault, says: "old primary", fix: "promoted",
		fault: progressed(pgtest.SystemIdentifier, "7", "'0/1'"),
	},
	{
		check: "relay-progress", what: "without a slot", want: doctor.Fault, says: "is gone", fix: "gapless relay",
		fault: func(w *world) {
			progressed("'1'", "1", "'0/1'")(w)
			after("select pg_drop_replication_slot('SLOT')")(w)
		},
	},
	{
		check: "relay-streaming", what: "stopped", want: doctor.Warning, says: "nothing reads", fix: "gapless relay",
		world: func(t *testing.T) *world {
			w := newWorld(t)
			w.letGo = w.holdSlot()
			return w
		},
		fault: func(w *world) { w.letGo() },
	},
	{
		check: "relay-paused", what: "by somebody", want: doctor.Warning, says: "cleaning up", fix: "gapless relay resume",
		fault: after("insert into gapless.relay_control (slot, paused, reason) values ('SLOT', true, 'cleaning up')"),
	},
	{
		check: "relay-lag", what: "a minute", want: doctor.Warning, says: "1m", fix: "/status",
		fault: after("insert into gapless.outbox (aggregatetype, aggregateid, type, created_at) values ('order', 'k', 'T', now() - interval '1 minute')"),
	},
	{
		check: "relay-lag", what: "an hour", want: doctor.Fault, says: "1h", fix: "/status",
		fault: after("insert into gapless.outbox (aggregatetype, aggregateid, type, created_at) values ('order', 'k', 'T', now() - interval '1 hour')"),
	},
	{check: "parked-rows", what: "one, and one behind it", want: doctor.Warning, says: "parked: 1 row (too_large); waiting behind on their keys: 1", fix: "gapless relay redrive", fault: after(parkedRow)},

	{check: "brokers", what: "away", world: withKafka, want: doctor.Fault, says: "connection refused", fault: func(w *world) { w.fake.Close() }},
	{check: "brokers", what: "one of two elsewhere than it says", world: twoBrokers, want: doctor.Warning, says: "does not answer there", fix: "advertised.listeners", fault: misname},
	{
		check: "broker-version", what: "too old", world: withKafka, want: doctor.Fault, says: "older than 2.4", fix: "upgrade",
		fault: func(w *world) {
			w.cfg.Brokers = kafkaserver.Fake(w.T, kfake.MaxVersions(kversion.V2_1_0())).ListenAddrs()
		},
	},
	{
		check: "broker-version", what: "two", world: twoBrokers, want: doctor.Warning, says: "several versions", fix: "finish the upgrade",
		fault: func(w *world) { w.answerVersions(kversion.V3_0_0()) },
	},
	{check: "broker-features", what: "an upgrade half done", world: withKafka, want: doctor.Warning, says: "transaction.version is 1", fix: "transaction.version=2", fault: downgrade},
	{
		check: "kafka-tls", what: "in the clear", world: withKafka, want: doctor.Warning, says: "0.0.0.0", fix: "--kafka-tls",
		fault: func(w *world) {
			_, port, _ := strings.Cut(w.cfg.Brokers[0], ":")
			w.cfg.Brokers = []string{"0.0.0.0:" + port}
		},
	},
	{
		check: "kafka-clock", what: "minutes ahead", want: doctor.Warning, says: "ahead of", fix: "chrony",
		world: func(t *testing.T) *world {
			w := withKafka(t)
			w.withStamp(time.Now())
			return w
		},
		fault: func(w *world) { w.withStamp(time.Now().Add(5 * time.Minute)) },
	},

	{check: "topics", what: "one missing", world: withKafka, want: doctor.Fault, says: "missing: " + ordersTopic, fix: "gapless topics apply", fault: func(w *world) { w.delete(ordersTopic) }},
	{
		check: "topics", what: "of an aggregate type of one's own", world: withKafka, want: doctor.Fault, says: "outbox.event.parcel", fix: "kafka-topics.sh",
		fault: after("insert into gapless.outbox (aggregatetype, aggregateid, type) values ('parcel', 'k', 'T')"),
	},
	{
		check: "topics", what: "of a table of one's own", world: withKafka, want: doctor.Fault, says: "billing.Invoice", fix: "kafka-topics.sh",
		fault: func(w *world) {
			w.exec("create table public.events (id uuid, kind text)")
			w.exec("insert into public.events values (gen_random_uuid(), 'InvoiceEvent')")
			w.exec("alter publication gapless add table public.events")
			w.cfg.Tables = map[string]format.Format{"public.events": eventrouter.Config{RouteBy: "kind", TopicRegex: "(?<what>.*)Event", TopicReplacement: "billing.${what}"}}
		},
	},
	{
		check: "topic-partitions", what: "one", want: doctor.Warning, says: "one partition", fix: "--allow-repartition", world: withKafka,
		fault: func(w *world) {
			w.delete(ordersTopic)
			w.applyTopics(1)
		},
	},
	{check: "topic-partitions", what: "without a leader", want: doctor.Fault, says: ordersTopic + "/0", fix: "start the brokers", world: withKafka, fault: behead},
	{check: "topic-write", what: "forbidden", want: doctor.Fault, says: ordersTopic, fix: "--operation Write", world: withACLs, fault: func(w *world) { w.be("reader") }},
	{check: "topic-max-bytes", what: "low", want: doctor.Warning, says: ordersTopic + " takes 1.0 MiB", fix: "max.message.bytes=2097152", world: withKafka, fault: altered("max.message.bytes", "1048588")},
	{check: "topic-min-insync", what: "more than there are", want: doctor.Fault, says: ordersTopic + " has 1 replicas and needs 2", fix: "min.insync.replicas=1", world: withKafka, fault: altered("min.insync.replicas", "2")},
	{
		check: "topic-min-insync", what: "one replica of a cluster", want: doctor.Warning, says: "one replica", fix: "--min-insync 2", world: withKafka,
		fault: func(w *world) {
			w.cfg.Brokers = kafkaserver.Fake(w.T, kfake.NumBrokers(3)).ListenAddrs()
			w.replicate(1, "1")
		},
	},
	{
		check: "topic-min-insync", what: "one in sync is enough", want: doctor.Warning, says: "needs one of its replicas", fix: "--min-insync 2", world: replicated,
		fault: altered("min.insync.replicas", "1"),
	},
	{check: "topic-min-insync", what: "all have to be", want: doctor.Warning, says: "needs all 3 replicas", fix: "min.insync.replicas=2", world: replicated, fault: altered("min.insync.replicas", "3")},
	{check: "topic-elections", what: "unclean", want: doctor.Warning, says: ordersTopic, fix: "unclean.leader.election.enable=false", world: withKafka, fault: func(w *world) { w.answerSetting("unclean.leader.election.enable", "true") }},
	{check: "topic-cleanup", what: "compacted", want: doctor.Warning, says: ordersTopic + " is compact", fix: "cleanup.policy=delete", world: withKafka, fault: altered("cleanup.policy", "compact")},
	{check: "topic-retention", what: "an hour", want: doctor.Warning, says: ordersTopic + " keeps records for 1h", fix: "retention.ms", world: withKafka, fault: altered("retention.ms", "3600000")},
	{check: "topic-retention", what: "by size", want: doctor.Warning, says: ordersTopic + " keeps 1.0 GiB a partition", fix: "retention.bytes=-1", world: withKafka, fault: altered("retention.bytes", "1073741824")},
	{check: "topic-timestamps", what: "of arrival", want: doctor.Warning, says: "LogAppendTime", fix: "CreateTime", world: withKafka, fault: altered("message.timestamp.type", "LogAppendTime")},
	{check: "topic-timestamps", what: "none that are late", want: doctor.Warning, says: "older than 1h", fix: "message.timestamp.before.max.ms", world: withKafka, fault: func(w *world) { w.answerSetting("message.timestamp.before.max.ms", "3600000") }},

	{check: "state-topic", what: "not compacted", want: doctor.Fault, says: "has cleanup.policy=delete", fix: "cleanup.policy=compact", world: withKafka, fault: stateTopic(1, "delete", "8388608")},
	{check: "state-topic", what: "two partitions", want: doctor.Fault, says: "has 2 partitions", fix: "--partitions 1", world: withKafka, fault: stateTopic(2, "compact", "8388608")},
	{check: "state-topic", what: "small records", want: doctor.Warning, says: "takes records of 1000000 bytes", fix: "--entity-name gapless.relay.state", world: withKafka, fault: stateTopic(1, "compact", "1000000")},
	{check: "state-topic", what: "missing, and so is the schema", want: doctor.Warning, says: "neither schema gapless nor topic", fix: "--create --topic gapless.relay.state", world: withKafka, fault: after("drop schema gapless cascade")},

	{
		check: "registry", what: "away", want: doctor.Fault, says: "connection refused", world: withRegistry,
		fault: func(w *world) { w.cfg.Registry = &schema.Config{RegistryURL: "http://127.0.0.1:1"} },
	},
	{
		check: "schema-ids", what: "not all stored", want: doctor.Fault, says: "OrderPlaced", fix: "gapless schema register", world: withRegistry,
		fault: after("delete from gapless.schema_version where subject like '%OrderPlaced'"),
	},
	{
		check: "schema-ids", what: "another registry", want: doctor.Fault, says: "does not have these ids", fix: "--registry-url", world: withRegistry,
		fault: func(w *world) { w.cfg.Registry = &schema.Config{RegistryURL: w.registryURL()} },
	},

	{
		check: "consumer-lag", what: "nobody there", want: doctor.Warning, says: "nobody runs", fix: "gapless consume",
		world: func(t *testing.T) *world {
			w := consuming(t)
			w.letGo = w.withConsumers(w.cfg.DatabaseURL)
			return w
		},
		fault: func(w *world) { w.letGo() },
	},
	{
		check: "consumer-lag", what: "one that stands still", want: doctor.Warning, says: "loyalty is 1h", fix: "consume status",
		world: func(t *testing.T) *world {
			w := consuming(t)
			w.withConsumers(w.cfg.DatabaseURL)
			return w
		},
		fault: holdUp,
	},
	{
		check: "blocked-keys", what: "one", want: doctor.Warning, says: "1 keys of payment", fix: "gapless dead list", world: before(deadLetter),
		fault: after("insert into gapless.key_block (consumer, topic, key, dead_letter_id) values ('payment', 't', 'k', '0199c0de-0000-7000-8000-0000000000dd')"),
	},
	{check: "dead-letters", what: "one", want: doctor.Warning, says: "1 of payment", fix: "gapless dead list", fault: after(deadLetter)},
}

func TestEveryCheckFindsItsFault(t *testing.T) {
	t.Parallel()
	for _, p := range plants {
		t.Run(p.check+"/"+p.what, func(t *testing.T) {
			t.Parallel()
			build := p.world
			if build == nil {
				build = newWorld
			}
			w := build(t)
			if !p.born {
				if f := w.find(p.check); f.Outcome != doctor.OK {
					t.Fatalf("before the fault: %s: %s", f.Outcome, f.Found)
				}
				p.fault(w)
			}
			f := w.find(p.check)
			if f.Outcome != p.want || !strings.Contains(f.Found, p.says) {
				t.Errorf("%s: %s; want %s with %q", f.Outcome, f.Found, p.want, p.says)
			}
			if !strings.Contains(f.Fix, p.fix) {
				t.Errorf("the fix is %q, without %q", f.Fix, p.fix)
			}
			if f.Fix == "" && p.fix != "" || strings.Contains(f.Fix+f.Found, "\n") {
				t.Errorf("not one line, or none: %q, %q", f.Found, f.Fix)
			}
		})
	}
}

// A check that nothing is planted for could be one that never says no.
func TestEveryCheckHasAPlant(t *testing.T) {
	t.Parallel()
	planted := map[string]bool{}
	for _, p := range plants {
		planted[p.check] = true
	}
	ids := doctor.IDs()
	for _, id := range ids {
		if !planted[id] {
			t.Errorf("no fault is planted for %s", id)
		}
		delete(planted, id)
	}
	for id := range planted {
		t.Errorf("a fault is planted for %s, which is no check", id)
	}
	if len(ids) < 25 {
		t.Errorf("only %d checks", len(ids))
	}
}
