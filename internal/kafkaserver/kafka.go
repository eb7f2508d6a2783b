//go:build unix

package kafkaserver

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/gapless/gapless/internal/process"
)

const (
	// KafkaVersion is the Apache Kafka that [StartKafka] runs, as in kafka.pom.xml.
	KafkaVersion = "4.1.0"

	kafkaJava = 17
)

// KafkaConfig says how to run a broker. The zero value is a throw-away one.
type KafkaConfig struct {
	// Dir holds the configuration, the log and the data. Empty: a temporary one,
	// removed by Stop. A directory that a broker has used keeps its data; its ports
	// are new, for which single-broker topics do not care.
	Dir string

	// Properties are broker settings (server.properties) over this package's.
	Properties map[string]string

	// Listeners are addresses beside the usual one, with TLS, SASL or a proxy before
	// them.
	Listeners []Listener

	// HeapMB is the JVM's heap. Zero: 1024, as bin/kafka-server-start.sh has it.
	HeapMB int

	// Logger tells of starts and stops. Nil: silent.
	Logger *slog.Logger
}

// Listener is a further address of the broker.
type Listener struct {
	Name     string // of capital letters
	Protocol string // security protocol; empty: PLAINTEXT
	// Advertised is where clients are told to go (advertised.listeners); empty: to the
	// listener itself.
	Advertised string
	// Settings are its own, as in server.properties behind listener.name.<name>. there,
	// such as ssl.keystore.location.
	Settings map[string]string
}

// Kafka is a running broker, its own controller.
type Kafka struct {
	jvm
	address   string
	listeners map[string]string
}

// StartKafka starts a broker and returns when it can create topics. The first
// start on a machine fetches the jars, which takes a minute or two. ctx does not
// end a broker that was started: Stop does.
func StartKafka(ctx context.Context, cfg KafkaConfig) (*Kafka, error) {
	jars, err := fetch(ctx, "kafka-"+KafkaVersion, kafkaPOM, nil)
	if err != nil {
		return nil, err
	}
	java, err := findJava(ctx, kafkaJava)
	if err != nil {
		return nil, err
	}
	dir, temp, err := newDir(cfg.Dir, "gapless-kafka-")
	if err != nil {
		return nil, err
	}
	k := &Kafka{jvm: jvm{name: "kafka", dir: dir, temp: temp, java: java, logger: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler))}}
	if err := k.onFreePorts(func() error { return k.configureAndLaunch(ctx, cfg, jars) }); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *Kafka) configureAndLaunch(ctx context.Context, cfg KafkaConfig, jars string) error {
	broker, err := process.FreePort(ctx)
	if err != nil {
		return err
	}
	controller, err := process.FreePort(ctx)
	if err != nil {
		return err
	}
	k.address = net.JoinHostPort("127.0.0.1", strconv.Itoa(broker))
	over, err := k.listen(ctx, cfg, broker, controller)
	if err != nil {
		return err
	}
	properties := filepath.Join(k.dir, "server.properties")
	data := filepath.Join(k.dir, "data")
	if err := os.WriteFile(properties, []byte(propertiesText(kafkaProperties(broker, controller, data), over)), 0o600); err != nil {
		return fmt.Errorf("write broker configuration: %w", err)
	}
	program := func(heapMB int, class string, args ...string) []string {
		return slices.Concat(kafkaOptions(heapMB, heapMB), []string{"-cp", filepath.Join(jars, "*"), class}, args)
	}
	if _, err := os.Stat(filepath.Join(data, "meta.properties")); os.IsNotExist(err) {
		if err := k.format(ctx, program(128, "kafka.tools.StorageTool", "format", "-t", clusterID(), "-c", properties)); err != nil {
			return err
		}
	}
	k.args = program(cmp.Or(cfg.HeapMB, 1024), "kafka.Kafka", properties)
	k.ready = k.answers
	return k.launch(ctx)
}

