// Command go-pq-cdc-kafka is that library as an outbox relay, for bench/relay to measure
// beside ours: each row of public.events becomes a record in outbox.event.<aggregatetype>
// with the aggregate's id as key, the payload as value, and the row's id in a header.
//
//	cd bench/peers/go-pq-cdc-kafka && go mod tidy && go build -o /tmp/peer .
//	go run ./bench/relay -peer /tmp/peer
//
// It is a module of its own: the project needs nothing of it. DATABASE_URL, SLOT and
// BROKERS say what it reads and where it writes; it runs until it is stopped.
// Acknowledgement by all replicas and a short ticker are set, as a relay of events has
// them; batches are as in the library's own benchmark.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	cdc "github.com/Trendyol/go-pq-cdc-kafka"
	"github.com/Trendyol/go-pq-cdc-kafka/config"
	cdcconfig "github.com/Trendyol/go-pq-cdc/config"
	"github.com/Trendyol/go-pq-cdc/pq/publication"
	"github.com/Trendyol/go-pq-cdc/pq/slot"
	"github.com/google/uuid"
	"github.com/segmentio/kafka-go"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "go-pq-cdc-kafka:", err)
		os.Exit(1)
	}
}

func run() error {
	u, err := url.Parse(os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		return fmt.Errorf("port in DATABASE_URL: %w", err)
	}
	metrics, err := freePort()
	if err != nil {
		return err
	}
	password, _ := u.User.Password()
	connector, err := cdc.NewConnector(context.Background(), config.Connector{
		CDC: cdcconfig.Config{
			Host: u.Hostname(), Port: port, Username: u.User.Username(), Password: password, Database: strings.TrimPrefix(u.Path, "/"),
			Publication: publication.Config{Name: "gapless"},
			Slot:        slot.Config{Name: os.Getenv("SLOT"), SlotActivityCheckerInterval: 3000},
			Metric:      cdcconfig.MetricConfig{Port: metrics},
			Logger:      cdcconfig.LoggerConfig{LogLevel: slog.LevelWarn},
		},
		Kafka: config.Kafka{
			Brokers: strings.Split(os.Getenv("BROKERS"), ","), RequiredAcks: -1, Balancer: "Murmur2Balancer",
			ProducerBatchTickerDuration: 100 * time.Millisecond, ProducerBatchSize: 10_000,
		},
	}, record)
	if err != nil {
		return err
	}
	connector.Start(context.Background())
	return nil
}

func record(m *cdc.Message) []kafka.Message {
	if m.TableName != "events" || !m.Type.IsInsert() {
		return nil
	}
	id, _ := m.NewData["id"].([16]byte)
	kind, _ := m.NewData["aggregatetype"].(string)
	key, _ := m.NewData["aggregateid"].(string)
	return []kafka.Message{{
		Topic: "outbox.event." + kind, Key: []byte(key), Value: payload(m.NewData["payload"]),
		Headers: []kafka.Header{{Key: "id", Value: []byte(uuid.UUID(id).String())}},
	}}
}

func payload(v any) []byte {
	switch v := v.(type) {
	case string:
		return []byte(v)
	case []byte:
		return v
	}
	text, err := json.Marshal(v) // jsonb comes decoded
	if err != nil {
		panic(err)
	}
	return text
}

// freePort is for a listener that the library cannot do without.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
