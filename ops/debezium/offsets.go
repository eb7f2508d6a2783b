package debezium

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/gapless/gapless/ops/topics"
	"github.com/gapless/gapless/relay/core"
)

// Offset is how far a connector has got, as Kafka Connect or Debezium Server keeps it.
type Offset struct {
	Connector string // its name
	Server    string // its topic.prefix

	Snapshot bool     // it is in the middle of a snapshot
	Commit   core.LSN // end of the newest transaction that it has sent whole; 0: none yet
	Row      core.LSN // newest change that it has sent; 0: none yet
	XID      uint32   // of the transaction of Row
}

// ErrOffsets is in what no further try can mend: a file or a topic that is not there, or
// has no offset that can be read.
var ErrOffsets = errors.New("offsets cannot be used")

func unusable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrOffsets, fmt.Errorf(format, args...))
}

// Offsets are those of a worker, by its connectors.
type Offsets struct{ all map[string]Offset }

// ReadOffsets reads where, which is a file of FileOffsetBackingStore or Connect's topic
// of offsets: a file if there is one of that name, or a slash is in it.
func ReadOffsets(ctx context.Context, where string, kafka topics.Config) (*Offsets, error) {
	o := &Offsets{all: map[string]Offset{}}
	file, err := os.ReadFile(where)
	if err == nil {
		return o, o.addFile(file)
	}
	if !errors.Is(err, os.ErrNotExist) || strings.ContainsRune(where, '/') {
		return nil, unusable("%w", err)
	}
	kafka.Topics = []string{where}
	var broken error
	err = topics.Read(ctx, kafka, func(r *kgo.Record) {
		if err := o.add(r.Key, r.Value); err != nil && broken == nil {
			broken = unusable("record %d of partition %d: %w", r.Offset, r.Partition, err)
		}
	}, nil)
	if refused, ok := errors.AsType[*kerr.Error](err); ok && !refused.Retriable || errors.Is(err, kerr.UnknownTopicOrPartition) {
		return nil, unusable("no such file, and as a topic: %w", err)
	}
	return o, cmp.Or(err, broken)
}

func (o *Offsets) addFile(file []byte) error {
	pairs, err := readMap(file)
	if err != nil {
		return unusable("%w", err)
	}
	for _, p := range pairs {
		if err := o.add(p[0], p[1]); err != nil {
			return unusable("%q: %w", p[0], err)
		}
	}
	return nil
}

// add takes an offset; the newest of a connector counts, and one without a value is
// none. Those of connectors of other kinds are passed over.
func (o *Offsets) add(key, value []byte) error {
	var name string
	var partition struct{ Server string }
	if err := json.Unmarshal(payload(key), &[]any{&name, &partition}); err != nil {
		return errors.New("the key is no offset's of Kafka Connect")
	}
	if partition.Server == "" {
		return nil
	}
	at := name + "\x00" + partition.Server
	if value = payload(value); value == nil || string(value) == "null" {
		delete(o.all, at)
		return nil
	}
	var v struct {
		Snapshot     json.RawMessage `json:"snapshot"`
		LastOfIt     *bool           `json:"last_snapshot_record"`
		LSN          *uint64         `json:"lsn"`
		Commit       uint64          `json:"lsn_commit"`
		Row          uint64          `json:"lsn_proc"`
		XID          uint64          `json:"txId"`
		SnapshotDone *bool           `json:"snapshot_completed"`
	}
	if err := json.Unmarshal(value, &v); err != nil {
		return errors.New("the value is no offset's of Debezium")
	}
	if v.LSN == nil { // another source's
		delete(o.all, at)
		return nil
	}
	offset := Offset{Connector: name, Server: partition.Server, Commit: core.LSN(v.Commit), Row: core.LSN(v.Row), XID: uint32(v.XID)}
	under := len(v.Snapshot) > 0 && string(v.Snapshot) != "false" && string(v.Snapshot) != "null"
	switch {
	case under && (v.LastOfIt == nil || !*v.LastOfIt) && (v.SnapshotDone == nil || !*v.SnapshotDone):
		offset.Snapshot = true
	case under:
		offset.Commit, offset.Row, offset.XID = 0, 0, 0 // the stream has not begun: the slot is where it does
	}
	o.all[at] = offset
	return nil
}

// payload is what is in the envelope of a JsonConverter with schemas, or the text itself.
func payload(text []byte) []byte {
	var wrapped struct {
		Schema  json.RawMessage `json:"schema"`
		Payload json.RawMessage `json:"payload"`
	}
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) && json.Unmarshal(text, &wrapped) == nil && wrapped.Payload != nil {
		return wrapped.Payload
	}
	return text
}

// Of returns the offset of the connector with that topic.prefix, or the only one where
// it is "".
func (o *Offsets) Of(server string) (Offset, error) {
	var found []Offset
	var names []string
	for _, offset := range o.all {
		names = append(names, offset.Server)
		if server == "" || offset.Server == server {
			found = append(found, offset)
		}
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		return Offset{}, unusable("there is none of a Debezium connector for Postgres")
	case len(found) == 0:
		return Offset{}, unusable("there is none of the connector with topic.prefix %q, only of %s", server, strings.Join(names, ", "))
	case len(found) > 1:
		return Offset{}, unusable("there are several (topic.prefix %s): give the tables in --config the server_name of one", strings.Join(names, ", "))
	}
	return found[0], nil
}