// listen chooses ports for the further listeners and returns the settings with them.
func (k *Kafka) listen(ctx context.Context, cfg KafkaConfig, broker, controller int) (map[string]string, error) {
	if len(cfg.Listeners) == 0 {
		return cfg.Properties, nil
	}
	k.listeners = map[string]string{}
	p := kafkaProperties(broker, controller, "")
	listeners, advertised, protocols := p["listeners"], p["advertised.listeners"], p["listener.security.protocol.map"]
	over := map[string]string{}
	for _, l := range cfg.Listeners {
		port, err := process.FreePort(ctx)
		if err != nil {
			return nil, err
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		k.listeners[l.Name] = address
		listeners += fmt.Sprintf(",%s://%s", l.Name, address)
		advertised += fmt.Sprintf(",%s://%s", l.Name, cmp.Or(l.Advertised, address))
		protocols += fmt.Sprintf(",%s:%s", l.Name, cmp.Or(l.Protocol, "PLAINTEXT"))
		for name, value := range l.Settings {
			over["listener.name."+strings.ToLower(l.Name)+"."+name] = value
		}
	}
	over["listeners"], over["advertised.listeners"], over["listener.security.protocol.map"] = listeners, advertised, protocols
	maps.Copy(over, cfg.Properties)
	return over, nil
}

// format makes the broker's storage, which it does not do by itself.
func (k *Kafka) format(ctx context.Context, args []string) error {
	log, err := os.Create(filepath.Join(k.dir, "format.log"))
	if err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	defer log.Close()
	p, err := process.Start(process.Command{Path: k.java, Args: args, Dir: k.dir, Output: log})
	if err != nil {
		return err
	}
	if err := p.Wait(ctx); err != nil {
		return errors.Join(fmt.Errorf("format storage: %w", err), p.KillTree(context.WithoutCancel(ctx)))
	}
	if err := p.Err(); err != nil {
		return fmt.Errorf("format storage: %w\n%s", err, lastLines(logFrom(log.Name(), 0)))
	}
	return nil
}

// clusterID is a random UUID in Kafka's form: URL-safe base64 of 16 bytes, which
// must not begin with a dash (Kafka's Uuid.randomUuid avoids it for the command
// line).
func clusterID() string {
	var id [16]byte
	rand.Read(id[:])
	id[0] &= 0x7f
	return base64.RawURLEncoding.EncodeToString(id[:])
}

func kafkaProperties(broker, controller int, data string) map[string]string {
	return map[string]string{
		"process.roles":                                    "broker,controller",
		"node.id":                                          "1",
		"controller.quorum.voters":                         fmt.Sprintf("1@127.0.0.1:%d", controller),
		"listeners":                                        fmt.Sprintf("PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", broker, controller),
		"advertised.listeners":                             fmt.Sprintf("PLAINTEXT://127.0.0.1:%d", broker),
		"controller.listener.names":                        "CONTROLLER",
		"inter.broker.listener.name":                       "PLAINTEXT",
		"listener.security.protocol.map":                   "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
		"log.dirs":                                         data,
		"auto.create.topics.enable":                        "false",
		"log.retention.ms":                                 "-1", // records of a test may be of any time
		"default.replication.factor":                       "1",
		"min.insync.replicas":                              "1",
		"offsets.topic.replication.factor":                 "1",
		"offsets.topic.num.partitions":                     "4",
		"transaction.state.log.replication.factor":         "1",
		"transaction.state.log.min.isr":                    "1",
		"transaction.state.log.num.partitions":             "4",
		"share.coordinator.state.topic.replication.factor": "1",
		"share.coordinator.state.topic.min.isr":            "1",
		// A group of one member would wait this long for others, in every test.
		"group.initial.rebalance.delay.ms": "0",
	}
}

// propertiesText writes settings as a Java properties file, those of over in place
// of the others.
func propertiesText(p, over map[string]string) string {
	maps.Copy(p, over)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		fmt.Fprintf(&b, "%s=%s\n", name, p[name])
	}
	return b.String()
}

// answers tells whether the broker is registered and has a controller.
func (k *Kafka) answers(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(k.address))
	if err != nil {
		return err
	}
	defer client.Close()
	meta, err := kadm.NewClient(client).BrokerMetadata(ctx)
	if err != nil {
		return err
	}
	if len(meta.Brokers) == 0 || meta.Controller < 0 {
		return errors.New("no broker is registered yet")
	}
	return nil
}

// Brokers is the bootstrap list.
func (k *Kafka) Brokers() []string { return []string{k.address} }

// Listener is where the broker listens under the name of a further listener.
func (k *Kafka) Listener(name string) string { return k.listeners[name] }

// BrokerVersion tells a cluster's version by the requests that it knows, such as
// "v4.1": no request asks for the name of a release.
func BrokerVersion(ctx context.Context, brokers []string) (string, error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return "", fmt.Errorf("make a client: %w", err)
	}
	defer client.Close()
	request := kmsg.NewPtrApiVersionsRequest()
	request.ClientSoftwareName, request.ClientSoftwareVersion = "gapless", "test"
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return "", fmt.Errorf("ask for the broker's version: %w", err)
	}
	return kversion.FromApiVersionsResponse(response).VersionGuess(), nil
}
