//go:build unix

package doctor_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/gapless/gapless/internal/kafkaserver"
	"github.com/gapless/gapless/internal/pgserver"
	"github.com/gapless/gapless/internal/testkit"
	"github.com/gapless/gapless/ops/doctor"
	"github.com/gapless/gapless/ops/topics"
)

// standby is a server that was started as one.
func standby(t *testing.T) *world {
	home, err := os.MkdirTemp("/tmp", "gapless-doctor-") //nolint:usetesting // the server's account cannot enter the test's own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	if err := os.Chmod(home, 0o755); err != nil { //nolint:gosec // the point of it
		t.Fatal(err)
	}
	dir := filepath.Join(home, "data")
	start := func() *pgserver.Server {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s, err := pgserver.Start(ctx, pgserver.Config{DataDir: dir, BinDir: os.Getenv("GAPLESS_TEST_POSTGRES"), FromStock: true, Settings: map[string]string{"shared_buffers": "32MB"}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	stop := func(s *pgserver.Server) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	stop(start())
	if err := os.WriteFile(filepath.Join(dir, "standby.signal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := start()
	t.Cleanup(func() { stop(s) })
	return &world{T: t, cfg: doctor.Config{DatabaseURL: s.SuperuserURL(), Timeout: patience}}
}

// takeSender takes a WAL sender, as a backup does.
func takeSender(w *world) {
	c, err := pgconn.ParseConfig(w.cfg.DatabaseURL)
	if err != nil {
		w.Fatal(err)
	}
	c.RuntimeParams["replication"] = "true"
	testkit.Eventually(w.T, patience, func() error { // the check's own may still be leaving
		conn, err := pgconn.ConnectConfig(w.Context(), c)
		if err == nil {
			w.Cleanup(func() { _ = conn.Close(context.Background()) })
		}
		return err
	})
}

func (w *world) delete(topic string) {
	w.Helper()
	if err := w.fake.DeleteTopic(topic); err != nil {
		w.Fatal(err)
	}
}

// twoBrokers is a cluster of two that is of one version.
func twoBrokers(t *testing.T) *world {
	w := newWorld(t)
	w.fake = kafkaserver.Fake(t, kfake.NumBrokers(2))
	w.cfg.Brokers = w.fake.ListenAddrs()[:1]
	return w
}

// misname lets broker 1 say that it is where nobody is.
func misname(w *world) {
	w.fake.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		for id, address := range w.fake.ListenAddrs() {
			_, port, _ := strings.Cut(address, ":")
			b := kmsg.NewMetadataResponseBroker()
			b.NodeID, b.Host, b.Port = int32(id), "127.0.0.1", number(w.T, port)
			if id == 1 {
				b.Port = 1
			}
			resp.Brokers = append(resp.Brokers, b)
		}
		return resp, nil, true
	})
}

func number(t *testing.T, text string) int32 {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		t.Error(err)
	}
	return int32(n)
}

// answerVersions lets broker 1 be of another version.
func (w *world) answerVersions(of *kversion.Versions) {
	w.fake.ControlKey(int16(kmsg.ApiVersions), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		if w.fake.CurrentNode() != 1 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.ApiVersionsResponse)
		of.EachMaxKeyVersion(func(key, version int16) {
			k := kmsg.NewApiVersionsResponseApiKey()
			k.ApiKey, k.MaxVersion = key, version
			resp.ApiKeys = append(resp.ApiKeys, k)
		})
		return resp, nil, true
	})
}

// downgrade takes transaction.version back to what it was before an upgrade.
func downgrade(w *world) {
	w.Helper()
	req := kmsg.NewPtrUpdateFeaturesRequest()
	f := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	f.Feature, f.MaxVersionLevel, f.UpgradeType, f.AllowDowngrade = "transaction.version", 1, 2, true
	req.FeatureUpdates = append(req.FeatureUpdates, f)
	resp, err := req.RequestWith(w.Context(), kafkaserver.Client(w.T, w.cfg.Brokers))
	if err != nil || resp.ErrorCode != 0 {
		w.Fatalf("downgrade: %v, %+v", err, resp)
	}
}

// behead lets no partition of the topic of orders have a leader.
func behead(w *world) {
	w.fake.ControlKey(int16(kmsg.Metadata), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		asked := req.(*kmsg.MetadataRequest)
		if len(asked.Topics) == 0 {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.MetadataResponse)
		_, port, _ := strings.Cut(w.cfg.Brokers[0], ":")
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = 0, "127.0.0.1", number(w.T, port)
		resp.Brokers = append(resp.Brokers, b)
		for _, t := range asked.Topics {
			topic := kmsg.NewMetadataResponseTopic()
			topic.Topic = t.Topic
			for id := range int32(2) {
				p := kmsg.NewMetadataResponseTopicPartition()
				p.Partition, p.Replicas, p.ISR = id, []int32{0}, []int32{0}
				if *t.Topic == ordersTopic {
					p.Leader, p.ErrorCode = -1, 5 // LEADER_NOT_AVAILABLE
				}
				topic.Partitions = append(topic.Partitions, p)
			}
			resp.Topics = append(resp.Topics, topic)
		}
		return resp, nil, true
	})
}

