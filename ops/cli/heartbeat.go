package cli

import (
	"cmp"
	"reflect"
	"time"

	"github.com/gapless/gapless/relay"
	"github.com/gapless/gapless/relay/eventrouter"
)

// heartbeat are the flags of who sends heartbeats.
type heartbeat struct {
	HeartbeatInterval time.Duration `help:"Send a heartbeat as Debezium does, this often, while events are streamed; 0 sends none. It is named after the tables' server_name, and its bytes are those of their key and value converters." default:"0"`
	HeartbeatPrefix   string        `help:"First part of the heartbeats' topic, before a dot and the server_name." default:"__debezium-heartbeat" placeholder:"TEXT"`
	HeartbeatTopic    string        `help:"Topic of the heartbeats, whole." placeholder:"NAME"`
}

// HeartbeatFile is the part about heartbeats.
type HeartbeatFile struct {
	Interval string `yaml:"interval,omitempty"`
	Prefix   string `yaml:"prefix,omitempty"`
	Topic    string `yaml:"topic,omitempty"`
}

// topic is where heartbeats of a server name go.
func (h *HeartbeatFile) topic(serverName string) string {
	return cmp.Or(h.Topic, heartbeatTopic(cmp.Or(h.Prefix, defaultHeartbeatPrefix), serverName))
}

// with is what a relay of several says of its own.
func (h heartbeat) with(f *HeartbeatFile) (heartbeat, error) {
	if f == nil {
		return h, nil
	}
	if f.Interval != "" {
		d, err := time.ParseDuration(f.Interval)
		if err != nil {
			return h, usage("heartbeat.interval: %w", err)
		}
		h.HeartbeatInterval = d
	}
	h.HeartbeatPrefix, h.HeartbeatTopic = cmp.Or(f.Prefix, h.HeartbeatPrefix), cmp.Or(f.Topic, h.HeartbeatTopic)
	return h, nil
}

func (h heartbeat) config(f *RelayFile) (relay.Heartbeat, error) {
	if h.HeartbeatInterval == 0 {
		return relay.Heartbeat{}, nil
	}
	as, err := f.heartbeatRouter()
	if err != nil {
		return relay.Heartbeat{}, err
	}
	topic := cmp.Or(h.HeartbeatTopic, heartbeatTopic(h.HeartbeatPrefix, as.ServerName))
	return relay.Heartbeat{Every: h.HeartbeatInterval, Topic: topic, As: as}, nil
}

// defaultHeartbeatPrefix is the default of --heartbeat-prefix.
const defaultHeartbeatPrefix = "__debezium-heartbeat"

func heartbeatTopic(prefix, serverName string) string { return prefix + "." + serverName }

// heartbeatRouter is the connector whose heartbeats are sent: the one that the tables
// have in common.
func (r *RelayFile) heartbeatRouter() (eventrouter.Config, error) {
	tables, err := r.tables()
	if err != nil {
		return eventrouter.Config{}, err
	}
	var common eventrouter.Config
	first := ""
	for _, t := range r.Tables {
		router, ok := tables[t.Table].(eventrouter.Config)
		if !ok {
			continue
		}
		c := eventrouter.Config{ServerName: router.ServerName, Key: router.Key, Value: router.Value}
		if first == "" {
			first, common = t.Table, c
		} else if !reflect.DeepEqual(c, common) {
			return common, usage("--heartbeat-interval: tables %s and %s differ in server_name or in the converter of key or value: a heartbeat has one of each", first, t.Table)
		}
	}
	if common.ServerName == "" {
		return common, usage("--heartbeat-interval: a heartbeat is named after server_name (topic.prefix), which no table of format debezium has in --config")
	}
	return common, nil
}