// answerSetting lets the topic of orders have a setting that the fake does not know.
func (w *world) answerSetting(name, value string) {
	w.fake.ControlKey(int16(kmsg.DescribeConfigs), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
		for _, asked := range req.(*kmsg.DescribeConfigsRequest).Resources {
			r := kmsg.NewDescribeConfigsResponseResource()
			r.ResourceType, r.ResourceName = asked.ResourceType, asked.ResourceName
			if asked.ResourceName == ordersTopic {
				c := kmsg.NewDescribeConfigsResponseResourceConfig()
				c.Name, c.Value = name, &value
				r.Configs = append(r.Configs, c)
			}
			resp.Resources = append(resp.Resources, r)
		}
		return resp, nil, true
	})
}

// withACLs is a broker that asks who one is. writer may write to the topics, reader may
// only look at them.
func withACLs(t *testing.T) *world {
	w := newWorld(t)
	may := func(ops ...kmsg.ACLOperation) (list []kfake.ACL) {
		for _, op := range ops {
			list = append(list, kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: "*", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true})
		}
		return list
	}
	w.fake = kafkaserver.Fake(t, kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("PLAIN", "admin", "secret"),
		kfake.User("PLAIN", "writer", "secret", may(kmsg.ACLOperationDescribe, kmsg.ACLOperationWrite)...),
		kfake.User("PLAIN", "reader", "secret", may(kmsg.ACLOperationDescribe)...))
	w.cfg.Brokers = w.fake.ListenAddrs()
	w.be("admin")
	w.applyTopics(2)
	w.be("writer")
	return w
}

func (w *world) be(user string) {
	w.cfg.KafkaOptions = []kgo.Opt{kgo.SASL(plain.Auth{User: user, Pass: "secret"}.AsMechanism())}
}

// replicate makes every topic with so many replicas, of which so many have to be in
// sync.
func (w *world) replicate(replicas int16, insync string) {
	w.Helper()
	for _, name := range (topics.Config{Consumers: w.cfg.Consumers}).Names() {
		if _, err := w.admin().CreateTopic(w.Context(), 2, replicas, map[string]*string{"min.insync.replicas": &insync}, name); err != nil {
			w.Fatalf("create %s: %v", name, err)
		}
	}
}

// replicated is a cluster of three brokers, three replicas and two of them in sync.
func replicated(t *testing.T) *world {
	w := newWorld(t)
	w.fake = kafkaserver.Fake(t, kfake.NumBrokers(3))
	w.cfg.Brokers = w.fake.ListenAddrs()
	w.replicate(3, "2")
	return w
}

func withRegistry(t *testing.T) *world {
	w := newWorld(t)
	w.withRegistry()
	return w
}

// consuming is a broker on which groups do not wait for more members.
func consuming(t *testing.T) *world {
	w := newWorld(t)
	w.withKafka(kfake.BrokerConfigs(map[string]string{"group.initial.rebalance.delay.ms": "0"}))
	return w
}

// holdUp lets loyalty have committed before a message that is an hour old, and keeps it
// from going on.
func holdUp(w *world) {
	w.Helper()
	w.fake.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.fake.KeepControl()
		asked := req.(*kmsg.OffsetCommitRequest)
		if asked.Group != "gapless.loyalty" {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
		for _, t := range asked.Topics {
			topic := kmsg.NewOffsetCommitResponseTopic()
			topic.Topic, topic.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				answer := kmsg.NewOffsetCommitResponseTopicPartition()
				answer.Partition = p.Partition
				topic.Partitions = append(topic.Partitions, answer)
			}
			resp.Topics = append(resp.Topics, topic)
		}
		return resp, nil, true
	})
	client := kafkaserver.Client(w.T, w.cfg.Brokers)
	record := &kgo.Record{
		Topic: ordersTopic, Key: []byte("k"), Value: []byte("{}"), Timestamp: time.Now().Add(-time.Hour - time.Second),
		Headers: []kgo.RecordHeader{{Key: "id", Value: []byte("0199c0de-0000-7000-8000-000000000001")}, {Key: "ce_type", Value: []byte("Nothing")}},
	}
	if err := client.ProduceSync(w.Context(), record).FirstErr(); err != nil {
		w.Fatal(err)
	}
	// The others settle it.
	testkit.Eventually(w.T, patience, func() error {
		lags, err := kadm.NewClient(client).Lag(w.Context(), "gapless.saga")
		if err != nil {
			return err
		}
		return lags.Error()
	})
}
